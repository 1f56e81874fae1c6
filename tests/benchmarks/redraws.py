"""What a reader waits for: a move of each slider beside a bare figure of the same size,
and a sweep of t-errors beside the seven evaluations that it is made of.

    python tests/benchmarks/redraws.py [ROUNDS]

Both sides of a ratio are timed in turn, so that what else the machine does slows both;
the median of the rounds and the range of the ratio are printed. No test asserts this.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
matplotlib.use("agg")
os.environ.setdefault("PUDM_HEADLESS", "1")  # a bar would be timed as well

from test_widgets import small_grid

import pudm_lib as pu
from pudm_lib.widgets import beta_explorer, controls, noise_and_loss

NODES = (0, 165, 330, 495, 660, 825, 990)


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(name: str, ours: Callable, beside: Callable, rounds: int) -> None:
    ours(), beside()  # the first call also sets things up
    times = np.array([(seconds(ours), seconds(beside)) for _ in range(rounds)])
    ms, ms_beside = 1000 * np.median(times, axis=0)
    ratios = times[:, 0] / times[:, 1]
    print(
        f"{name:<40}{ms:7.0f} ms{ms_beside:7.0f} ms{np.median(ratios):8.2f}"
        f"  [{ratios.min():.2f}, {ratios.max():.2f}]"
    )


def bare(size: tuple[float, float]) -> bytes:
    """A figure of this size with one line."""
    figure = Figure(figsize=size)
    figure.subplots().plot([0, 1])
    return controls.png_of(figure)


def explorers() -> dict[str, tuple[Callable, tuple[float, float]]]:
    """name -> what draws one of its pictures, and that picture's size."""
    grid, samples = small_grid()
    points = beta_explorer.index_grid(grid, samples)
    digits = torch.tensor(load_digits().data) / 8 - 1
    others = digits[1:]
    belief = pu.mixtures.GaussianMixture(
        torch.ones(len(others)), others, [0.02] * len(others)
    )
    eps = torch.randn(1, 64, dtype=digits.dtype, generator=pu.random_generator(100))
    schedules = noise_and_loss.schedules(1000)
    methods = ("supervised", "supervised_code", "pu_absolute")

    def pushes(ell, tau):  # any three curves: their drawing is timed
        return dict.fromkeys(methods, tau / ell)

    return {
        "beta explorer": (
            partial(beta_explorer.draw_beta, 0.09, points, 0.1, "pu_absolute"),
            (8.6, 5.0),
        ),
        "noise explorer": (
            partial(
                noise_and_loss.draw_noise,
                *(digits[:1], eps, belief, schedules, 249, "linear"),
            ),
            (8.4, 2.9),
        ),
        "loss explorer": (
            partial(noise_and_loss.draw_loss, pushes, 0.1, 6, 1),
            (8.4, 3.4),
        ),
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    torch.set_num_threads(1)
    pu.style.use_book_style()
    heads = f"{'':<40}{'ours':>10}{'beside':>10}{'ratio':>8}"
    print(f"{heads}  [range of {rounds} rounds]")
    for name, (draw, size) in explorers().items():
        redraw = lambda draw=draw: controls.png_of(draw())  # noqa: E731
        plain = partial(bare, size)
        compare(f"{name}, a move / a bare figure", redraw, plain, rounds)
    model = pu.networks.make_unet("small", resolution=8, channels=1).eval()
    x = torch.rand(64, 1, 8, 8) * 2 - 1
    sweep = partial(pu.detection.t_errors, model, x, 165)

    @torch.no_grad()
    def seven() -> None:
        for t in NODES:
            model(x, torch.full((len(x),), t))

    compare("sweep of t-errors / seven evaluations", sweep, seven, rounds)


if __name__ == "__main__":
    main()
