"""What a training run is at some step, and its checkpoint, from which it goes on."""

import logging
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from pudm_lib.machine.paths import one_line
from pudm_lib.machine.store import (
    CheckpointError,
    load_tensors,
    save_tensors,
    with_prefix,
    without_prefix,
)
from pudm_lib.training.settings import TrainingSettings

log = logging.getLogger(__name__)

# What is kept of every step, in this order.
HISTORY = ("loss", "positive", "negative", "ell_unlabeled", "ell_sensitive")


class TrainingState:
    """Weights, their average, the optimiser and its schedule, the step, the history.

    network: the weights' own module.
    model: what is called in training, the network as accelerate prepares it.
    history: (steps, len(HISTORY)), filled up to `step`.
    """

    def __init__(
        self, network: nn.Module, accelerator: Accelerator, settings: TrainingSettings
    ):
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.network = network
        self.model, self.optimizer = accelerator.prepare(network, optimizer)
        self.parameters = list(self.model.parameters())
        # Not prepared: one step of the schedule is one step of the optimiser.
        self.schedule = get_cosine_schedule_with_warmup(
            optimizer, settings.warmup_steps, settings.steps
        )
        self.average = EMAModel(self.parameters, decay=settings.ema_decay, foreach=True)
        size = (settings.steps, len(HISTORY))
        self.history = torch.zeros(size, device=accelerator.device)
        self.step = 0

    def update(self, row: Tensor) -> None:
        """One step along the gradients at hand; `row` is the step's, as in HISTORY."""
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.average.step(self.parameters)
        self.history[self.step] = row
        self.step += 1

    def save(self, path: Path) -> None:
        tensors = {"history": self.history}
        tensors |= with_prefix("model.", self.network.state_dict())
        for i, shadow in enumerate(self.average.shadow_params):
            tensors[f"average.{i}"] = shadow
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= with_prefix(f"optimizer.{i}.", moments)
        facts = {"step": self.step, "ema_steps": self.average.optimization_step}
        save_tensors(path, tensors, facts)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: it is damaged, or of another model or number of steps.
        """
        tensors, facts = load_tensors(path)
        log.info("resuming from %s at step %d", path, facts["step"])
        try:
            self.network.load_state_dict(without_prefix("model.", tensors))
            for i, shadow in enumerate(self.average.shadow_params):
                shadow.copy_(tensors[f"average.{i}"])
            self.history.copy_(tensors["history"])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"{path} belongs to another model or budget; delete it to start that "
                f"run from its beginning ({one_line(error)})"
            ) from error
        moments = {
            i: without_prefix(f"optimizer.{i}.", tensors)
            for i in range(len(self.parameters))
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.average.optimization_step = facts["ema_steps"]
        self.step = facts["step"]
        # The learning rate is a function of the step alone.
        self.schedule.last_epoch = self.step
        factor = self.schedule.lr_lambdas[0](self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
