"""Run by torchrun from test_processes.py: one step of each method by two processes, and
one experiment.

    torchrun --nproc_per_node 2 tests/two_processes.py FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState

from pudm_lib.diffusion.networks import MLPDenoiser
from pudm_lib.experiments import many
from pudm_lib.experiments import one as experiments
from pudm_lib.experiments.settings import experiment
from pudm_lib.machine.store import load_tensors, save_tensors
from pudm_lib.training.batches import TrainingImages
from pudm_lib.training.loop import train
from pudm_lib.training.losses import METHODS
from pudm_lib.training.settings import TrainingSettings

# With the first beta the negative risk is above, with the second below zero.
CASES = [(method, beta) for method in METHODS for beta in (0.75, 0.9)]
SETTINGS = TrainingSettings(
    steps=2,
    warmup_steps=0,
    batch_unlabeled=5,
    batch_sensitive=3,
    batch_normal=3,
    gamma=0.1,
    tau=10.0,  # gradients too small to be clipped, which would hide a wrong scale
    checkpoint_every=1,
    device="cpu",
)


def points() -> TrainingImages:
    """U, S and N about zero, but for one point of S that is far away."""
    generator = torch.Generator().manual_seed(1)
    near = torch.randn(3, 8, 2, generator=generator)
    near[1, 0] = 100.0
    return TrainingImages(near[0], near[1, :3], near[2])


def first_step(method: str, beta: float, path: Path, **change):
    """All tensors after the first of two steps, from the checkpoint, in which is also a
    tenth of the gradient; and the history and weights at the end."""
    torch.manual_seed(8)
    model = MLPDenoiser(2, width=16)
    settings = replace(SETTINGS, method=method, beta=beta, **change)
    history = train(model, points(), settings, seed=0, checkpoint=path)
    return load_tensors(path)[0], {**history, **model.state_dict()}


class QuickJudge:
    """The real one takes long to train and is tested elsewhere."""

    accuracy = sensitivity = specificity = 1.0

    def __init__(self, *_, **__):
        pass

    def __call__(self, images):
        found = images.flatten(1)[:, ::8].float() / 255
        return found[:, 0] > 2, found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for method, beta in CASES:
        _, end = first_step(method, beta, folder / f"{method}-{beta}.safetensors")
        # As accelerate has it and not the environment: were they really two?
        state = PartialState()
        name = f"{method}-{beta}-end-{state.process_index}.safetensors"
        save_tensors(folder / name, end, {"processes": state.num_processes})
    experiments.load_judge = QuickJudge
    result = many.run_many([experiment("ci", device="cpu")])[0]
    name = f"experiment-{state.process_index}.safetensors"
    save_tensors(folder / name, {**result.history, "samples": result.samples}, {})
