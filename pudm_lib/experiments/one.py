"""One experiment from data to numbers, kept under runs/ and found again.

    data -> network -> training -> sampling -> metrics

`run` does one, `many.run_many` several side by side; under torchrun several processes
train each model together, and the first of them does the rest. What an experiment made
is kept under its key (`keys`), so a second call reads it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pudm_lib.data.pixels import to_uint8
from pudm_lib.data.splits import PUSplit, condition_groups, make_split
from pudm_lib.diffusion.networks import make_unet
from pudm_lib.diffusion.pretrained import load_pretrained
from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas
from pudm_lib.diffusion.sampling import sample
from pudm_lib.experiments.keys import result_key, training_key
from pudm_lib.experiments.settings import Experiment
from pudm_lib.machine.compiling import compiled
from pudm_lib.machine.devices import cpu_threads, environment, resolve_device
from pudm_lib.machine.paths import make_folder, remove_leftovers, runs_root
from pudm_lib.machine.processes import agreed, is_main, locked, wait_for
from pudm_lib.machine.stopping import asked_to_stop, leave
from pudm_lib.machine.store import (
    load_tensors,
    save_tensors,
    with_prefix,
    without_prefix,
)
from pudm_lib.measures.judge import load_judge
from pudm_lib.measures.numbers import measure
from pudm_lib.steering.guidance import Guided
from pudm_lib.training.batches import TrainingImages
from pudm_lib.training.loop import train


@dataclass(frozen=True)
class Result:
    """What one experiment made.

    numbers: by `measures.measure`, and "train_seconds".
    samples: uint8 (num_samples, C, H, W).
    sensitive: (num_samples,) bool, by the judge.
    history: of training, name -> (steps,).
    environment: device and versions it ran under.
    """

    experiment: Experiment
    numbers: dict[str, float]
    samples: Tensor
    sensitive: Tensor
    history: dict[str, Tensor]
    environment: dict[str, str]


def folder(experiment: Experiment) -> Path:
    """Where an experiment's weights lie: runs/<dataset>-<method>-<seed>-<key>."""
    words = (
        Path(experiment.data.dataset).stem,
        experiment.training.method,
        f"seed{experiment.seed}",
        training_key(experiment),
    )
    return runs_root() / "-".join(words)


def is_done(experiment: Experiment) -> bool:
    return _result_path(experiment).exists()


def _weights_path(experiment: Experiment) -> Path:
    return folder(experiment) / "model.safetensors"


def _result_path(experiment: Experiment) -> Path:
    return folder(experiment) / f"result-{result_key(experiment)}.safetensors"


def run(experiment: Experiment, *, report=None) -> Result:
    """Train, sample and measure; or read what an earlier call left.

    Args:
        report: called as training goes on, in place of a bar; see `training.train`.

    Raises:
        ValueError: bad settings or data; see the modules that raise it.
    """
    path = _result_path(experiment)
    device = resolve_device(experiment.training.device)
    if not agreed(path.exists(), device):
        # Everything that can be refused is refused before anything is written.
        split = make_split(experiment.data, experiment.seed)
        model = make_network(experiment, split)
        with _locked(folder(experiment)):
            missing = not agreed(path.exists(), device)
            if missing:
                _train_or_load(model, experiment, split, report)
            if missing and is_main():
                images = draw(experiment, _guided(experiment, model), split)
                judge = load_judge(experiment.data, device=device)
                numbers, sensitive = measure(images, split, judge)
                tensors = {"samples": images, "sensitive": sensitive}
                facts = {
                    "numbers": numbers,
                    "experiment": asdict(experiment),
                    "environment": environment(device),
                }
                save_tensors(path, tensors, facts)
        wait_for(path)
    tensors, facts = load_tensors(path)
    trained, training = load_tensors(_weights_path(experiment))
    return Result(
        experiment=experiment,
        numbers=facts["numbers"] | {"train_seconds": training["train_seconds"]},
        samples=tensors["samples"],
        sensitive=tensors["sensitive"],
        history=without_prefix("history.", trained),
        environment=facts["environment"],
    )


