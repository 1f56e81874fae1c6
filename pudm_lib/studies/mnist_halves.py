"""Chapter 05's comparison on larger images (PUDM section 5.2): methods and seeds on one
choice of normal classes, as plain numbers and a sheet, small enough to be committed."""

from collections.abc import Sequence
from typing import Any

import torch

from pudm_lib.data.pixels import to_png
from pudm_lib.experiments.one import Result
from pudm_lib.experiments.settings import experiment
from pudm_lib.studies.rates_over_beta import run_rows, running_mean

SHEET = 60  # samples of each method on the sheet
STRETCHES = 40  # points of a learning curve
CURVES = ("ell_unlabeled", "ell_sensitive", "negative")


def results_of(
    preset: str, methods: Sequence[str], seeds: Sequence[int], **settings
) -> dict[str, list[Result]]:
    """Train, or find, every model: method -> one result a seed."""
    return run_rows(
        {
            m: [experiment(preset, **settings, method=m, seed=s) for s in seeds]
            for m in methods
        }
    )


def measure_half(
    preset: str, methods: Sequence[str], seeds: Sequence[int], **settings
) -> dict[str, Any]:
    """What a figure of the comparison needs; `settings` are `experiment`'s.

    Returns:
        "numbers": {method: [numbers of `measures.measure`, one a seed]}; of the first
        seed "sensitive": {method: marks of the sheet's samples} and "curves": {method:
        {one of CURVES: means of "stretch" steps}}.
    """
    rows = results_of(preset, methods, seeds, **settings)
    firsts = {method: results[0] for method, results in rows.items()}
    stretch = max(1, len(firsts[methods[0]].history["loss"]) // STRETCHES)
    return {
        "numbers": {m: [r.numbers for r in results] for m, results in rows.items()},
        "sensitive": {m: r.sensitive[:SHEET].tolist() for m, r in firsts.items()},
        "curves": {
            m: {
                name: running_mean(r.history[name].numpy(), stretch)[::stretch]
                for name in CURVES
            }
            for m, r in firsts.items()
        },
        "stretch": stretch,
    }


def sheet_of_half(
    preset: str, methods: Sequence[str], seeds: Sequence[int], **settings
) -> bytes:
    """The first seed's first samples, a row a method, as `data.to_png` makes it."""
    rows = results_of(preset, methods, seeds[:1], **settings)
    return to_png(torch.stack([rows[m][0].samples[:SHEET] for m in methods]))
