"""What chapter 06's widget draws: every trained (beta, method) of a saved grid.

The drawing takes all from the grid, so a move of the slider costs a picture and no
training. Its margins are given, as in `pudm_lib.widgets.noise_and_loss`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pudm_lib.book import style as plotting
from pudm_lib.widgets.controls import Control, explore

DISTANCES = {"frechet_pixels": "pixels", "frechet_classifier": "classifier"}
SHEET_COLUMNS = 8


def explore_beta(
    grid: Mapping[str, Any], samples, *, beta: float | None = None
) -> None:
    """Samples, rate, distances and risk of every trained (beta, method) of a grid.

    Args:
        grid: {"true_beta": float, "samples_per_point": int, "points": [...]}; a point
            has "method", "beta", "rates" (one a seed), "interval" (of the rate),
            "frechet_pixels" and "frechet_classifier" (one a seed), "negative_share"
            (one a seed), "risk" (the negative risk along training) and "sensitive"
            (one a shown sample). Every method has every beta.
        samples: uint8 (points, N, C, H, W), in the order of the points.
        beta: of the first figure; None takes the one nearest above the true share.

    Raises:
        ValueError: a beta outside [0, 1), an unknown method, a (method, beta) that is
            missing or doubled, or samples that do not fit the points.
    """
    points = index_grid(grid, samples)
    betas = sorted({b for _, b in points})
    if beta is None:
        beta = min((b for b in betas if b >= grid["true_beta"]), default=betas[-1])
    explore(
        partial(draw_beta, grid["true_beta"], points),
        alt=partial(describe_beta, grid, points),
        beta=Control("assumed β", betas, beta),
        method=Control("risk", {plotting.METHOD_LABELS[m]: m for m, _ in points}),
    )


def index_grid(grid: Mapping[str, Any], samples) -> dict[tuple[str, float], dict]:
    """(method, beta) -> its point, with its samples under "samples". Checks all."""
    if len(samples) != len(grid["points"]):
        raise ValueError(
            f"{len(samples)} sheets of samples for {len(grid['points'])} points, must "
            "be one for each"
        )
    shares = [("beta", point["beta"]) for point in grid["points"]]
    for name, b in [("true_beta", grid["true_beta"]), *shares]:
        if not 0 <= b < 1:
            raise ValueError(f"{name}={b} in the grid, must be in [0, 1)")
    points = {}
    for point, sheet in zip(grid["points"], samples, strict=True):
        method, b, judged = point["method"], point["beta"], len(point["sensitive"])
        if method not in plotting.METHOD_LABELS:
            known = ", ".join(plotting.METHOD_LABELS)
            raise ValueError(f"method={method!r} in the grid, must be one of {known}")
        if (method, b) in points:
            raise ValueError(f"{method} at beta={b} is in the grid twice")
        if judged != len(sheet):
            raise ValueError(
                f"{method} at beta={b}: {len(sheet)} samples but {judged} judgements, "
                "must be one for each"
            )
        points[method, b] = {**point, "samples": sheet}
    methods, betas = ({key[i] for key in points} for i in (0, 1))
    for method, b in sorted(set(product(methods, betas)) - set(points)):
        raise ValueError(f"{method} at beta={b} is missing from the grid")
    return points


def describe_beta(grid: Mapping, points: Mapping, beta: float, method: str) -> str:
    point = points[method, beta]
    low, high = point["interval"]
    distances = ", ".join(
        f"{np.mean(point[key]):.2f} on {name}" for key, name in DISTANCES.items()
    )
    rate, below = np.mean(point["rates"]), np.mean(point["negative_share"])
    return (
        f"β = {beta:.3g}, {plotting.METHOD_LABELS[method]}: {rate:.1%} of "
        f"{grid['samples_per_point']} samples are normal ({low:.1%} to {high:.1%}). "
        f"Fréchet distance {distances}. The risk is negative in {below:.1%} of steps. "
        f"True β {grid['true_beta']:.3g}."
    )


def draw_beta(true_beta: float, points: Mapping, beta: float, method: str) -> Figure:
    """The samples, and where this beta stands on the three curves of its method."""
    figure = Figure(figsize=(8.6, 5.0), layout="none")
    layout = [["sheet", "rate"], ["sheet", "distance"], ["sheet", "risk"]]
    places = {"left": 0.01, "right": 0.985, "bottom": 0.1, "top": 0.935}
    places |= {"wspace": 0.18, "hspace": 0.5, "width_ratios": (1, 1.1)}
    axes = figure.subplot_mosaic(layout, gridspec_kw=places)
    point, sheet = points[method, beta], axes["sheet"]
    marked = point["sensitive"]
    plotting.image_sheet(sheet, point["samples"], columns=SHEET_COLUMNS, marked=marked)
    sheet.set_anchor("N")
    sheet.set_title(
        f"β = {beta:.3g}: {sum(marked)} of {len(marked)} sensitive (framed)"
    )
    row = [points[method, b] for b in sorted({b for _, b in points})]
    _draw_rates(axes["rate"], row, method)
    _draw_distances(axes["distance"], row)
    for name in ("rate", "distance"):
        axes[name].axvline(true_beta, color="black", linestyle=":", linewidth=1)
        axes[name].axvline(beta, color=plotting.YELLOW, linewidth=7, zorder=0)
    axes["rate"].set_title(f"{np.mean(point['rates']):.1%} normal; dotted: true β")
    axes["distance"].set_xlabel("assumed β")
    _draw_risks(axes["risk"], row, point)
    return figure


def _draw_rates(axis: Axes, row: Sequence[Mapping], method: str) -> None:
    rates = [np.mean(p["rates"]) for p in row]
    bars = plotting.error_bars(rates, [p["interval"] for p in row])
    look = {"fmt": "o-", "markersize": 5, "capsize": 3}
    look |= {"color": plotting.METHOD_COLOURS[method]}
    axis.errorbar([p["beta"] for p in row], rates, yerr=bars, **look)
    axis.set(ylabel="normal", ymargin=0.15)
    axis.tick_params(labelbottom=False)


def _draw_distances(axis: Axes, row: Sequence[Mapping]) -> None:
    looks = ((plotting.SKY, "s-"), (plotting.PURPLE, "^-"))
    for (key, name), (colour, style) in zip(DISTANCES.items(), looks, strict=True):
        means = [np.mean(p[key]) for p in row]
        betas = [p["beta"] for p in row]
        axis.semilogy(betas, means, style, color=colour, markersize=5, label=name)
    axis.set_ylabel("Fréchet")
    axis.legend(loc="upper left", fontsize=8, ncols=2, borderaxespad=0.1)
    axis.set_ymargin(0.25)
    axis.minorticks_off()


def _draw_risks(axis: Axes, row: Sequence[Mapping], point: Mapping) -> None:
    for other in row:
        axis.plot(np.linspace(0, 1, len(other["risk"])), other["risk"], color="0.85")
    along = np.linspace(0, 1, len(point["risk"]))
    axis.plot(along, point["risk"], color=plotting.METHOD_COLOURS[point["method"]])
    axis.axhline(0, color="black", linewidth=0.8)
    low, high = np.quantile(np.concatenate([p["risk"] for p in row]), (0, 0.95))
    axis.set(ylim=(min(low, -0.05 * high) * 1.1, high), ylabel="negative risk")
    axis.set_xlabel("share of training done; grey: the other β")
