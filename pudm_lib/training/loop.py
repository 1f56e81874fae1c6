"""One training loop for all of PUDM's methods (Algorithm 1 and the baselines).

Images of U and S (and N, for PNU) -> a noise level and noise for each -> the network's
error ell (eq. 8) -> the method's risk (pudm_lib.training.losses) -> one AdamW step.

A batch can be taken in pieces (settings.accumulate) and spread over processes (under
torchrun): its noise is drawn for the whole, and so is the sign of its risk. A run that
was cut off goes on from its checkpoint to the same weights (see `random_generator`):
bit by bit on the same number of a CPU's threads, but for rounding on a GPU.
"""

import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from tqdm.auto import tqdm

from pudm_lib.diffusion.networks import null_class
from pudm_lib.diffusion.process import (
    add_noise,
    alphas_cumprod_of,
    denoising_error,
    linear_betas,
)
from pudm_lib.machine.compiling import compiled
from pudm_lib.machine.devices import (
    cpu_threads,
    resolve_device,
    resolve_precision,
    what_fits,
)
from pudm_lib.machine.paths import headless
from pudm_lib.machine.processes import agreed, is_main
from pudm_lib.machine.stopping import asked_to_stop, leave
from pudm_lib.training.batches import Batches, TrainingImages, batch_pieces
from pudm_lib.training.losses import risk_and_weights
from pudm_lib.training.settings import TrainingSettings
from pudm_lib.training.state import HISTORY, TrainingState

log = logging.getLogger(__name__)

# A look at the losses makes a GPU wait for them, so it is taken now and then.
LOOK_EVERY = 25


class TrainingError(ValueError):
    """Training that cannot go on: a loss that is not a number."""


def train(
    model: nn.Module,
    images: TrainingImages,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoint: Path | None = None,
    report: Callable[[int, str], None] | None = None,
) -> dict[str, Tensor]:
    """Train `model` in place and leave the averaged (EMA) weights in it.

    Args:
        model: model(x_t, t).sample predicts the noise, or model(x_t, t, c).sample where
            the images have conditions (20); already initialised.
        images: see `TrainingImages`; kept whole on the training device.
        checkpoint: resumed from if it exists, written to as training goes on.
        report: called with the steps done and the latest losses in words, in place of
            a progress bar.

    Under several processes every one calls this with the same arguments, and ends with
    the same weights and history; the first one writes the checkpoints.

    Returns:
        history: for each name of `HISTORY` a (steps,) float32 tensor.

    Raises:
        ValueError: images that do not suit the method (see `Batches`), or fewer in a
            batch than pieces to cut it into.
        TrainingError: a loss that is not finite, with its step and risk terms.
        torch.OutOfMemoryError: names the batch and an `accumulate` that fits.
        CheckpointError: a checkpoint that is damaged or of another model.
        KeyboardInterrupt: after a step that was kept, for Ctrl-C or from `report`.
    """
    device = resolve_device(settings.device)
    if is_main() and settings.warmup_steps >= settings.steps:
        log.warning(
            "warmup_steps=%d, but there are only %d steps: the learning rate stays "
            "below %g and never gets to learning_rate=%g; fewer warmup_steps would "
            "train more",
            settings.warmup_steps,
            settings.steps,
            settings.learning_rate * settings.steps / settings.warmup_steps,
            settings.learning_rate,
        )
    with cpu_threads(settings.threads):
        loop = _Loop(model, images, settings, seed, device)
        state = loop.state
        if checkpoint is not None and agreed(checkpoint.exists(), device):
            state.resume(checkpoint)
        bar = tqdm(
            total=settings.steps,
            initial=state.step,
            desc=f"train {settings.method}",
            disable=headless() or report is not None or not is_main(),
        )

        def keep() -> None:
            loop.look()  # a state that is not finite is never kept
            if checkpoint is not None and is_main():  # all have the same
                state.save(checkpoint)

        with bar, asked_to_stop() as stopping:
            while state.step < settings.steps:
                try:
                    loop.advance()
                except torch.OutOfMemoryError as error:
                    raise loop.what_fits(error) from error
                bar.update()
                last = state.step == settings.steps
                try:
                    if last or state.step % LOOK_EVERY == 0:
                        losses = loop.look()
                        bar.set_postfix_str(losses, refresh=False)
                        if report is not None:
                            report(state.step, losses)
                except KeyboardInterrupt:
                    keep()
                    raise
                stop = stopping()
                if stop or (state.step % settings.checkpoint_every == 0 and not last):
                    keep()
                if stop:
                    leave(stop, f"after step {state.step}")
        state.average.copy_to(state.parameters)
        # Without autocast around it: sampling is the same now and after loading.
        loop.accelerator.unwrap_model(state.model, keep_fp32_wrapper=False)
    return dict(zip(HISTORY, state.history.T.cpu(), strict=True))


