"""How far the estimates of beta are from the truth: every method on many draws."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from pudm_lib.experiments.parallel import side_by_side
from pudm_lib.machine.devices import available_cores
from pudm_lib.prior.estimators import ESTIMATORS
from pudm_lib.prior.scores import WARNING_LEVEL
from pudm_lib.studies.beta_draws import STUDIES, draw, measure_draw

BETAS = (0.02, 0.05, 1 / 11, 0.2, 0.4)


def study(
    dataset: str,
    *,
    betas: Sequence[float] = BETAS,
    draws: Sequence[int] = tuple(range(20)),
    sizes: Sequence[int] | None = None,
    workers: int | None = None,
) -> dict:
    """Every method, beta, size of S and draw, side by side over the cores.

    Args:
        dataset: a key of `STUDIES`.
        betas: true shares, in [0, 1).
        draws: seeds of the splits.
        sizes: of S; default: all of the data set's.
        workers: processes; default: one a core.

    Returns:
        "table": {method: {size: {beta: cell}}}, the keys as text; a cell holds the
        "truth" and "estimates" [[value, low, high], ...], one a draw, and errors:
        "mean_absolute_error", "bias", "coverage" of the 90 % interval, "seconds" with
        its resampling. "overall": {method: {size: errors over all betas}}.
        "scoring_seconds": {size: mean}; "warned": {size: share of these draws, in
        which S is a random sample, that got the warning}; and what was asked for.

    Raises:
        ValueError: an unknown data set, or a beta outside [0, 1).
    """
    if dataset not in STUDIES:
        raise ValueError(f"dataset={dataset!r}, must be one of {', '.join(STUDIES)}")
    for beta in betas:
        if not 0 <= beta < 1:
            raise ValueError(f"beta={beta}, must be in [0, 1)")
    settings = STUDIES[dataset]
    sizes = tuple(sizes or settings["sizes"])
    cells = {
        (s, b): [draw(dataset, b, s, k) for k in draws] for s in sizes for b in betas
    }
    wanted = [d for cell in cells.values() for d in cell]
    missing = [d for d in wanted if not d.path.exists()]
    workers = min(workers or available_cores(), len(missing))
    if workers > 1:
        side_by_side(
            measure_draw, missing, workers=workers, total=len(missing), what="draws"
        )
    facts = {key: [measure_draw(d) for d in cell] for key, cell in cells.items()}

    def by_size(summary) -> dict:
        """{size: summary of the facts of all its draws}"""
        return {str(s): summary([f for b in betas for f in facts[s, b]]) for s in sizes}

    return {
        "dataset": dataset,
        "num_unlabeled": settings["num_unlabeled"],
        "betas": list(betas),
        "sizes": list(sizes),
        "draws": list(draws),
        "table": {
            method: {
                str(s): {f"{b:.4g}": _cell(facts[s, b], method) for b in betas}
                for s in sizes
            }
            for method in ESTIMATORS
        },
        "overall": {m: by_size(partial(_errors, method=m)) for m in ESTIMATORS},
        "scoring_seconds": by_size(_scoring_seconds),
        "warned": by_size(_warned),
    }


def _cell(facts: list[dict], method: str) -> dict:
    """Of the draws of one size and beta."""
    return {
        "truth": facts[0]["truth"],
        "estimates": [f["estimates"][method][:3] for f in facts],
        **_errors(facts, method),
    }


def _errors(facts: list[dict], method: str) -> dict[str, float]:
    value, low, high, seconds = np.array([f["estimates"][method] for f in facts]).T
    truth = np.array([f["truth"] for f in facts])
    return {
        "mean_absolute_error": float(np.abs(value - truth).mean()),
        "bias": float((value - truth).mean()),
        "coverage": float(((low <= truth) & (truth <= high)).mean()),
        "seconds": float(seconds.mean()),
    }


def _scoring_seconds(facts: list[dict]) -> float:
    return float(np.mean([f["seconds"] for f in facts]))


def _warned(facts: list[dict]) -> float:
    """The share of draws in which S, a random sample, was warned of."""
    return float(np.mean([f["selection_p"] < WARNING_LEVEL for f in facts]))
