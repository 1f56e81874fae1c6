"""How the result depends on beta (PUDM section 5.4.2, Figure 4): a grid of beta, method
and seed as plain numbers, and sheets of samples, both small enough to be committed."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pudm_lib.book.style import running_mean
from pudm_lib.data.splits import make_split
from pudm_lib.experiments.one import Experiment, Result, experiment, run_many
from pudm_lib.measures.numbers import pooled_rate

METHODS = ("pu_non_negative", "pu_absolute")
SHOWN = 64  # samples of each point on its sheet
# Distances and rates that are kept of every seed.
KEPT = ("non_sensitive_rate", "frechet_pixels", "frechet_classifier")


def grid_experiments(
    preset: str, betas: Sequence[float], seeds: Sequence[int], **settings
) -> dict[tuple[str, float], list[Experiment]]:
    """One experiment a seed for each (method, beta). At beta = 0 every method is the
    unsupervised one, so that one is run for it, once.

    Raises:
        ValueError: betas that do not rise from 0 or leave [0, 1); fewer than two seeds.
    """
    check_betas(betas)
    if len(seeds) < 2:
        raise ValueError(f"seeds={list(seeds)}, must be at least two")
    return {
        (method, beta): [
            experiment(
                preset,
                **settings,
                method=method if beta else "unsupervised",
                beta=beta,
                seed=seed,
            )
            for seed in seeds
        ]
        for method in METHODS
        for beta in betas
    }


def check_betas(betas: Sequence[float]) -> None:
    """Raise ValueError, naming the values, unless all are in [0, 1) and rise from 0,
    the unsupervised model that the others are compared with."""
    inside = all(0 <= beta < 1 for beta in betas)
    rising = list(betas) == sorted(set(betas))
    if not (inside and rising and len(betas) > 1 and betas[0] == 0):
        raise ValueError(
            f"betas={list(betas)}, must be in [0, 1), rise and begin with 0, the "
            "unsupervised model"
        )


def measure_grid(
    preset: str, betas: Sequence[float], seeds: Sequence[int], **settings
) -> dict[str, Any]:
    """Train, or find, every model of the grid.

    Returns:
        "true_beta", "betas", "seeds", "samples_per_point", "floors" (real normal images
        in place of samples, first seed), and "points", one for each method and beta;
        see `point`.
    """
    cells = grid_experiments(preset, betas, seeds, **settings)
    flat = [e for row in cells.values() for e in row]
    results = dict(zip(flat, run_many(flat), strict=True))
    first = flat[0]
    return {
        "true_beta": make_split(first.data, first.seed).sensitive_share,
        "betas": list(betas),
        "seeds": list(seeds),
        "samples_per_point": first.sampling.num_samples,
        "floors": {kind: results[first].numbers[f"{kind}_floor"] for kind in KEPT[1:]},
        "points": [
            point(method, beta, [results[e] for e in row])
            for (method, beta), row in cells.items()
        ],
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
    rate, frechet_pixels, frechet_classifier = (
        [result.numbers[name] for result in results] for name in KEPT
    )
    negative = [result.history["negative"].numpy() for result in results]
    return {
        "method": method,
        "beta": beta,
        "rates": rate,
        "interval": pooled_rate([result.numbers for result in results])[1],
        "frechet_pixels": frechet_pixels,
        "frechet_classifier": frechet_classifier,
        "negative_share": [float((values < 0).mean()) for values in negative],
        "risk": running_mean(negative[0])[::25].tolist(),
        "sensitive": results[0].sensitive[:SHOWN].tolist(),
    }


def points_of(grid: dict, method: str) -> list[dict]:
    """A grid's points of one method, by rising beta."""
    return [p for p in grid["points"] if p["method"] == method]


def to_png(samples: Tensor) -> bytes:
    """uint8 (P, N, C, H, W), C = 1 or 3 -> a picture of P rows of N images, pixel by
    pixel, from which `from_png` gets them back."""
    p, n, c, h, w = samples.shape
    rows = samples.permute(0, 3, 1, 4, 2).reshape(p * h, n * w, c).numpy()
    picture = io.BytesIO()
    Image.fromarray(rows[..., 0] if c == 1 else rows).save(picture, format="png")
    return picture.getvalue()


def from_png(png: bytes, points: int, images: int = SHOWN) -> Tensor:
    """The samples that `to_png` put into a picture.

    Raises:
        ValueError: a picture whose sides the numbers do not divide.
    """
    rows = np.asarray(Image.open(io.BytesIO(png)))
    rows = rows.reshape(*rows.shape[:2], -1)
    if rows.shape[0] % points or rows.shape[1] % images:
        raise ValueError(
            f"a picture of {rows.shape[0]} x {rows.shape[1]} pixels does not hold "
            f"{points} rows of {images} images"
        )
    h, w = rows.shape[0] // points, rows.shape[1] // images
    parts = torch.from_numpy(rows.copy()).reshape(points, h, images, w, -1)
    return parts.permute(0, 2, 4, 1, 3).contiguous()
