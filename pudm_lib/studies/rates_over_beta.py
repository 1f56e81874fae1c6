"""How the result depends on beta (PUDM section 5.4.2, Figure 4): a grid of beta, method
and seed as plain numbers, and sheets of samples, both small enough to be committed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pudm_lib.data.pixels import SHOWN
from pudm_lib.data.splits import make_split
from pudm_lib.experiments.many import run_many
from pudm_lib.experiments.one import Result
from pudm_lib.experiments.settings import Experiment, experiment
from pudm_lib.measures.intervals import pooled_rate

COMPARED = ("pu_non_negative", "pu_absolute")

# Kept of every seed, beside its rate.
DISTANCES = ("frechet_pixels", "frechet_classifier")


def grid_experiments(
    preset: str, betas: Sequence[float], seeds: Sequence[int], **settings
) -> dict[tuple[str, float], list[Experiment]]:
    """One experiment a seed for each (method, beta). At beta = 0 every method is the
    unsupervised one, so that one is run for it, once.

    Raises:
        ValueError: betas that do not rise from 0 or leave [0, 1); fewer than two seeds.
    """
    inside = all(0 <= beta < 1 for beta in betas)
    rising = list(betas) == sorted(set(betas))
    if not (inside and rising and len(betas) > 1 and betas[0] == 0):
        raise ValueError(
            f"betas={list(betas)}, must be in [0, 1), rise and begin with 0, the "
            "unsupervised model"
        )
    if len(seeds) < 2:
        raise ValueError(f"seeds={list(seeds)}, must be at least two")

    def one(method: str, beta: float, seed: int) -> Experiment:
        method = method if beta else "unsupervised"
        return experiment(preset, **settings, method=method, beta=beta, seed=seed)

    return {(m, b): [one(m, b, s) for s in seeds] for m in COMPARED for b in betas}


def run_rows(rows: Mapping[Any, Sequence[Experiment]]) -> dict[Any, list[Result]]:
    """The results of each row of experiments, all trained side by side."""
    done = iter(run_many([e for row in rows.values() for e in row]))
    return {key: [next(done) for _ in row] for key, row in rows.items()}


def measure_grid(
    preset: str, betas: Sequence[float], seeds: Sequence[int], **settings
) -> dict[str, Any]:
    """Train, or find, every model of the grid.

    Returns:
        "true_beta", "betas", "seeds", "samples_per_point", "floors" (real normal images
        in place of samples, first seed), and "points", one for each method and beta;
        see `point`.
    """
    results = run_rows(grid_experiments(preset, betas, seeds, **settings))
    first = results[COMPARED[0], betas[0]][0]
    run = first.experiment
    return {
        "true_beta": make_split(run.data, run.seed).sensitive_share,
        "betas": list(betas),
        "seeds": list(seeds),
        "samples_per_point": run.sampling.num_samples,
        "floors": {d: first.numbers[f"{d}_floor"] for d in DISTANCES},
        "points": [point(*cell, row) for cell, row in results.items()],
    }


def grid_samples(
    preset: str, betas: Sequence[float], seeds: Sequence[int], **settings
) -> Tensor:
    """The first seed's first samples, uint8 (points, SHOWN, C, H, W)."""
    cells = grid_experiments(preset, betas, seeds, **settings)
    firsts = run_many([row[0] for row in cells.values()])
    return torch.stack([result.samples[:SHOWN] for result in firsts])


def point(method: str, beta: float, results: Sequence[Result]) -> dict[str, Any]:
    """What is kept of one (method, beta): lists have one value a seed; the interval is
    Wilson's for the samples of all seeds together; the risk and the marks of sensitive
    samples are the first seed's."""
    numbers = [result.numbers for result in results]
    negative = [result.history["negative"].numpy() for result in results]
    return {
        "method": method,
        "beta": beta,
        "rates": [of_seed["non_sensitive_rate"] for of_seed in numbers],
        "interval": pooled_rate(numbers)[1],
        **{d: [of_seed[d] for of_seed in numbers] for d in DISTANCES},
        "negative_share": [float((values < 0).mean()) for values in negative],
        "risk": running_mean(negative[0])[::25].tolist(),
        "sensitive": results[0].sensitive[:SHOWN].tolist(),
    }


def points_of(grid: dict, method: str) -> list[dict]:
    """A grid's points of one method, by rising beta."""
    return [p for p in grid["points"] if p["method"] == method]


def running_mean(values, width: int = 25) -> np.ndarray:
    """(n,) -> the means of all stretches of `width` neighbours, (n - width + 1,)."""
    width = min(width, len(values))
    return np.convolve(values, np.ones(width) / width, mode="valid")
