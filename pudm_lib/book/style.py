"""How the book's figures look: one style, colours that colour-blind readers can tell
apart (Okabe and Ito 2008), and the few drawings that more than one chapter uses."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pudm_lib.data.pixels import to_display
from pudm_lib.measures.intervals import student_interval

BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
YELLOW = "#F0E442"
BLACK = "#000000"
GREY = "#7F7F7F"

# Normal is always blue, sensitive always vermillion, whatever the data.
NORMAL, SENSITIVE = BLUE, VERMILLION

METHOD_COLOURS = {
    "unsupervised": GREY,
    "supervised": PURPLE,
    "supervised_code": ORANGE,
    "pu_unbiased": SKY,
    "pu_non_negative": BLUE,
    "pu_absolute": GREEN,
    "pnu": BLACK,
}

METHOD_LABELS = {
    "unsupervised": "unsupervised (eq. 9)",
    "supervised": "supervised (eq. 12)",
    "supervised_code": "supervised (released code)",
    "pu_unbiased": "PU unbiased (eq. 18)",
    "pu_non_negative": "PU non-negative (eq. 19)",
    "pu_absolute": "PU absolute",
    "pnu": "PNU",
}


def use_book_style() -> None:
    """Set matplotlib's defaults for a chapter; called once, in its first cell."""
    plt.rcParams.update(
        {
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "figure.constrained_layout.use": True,
            "figure.figsize": (8.0, 3.6),
            "font.size": 10,
            "grid.alpha": 0.3,
            "legend.frameon": False,
        }
    )


def image_sheet(
    axes: Axes,
    images,
    *,
    columns: int,
    marked: Sequence[bool] | None = None,
    title: str = "",
) -> None:
    """Images side by side on one axes; the marked ones (sensitive) get a frame and a
    corner dot, so that neither colour nor position alone carries the message.

    Args:
        images: uint8 (B, C, H, W).
        columns: images in a row.
        marked: (B,) or None.
        title: of the sheet.
    """
    pictures = to_display(images)
    cell = pictures.shape[1] + 2  # a picture and its white edge
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * cell, columns * cell, *pictures.shape[3:]), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * cell, (i % columns) * cell
        canvas[top + 1 : top + cell - 1, left + 1 : left + cell - 1] = picture
        if marked is not None and marked[i]:
            look = {"fill": False, "edgecolor": SENSITIVE, "linewidth": 1.8}
            axes.add_patch(plt.Rectangle((left, top), cell - 1, cell - 1, **look))
            axes.plot(left + 1, top + 1, marker="o", color=SENSITIVE, markersize=4)
    axes.imshow(canvas, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(title)


def histogram_columns(axes: Axes, ends: tuple, values, low: float, high: float):
    """(columns, n) values as histograms side by side between the two `ends` of x, in
    per cent of a column; those outside low and high stand in the end bins. The image,
    for a colour bar."""
    kept = np.clip(values, low, high)
    shares = [np.histogram(row, 40, (low, high))[0] / len(row) for row in kept]
    look = {"origin": "lower", "aspect": "auto", "cmap": "cividis", "vmax": 40}
    axes.grid(False)
    return axes.imshow(100 * np.transpose(shares), extent=(*ends, low, high), **look)


def legend_below(figure: Figure, axes: Axes, columns: int = 3) -> None:
    """One legend for all axes of a figure, below them, with the labels of one."""
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns)


def titles(axes: Sequence[Axes], *words: str, **shared) -> None:
    """A title for each of the axes; what they share goes to `Axes.set` as it is."""
    for ax, title in zip(axes, words, strict=True):
        ax.set(title=title, **shared)


def error_bars(values, intervals) -> np.ndarray:
    """(n,) values and (n, 2) intervals -> matplotlib's (2, n) lengths, never negative
    (rounding can put an interval's end a hair inside its value)."""
    values, intervals = np.asarray(values), np.asarray(intervals)
    return np.maximum(0, [values - intervals[:, 0], intervals[:, 1] - values])


def curves(
    axes: Axes,
    x,
    lines: Mapping[str, Any],
    colours: Sequence[str] = (BLUE, ORANGE, GREEN),
    dashes: Sequence[str] = ("-", "--", ":"),
    **legend,
) -> None:
    """A line over x for each name -> y, with a colour and a dash of its own.

    Args:
        dashes: as matplotlib writes them, with a mark if there is one: "--", "o-".
        legend: options of the axes' legend; there is none without them.
    """
    n = len(lines)
    for (name, y), colour, dash in zip(
        lines.items(), colours[:n], dashes[:n], strict=True
    ):
        axes.plot(x, y, dash, color=colour, label=name)
    if legend:
        axes.legend(**legend)


def marked_lines(
    axes: Axes, lines: Mapping[str, tuple], colours: Sequence[str], size: float = 5
) -> None:
    """A line for each name -> (x, y), with a colour and a mark of its own."""
    marks = "os^DvPX"[: len(lines)]
    for (name, xy), colour, mark in zip(lines.items(), colours, marks, strict=True):
        axes.plot(*xy, f"{mark}-", color=colour, label=name, markersize=size)


def mean_and_seeds(axes: Axes, x, y, *, marker: str, color: str, label: str) -> None:
    """Single seeds as small marks, their mean as a large one with 95 % intervals over
    seeds (Student) both ways."""
    axes.plot(x, y, marker, color=color, alpha=0.4, markersize=5)
    means, ends = zip(student_interval(x), student_interval(y), strict=True)
    x_bars, y_bars = error_bars(means, ends).T[..., None]
    look = {"fmt": marker, "color": color, "markersize": 9, "capsize": 3}
    axes.errorbar(*means, y_bars, x_bars, **look, label=label)


def interval_rows(
    axes: Axes, rows: Mapping[str, tuple], each=None, colours=METHOD_COLOURS
) -> None:
    """A row for each name, the first on top: its value and interval, and pale dots for
    single seeds. A method has its label and its colour.

    Args:
        rows: name -> (value, (low, high)).
        each: name -> values of single seeds, or None.
    """
    for row, (name, (value, interval)) in enumerate(rows.items()):
        colour, bars = colours.get(name, GREY), error_bars([value], [interval])
        axes.errorbar(value, row, xerr=bars, fmt="D", color=colour, capsize=4)
        dots = () if each is None else each[name]
        beside = row + np.linspace(-0.22, 0.22, len(dots))
        axes.plot(dots, beside, "o", color=colour, alpha=0.45, markersize=5)
    axes.set_yticks(range(len(rows)), [METHOD_LABELS.get(n, n) for n in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)


def toy_plane(axes: Sequence[Axes], edge: float = 2.6) -> None:
    """The plane of the two-dimensional toys, both coordinates to one scale."""
    for ax in axes:
        ax.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
        ax.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2))
        ax.grid(False)


def new_figure(rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """plt.subplots whose axes are always a flat array."""
    figure, axes = plt.subplots(rows, columns, squeeze=False, **options)
    return figure, axes.ravel()
