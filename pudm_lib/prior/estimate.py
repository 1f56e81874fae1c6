"""beta, the share of sensitive images in U, from U and the labelled sensitive S alone.

    images -> out-of-fold scores (`prior.scores`) -> an estimate (`prior.estimators`)
           -> its interval, by resampling the scores (here)

PUDM sets beta by hand; its section 5.4.2 names estimators from the literature and uses
none.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from torch import Tensor

from pudm_lib.prior.estimators import ESTIMATORS
from pudm_lib.prior.scores import (
    out_of_fold_scores,
    selection_p_value,
    warn_of_selection,
)

DEFAULT_METHOD = "dedpul"
REPLICATES = 200


@dataclass(frozen=True)
class Estimate:
    """An estimate of beta with its interval.

    value, low, high: shares in [0, 1].
    confidence: of the interval; its coverage is measured in chapter 06, not promised.
    selection_p: of `prior.scores.selection_p_value`; NaN where it was not computed.
    """

    value: float
    low: float
    high: float
    method: str
    confidence: float
    num_unlabeled: int
    num_sensitive: int
    selection_p: float = float("nan")


def estimate_beta(
    x_unlabeled: Tensor | np.ndarray,
    x_sensitive: Tensor | np.ndarray,
    *,
    method: str = DEFAULT_METHOD,
    seed: int = 0,
    confidence: float = 0.9,
    replicates: int = REPLICATES,
) -> Estimate:
    """Score U and S, estimate, resample, and warn where S looks unlike U's part of it.

    Args:
        x_unlabeled, x_sensitive: uint8 images (N, C, H, W) or features (N, D); S a
            random sample of the sensitive images, or the estimate is wrong.
        method: one of `ESTIMATORS`.
        seed: of folds and resampling.
        confidence: of the interval, in (0, 1).
        replicates: resamples of the scores, >= 2.

    Raises:
        ValueError: an unknown method, confidence outside (0, 1), empty sets, S larger
            than U, shapes, values that are not finite, scores without a spread.
    """
    check_request(method, confidence, replicates)
    scores = out_of_fold_scores(x_unlabeled, x_sensitive, seed=seed)
    estimate = estimate_from_scores(
        *scores, method=method, seed=seed, confidence=confidence, replicates=replicates
    )
    p = selection_p_value(x_unlabeled, x_sensitive, *scores, estimate.value, seed=seed)
    warn_of_selection(p)
    return replace(estimate, selection_p=p)


def estimate_from_scores(
    scores_u: np.ndarray,
    scores_s: np.ndarray,
    *,
    method: str = DEFAULT_METHOD,
    seed: int = 0,
    confidence: float = 0.9,
    replicates: int = REPLICATES,
) -> Estimate:
    """The estimate and its interval from scores that are already there.

    Both sets are drawn again with replacement. The interval is value -/+ z d, with d
    the root mean square distance of the replicates from the value: their spread, and
    besides it the shift that resampling brings, which for a smallest ratio is not 0.

    Args:
        scores_u, scores_s: (n_U,) and (n_S,), higher for what looks like S.
        method, seed, confidence, replicates: as in `estimate_beta`.

    Raises:
        ValueError: as `estimate_beta`.
    """
    check_request(method, confidence, replicates)
    estimator = ESTIMATORS[method]
    scores_u, scores_s = (np.asarray(s, dtype=np.float64) for s in (scores_u, scores_s))
    value = estimator(scores_u, scores_s)
    generator = np.random.default_rng(seed)
    drawn = [
        estimator(*(generator.choice(s, len(s)) for s in (scores_u, scores_s)))
        for _ in range(replicates)
    ]
    distance = np.sqrt(np.square(np.subtract(drawn, value)).mean())
    half = stats.norm.ppf((1 + confidence) / 2) * distance
    low, high = max(0.0, float(value - half)), min(1.0, float(value + half))
    sizes = len(scores_u), len(scores_s)
    return Estimate(value, low, high, method, confidence, *sizes)


def check_request(method: str, confidence: float, replicates: int) -> None:
    """Raise ValueError for a method, confidence or number of replicates that is not
    one, before anything is computed."""
    if method not in ESTIMATORS:
        raise ValueError(f"method={method!r}, must be one of {', '.join(ESTIMATORS)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}, must be in (0, 1)")
    if replicates < 2:
        raise ValueError(f"replicates={replicates}, must be >= 2")