def make_network(experiment: Experiment, split: PUSplit) -> nn.Module:
    """The untrained network, whose first weights depend on the seed alone; or the
    pretrained one."""
    _, channels, resolution, _ = split.x_unlabeled.shape
    size = {"resolution": resolution, "channels": channels}
    if experiment.pretrained:
        steps = experiment.training.num_train_timesteps
        return load_pretrained(experiment.pretrained, **size, num_train_timesteps=steps)
    conditions = len(condition_groups(experiment.data.condition))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        return make_unet(experiment.network, **size, num_conditions=conditions)


def load_model(experiment: Experiment) -> nn.Module:
    """The trained network of an experiment, on its device, in eval mode; trained first
    where it is not there."""
    split = make_split(experiment.data, experiment.seed)
    model = make_network(experiment, split)
    with _locked(folder(experiment)):
        return _train_or_load(model, experiment, split)


def draw(experiment: Experiment, model: nn.Module, split: PUSplit, **hooks) -> Tensor:
    """uint8 samples of a trained model; `hooks` as `sampling.sample` takes them."""
    guided = isinstance(model, Guided)
    with cpu_threads(experiment.training.threads):
        images = sample(
            model if guided else _compiled(experiment, model),
            experiment.sampling,
            shape=tuple(split.x_unlabeled.shape[1:]),
            seed=experiment.seed,
            num_train_timesteps=experiment.training.num_train_timesteps,
            conditions=asked_conditions(experiment),
            precision=experiment.training.precision,
            **hooks,
        )
    return to_uint8(images)


def asked_conditions(experiment: Experiment) -> Tensor | None:
    """What each sample is asked for by: all conditions in turn; None without one."""
    count = len(condition_groups(experiment.data.condition))
    return torch.arange(experiment.sampling.num_samples) % count if count else None


def _guided(experiment: Experiment, model: nn.Module) -> nn.Module:
    if experiment.data.condition == "none":
        return model
    betas = linear_betas(experiment.training.num_train_timesteps)
    scale, network = experiment.sampling.guidance_scale, _compiled(experiment, model)
    return Guided(network, scale, alphas_cumprod_of(betas))


def _compiled(experiment: Experiment, model: nn.Module) -> nn.Module:
    device = next(model.parameters()).device
    return compiled(model, experiment.training.compile, device)


def _train_or_load(
    model: nn.Module, experiment: Experiment, split: PUSplit, report=None
) -> nn.Module:
    path = _weights_path(experiment)
    checkpoint = path.with_name("checkpoint.safetensors")
    device = resolve_device(experiment.training.device)
    if not agreed(path.exists(), device):
        images = TrainingImages(
            split.x_unlabeled, split.x_sensitive, split.x_normal, split.conditions
        )
        # Around all, so that no signal comes between the last step and its keeping.
        with asked_to_stop() as stopping:
            start = time.perf_counter()
            history = train(
                model,
                images,
                experiment.training,
                seed=experiment.seed,
                checkpoint=checkpoint,
                report=report,
            )
            tensors = with_prefix("model.", model.state_dict())
            tensors |= with_prefix("history.", history)
            facts = {
                "experiment": asdict(experiment),
                "train_seconds": time.perf_counter() - start,
            }
            if is_main():
                save_tensors(path, tensors, facts)
                checkpoint.unlink(missing_ok=True)
            if stop := stopping():
                leave(stop, "after the last step")
        wait_for(path)
    tensors, _ = load_tensors(path)
    model.load_state_dict(without_prefix("model.", tensors))
    return model.to(device).eval()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by whoever makes a run; a second process waits, then reads. Those who train
    together hold it together."""
    if not is_main():
        yield
        return
    with locked(make_folder(path) / ".lock", path.name):
        remove_leftovers(path)
        yield
