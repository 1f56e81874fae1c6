"""One draw of a study of the estimators: a split with a known beta, scored once, and
every method on these scores. Kept under runs/, so a study goes on where it stopped."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pudm_lib.data.splits import DataSettings, make_split
from pudm_lib.experiments.keys import code_hash, data_stamp, short_hash
from pudm_lib.machine.devices import versions
from pudm_lib.machine.paths import runs_root, write_atomically
from pudm_lib.prior.estimate import DEFAULT_METHOD, REPLICATES, estimate_from_scores
from pudm_lib.prior.estimators import ESTIMATORS
from pudm_lib.prior.scores import out_of_fold_scores, selection_p_value

MODULES = (
    "data",
    "datasets",
    "image_source",
    "prior_draws",
    "prior_estimators",
    "prior_scores",
    "priors",
)
# Images in U, sizes of S (as the set allows) and the side of its images.
STUDIES = {
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
            "code": code_hash(MODULES),
            "versions": versions(),
        }
        name = Path(self.data.dataset).stem
        return runs_root() / "priors" / f"{name}-{short_hash(parts)}.json"


def draw(dataset: str, beta: float, size: int, seed: int) -> Draw:
    """U of the study's size with a share beta of sensitive images, and S of `size`."""
    settings = STUDIES[dataset]
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
        p = selection_p_value(*pair, *scores, beta, seed=draw.seed)
        facts["selection_p"] = p
        write_atomically(draw.path, json.dumps(facts))
    if report is not None:
        report(1, "")
    return json.loads(draw.path.read_text())
