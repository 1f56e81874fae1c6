"""How far the estimates of beta are from the truth: every method on many draws."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pudm_lib.data.datasets import data_stamp
from pudm_lib.data.splits import DataSettings, make_split
from pudm_lib.experiments.many import side_by_side
from pudm_lib.machine.devices import available_cores, versions
from pudm_lib.machine.paths import runs_root, write_atomically
from pudm_lib.machine.store import short_hash, stages
from pudm_lib.prior.estimate import DEFAULT_METHOD, REPLICATES, estimate_from_scores
from pudm_lib.prior.estimators import ESTIMATORS
from pudm_lib.prior.scores import WARNING_LEVEL, out_of_fold_scores, selection_p_value

BETAS = (0.02, 0.05, 1 / 11, 0.2, 0.4)


def measure_estimates(
    dataset: str,
    *,
    betas: Sequence[float] = BETAS,
    draws: Sequence[int] = tuple(range(20)),
    workers: int | None = None,
) -> dict:
    """Every method, beta, size of S and draw, side by side over the cores.

    Args:
        dataset: a key of `STUDIED`.
        betas: true shares, in [0, 1).
        draws: seeds of the splits.
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
    if dataset not in STUDIED:
        raise ValueError(f"dataset={dataset!r}, must be one of {', '.join(STUDIED)}")
    for beta in betas:
        if not 0 <= beta < 1:
            raise ValueError(f"beta={beta}, must be in [0, 1)")
    sizes = STUDIED[dataset]["sizes"]
    cells = {
        (s, b): [draw_split(dataset, b, s, k) for k in draws]
        for s in sizes
        for b in betas
    }
    missing = [d for cell in cells.values() for d in cell if not d.path.exists()]
    workers = min(workers or available_cores(), len(missing))
    if workers > 1:
        side_by_side(
            measure_draw, missing, workers=workers, total=len(missing), what="draws"
        )
    facts = {key: [measure_draw(d) for d in cell] for key, cell in cells.items()}
    by_size = {str(s): [f for b in betas for f in facts[s, b]] for s in sizes}
    return {
        "dataset": dataset,
        "num_unlabeled": STUDIED[dataset]["num_unlabeled"],
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
        "overall": {
            method: {s: _errors(every, method) for s, every in by_size.items()}
            for method in ESTIMATORS
        },
        "scoring_seconds": {
            s: _mean([f["seconds"] for f in every]) for s, every in by_size.items()
        },
        "warned": {
            s: _mean([f["selection_p"] < WARNING_LEVEL for f in every])
            for s, every in by_size.items()
        },
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
        "mean_absolute_error": _mean(np.abs(value - truth)),
        "bias": _mean(value - truth),
        "coverage": _mean((low <= truth) & (truth <= high)),
        "seconds": _mean(seconds),
    }


def _mean(values) -> float:
    return float(np.mean(values))


# Images in U, sizes of S (as the set allows) and the side of its images.
STUDIED = {
    "digits": {"num_unlabeled": 600, "sizes": (30, 150), "resolution": 0},
    "mnist": {"num_unlabeled": 3000, "sizes": (30, 150, 1000), "resolution": 16},
}

# Least squares for each of many distances: resampled less often than the others.
FEW_REPLICATES = {"km1": 20, "km2": 20}


@dataclass(frozen=True)
class Draw:
    """One split to be estimated from."""

    data: DataSettings
    seed: int

    @property
    def path(self) -> Path:
        parts = {
            "data": asdict(self.data) | data_stamp(self.data.dataset),
            "seed": self.seed,
            "versions": stages("data", "estimates") | versions(),
        }
        name = Path(self.data.dataset).stem
        return runs_root() / "priors" / f"{name}-{short_hash(parts)}.json"


def draw_split(dataset: str, beta: float, size: int, seed: int) -> Draw:
    """U of the study's size with a share beta of sensitive images, and S of `size`."""
    settings = STUDIED[dataset]
    num_sensitive = round(beta * settings["num_unlabeled"])
    data = DataSettings(
        dataset=dataset,
        num_unlabeled_normal=settings["num_unlabeled"] - num_sensitive,
        num_unlabeled_sensitive=num_sensitive,
        num_sensitive=size,
        resolution=settings["resolution"],
    )
    return Draw(data, seed)


def measure_draw(draw: Draw, *, report=None) -> dict:
    """All methods on one draw, made or read: {"truth", "seconds" of scoring,
    "estimates": {method: [value, low, high, seconds]}, "selection_p"}."""
    if not draw.path.exists():
        # Only how many are hidden is looked at, and only to compare in the end.
        split = make_split(draw.data, draw.seed)
        start = time.perf_counter()
        pair = split.x_unlabeled, split.x_sensitive
        scores = out_of_fold_scores(*pair, seed=draw.seed)
        facts = {
            "truth": split.sensitive_share,
            "seconds": time.perf_counter() - start,
            "estimates": {},
        }
        for method in ESTIMATORS:
            start = time.perf_counter()
            e = estimate_from_scores(
                *scores,
                method=method,
                seed=draw.seed,
                replicates=FEW_REPLICATES.get(method, REPLICATES),
            )
            seconds = time.perf_counter() - start
            facts["estimates"][method] = [e.value, e.low, e.high, seconds]
        beta = facts["estimates"][DEFAULT_METHOD][0]
        facts["selection_p"] = selection_p_value(*pair, *scores, beta, seed=draw.seed)
        write_atomically(draw.path, json.dumps(facts))
    if report is not None:
        report(1, "")
    return json.loads(draw.path.read_text(encoding="utf-8"))