class _Loop:
    """Steps of Algorithm 1 on one device or several."""

    def __init__(self, model, images, settings, seed, device):
        bfloat16 = resolve_precision(settings.precision, device) == "bfloat16"
        # accelerate keeps one device and precision for the whole process; here each
        # training has its own.
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision="bf16" if bfloat16 else "no"
        )
        self.state = TrainingState(model, self.accelerator, settings)
        self.predict = compiled(self.state.model, settings.compile, device)
        self.device = self.accelerator.device
        betas = linear_betas(settings.num_train_timesteps)
        self.alphas_cumprod = alphas_cumprod_of(betas).to(self.device)
        null = null_class(model) if images.conditions is not None else None
        self.batches = Batches(images, settings, seed, self.device, null)
        self.pieces = batch_pieces(
            self.batches.size,
            processes=self.accelerator.num_processes,
            rank=self.accelerator.process_index,
            accumulate=settings.accumulate,
        )
        self.settings = settings

    def advance(self) -> None:
        """One step of Algorithm 1."""
        settings, state = self.settings, self.state
        x0, eps, t, c, sizes = self.batches.at(state.step)
        knobs = {"reduction": settings.reduction, "tau": settings.tau}

        def errors(piece: slice) -> Tensor:
            x_t = add_noise(x0[piece], eps[piece], t[piece], self.alphas_cumprod)
            with self.accelerator.autocast():
                eps_hat = self.predict(x_t, t[piece], *(k[piece] for k in c)).sample
            return denoising_error(eps[piece], eps_hat.float(), **knobs)

        # No image's weight is known before the errors of all are: where the batch is in
        # several pieces they are computed twice, and held for the gradient one by one.
        at_once = len(self.pieces) == 1
        with torch.set_grad_enabled(at_once):
            parts = [errors(piece) for piece in self.pieces]
        ell = torch.zeros(len(t), device=self.device)
        for piece, part in zip(self.pieces, parts, strict=True):
            ell[piece] = part.detach()
        # Each image's error is known to one process, and zero in the others.
        ell = self.accelerator.reduce(ell, "sum")
        risk, weights = risk_and_weights(
            ell, sizes, method=settings.method, beta=settings.beta, gamma=settings.gamma
        )
        for piece, part in zip(self.pieces, parts, strict=True):
            part = part if at_once else errors(piece)
            share = (weights[piece] * part).sum()
            # The gradients of the processes will be averaged, but are parts of a sum.
            self.accelerator.backward(share * self.accelerator.num_processes)
        self.accelerator.clip_grad_norm_(state.parameters, 1.0)
        # Without S in the batch its mean is NaN, which history shows as a gap.
        ell_u, ell_s, _ = (part.mean() for part in ell.split(sizes))
        kept = [risk.value, risk.positive, risk.negative, ell_u, ell_s]
        state.update(torch.stack(kept))

    def look(self) -> str:
        """The latest losses in words; stops if any of the last steps is not finite."""
        settings, step = self.settings, self.state.step
        since = max(0, step - LOOK_EVERY)
        rows = self.state.history[since:step, :3].cpu()  # loss and its two parts

        def words(row: Tensor) -> str:
            named = zip(HISTORY, row.tolist(), strict=False)
            return ", ".join(f"{name}={value:.3g}" for name, value in named)

        for i, row in enumerate(rows):
            if not row.isfinite().all():
                raise TrainingError(
                    f"loss is not finite at step {since + i}: {words(row)} (method="
                    f"{settings.method}, beta={settings.beta}, learning_rate="
                    f"{settings.learning_rate}); lower the learning rate or beta"
                )
        below = (rows[:, 2] < 0).float().mean().item()
        return f"{words(rows.mean(0))}, below 0: {below:.0%}"

    def what_fits(self, error: torch.OutOfMemoryError) -> torch.OutOfMemoryError:
        """The error, and in how many pieces the batch would fit."""
        batch, processes = self.batches.size, self.accelerator.num_processes
        pieces = [n for n in (2, 4, 8, 16, 32, 64, 128) if n * processes <= batch]
        tries = {f"accumulate={n}": math.ceil(batch / (n * processes)) for n in pieces}
        shape = (batch, *self.batches.sets["unlabeled"].shape[1:])
        conditional = self.batches.conditions is not None

        def forward_and_backward(*inputs: Tensor) -> None:
            self.state.optimizer.zero_grad()
            with self.accelerator.autocast():
                self.state.network(*inputs).sample.float().square().sum().backward()

        return what_fits(
            error, forward_and_backward, tries, shape, self.device, conditional
        )
