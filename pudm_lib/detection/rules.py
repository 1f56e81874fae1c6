"""Which detector to take, by rules chosen on a validation split (Ma et al. 2023, eq. 8
and section 4.2), and how good it is.

Scores as in `roc`; larger means generated once a rule's sign is applied.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pudm_lib.detection import roc
from pudm_lib.detection.roc import Scores, as_scores, auc


@dataclass(frozen=True)
class Rule:
    """A detector's choice, made on a validation split.

    key: of the candidate, such as (step_size, t_se).
    sign: +1 where a larger score means generated, -1 where a smaller one does (eq. 8).
    threshold: on sign * score.
    validation_auc: of the chosen candidate with its sign; too good, being the best of
        many.
    """

    key: Hashable
    sign: int
    threshold: float
    validation_auc: float

    def apply(self, scores: Mapping[Hashable, Scores]) -> Scores:
        """The chosen candidate's scores with the rule's sign."""
        real, generated = as_scores(*scores[self.key])
        return self.sign * real, self.sign * generated


def choose_rule(validation: Mapping[Hashable, Scores]) -> Rule:
    """The candidate whose AUC is farthest from 0.5, with its sign and threshold.

    Only a validation split may be given: max(AUC, 1 - AUC) of a test split is above
    0.5 for any detector, a useless one too.
    """
    if not validation:
        raise ValueError("no candidates to choose from")
    areas = {key: float(auc(*as_scores(*s))) for key, s in validation.items()}
    key = max(areas, key=lambda k: abs(areas[k] - 0.5))
    sign = 1 if areas[key] >= 0.5 else -1
    real, generated = (sign * scores for scores in as_scores(*validation[key]))
    return Rule(
        key=key,
        sign=sign,
        threshold=roc.best_threshold(real, generated),
        validation_auc=max(areas[key], 1 - areas[key]),
    )


def summary(rule: Rule, test: Mapping[Hashable, Scores], fprs=(0.01,)) -> dict:
    """A rule's numbers on a test split: auc, accuracy at the validation threshold, and
    tpr_at_<fpr> for every rate the split can measure; _low and _high are 95 % bootstrap
    intervals."""
    pair = rule.apply(test)

    def with_interval(name, statistic):
        low, high = roc.bootstrap_interval(statistic, [pair])
        return {name: float(statistic(*pair)), f"{name}_low": low, f"{name}_high": high}

    numbers = with_interval("auc", auc)
    numbers["accuracy"] = roc.accuracy(*pair, rule.threshold)
    for fpr in fprs:
        if len(pair[0]) >= roc.real_images_needed(fpr):
            rate = partial(roc.tpr_at_fpr, fpr=fpr)
            numbers |= with_interval(f"tpr_at_{fpr}", rate)
    return numbers


def split_indices(count: int, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Disjoint random parts of 0 .. count - 1, in the given shares.

    Raises:
        ValueError: shares that do not add up to at most 1, or a part left empty.
    """
    if min(shares) <= 0 or sum(shares) > 1 + 1e-9:
        raise ValueError(f"shares={list(shares)}, must be > 0 and add up to at most 1")
    ends = np.round(np.cumsum(shares) * count).astype(int)
    order = np.random.default_rng(seed).permutation(count)
    *parts, _ = np.split(order, ends)
    if min(map(len, parts)) == 0:
        raise ValueError(
            f"{count} images in shares {list(shares)} leave a part without any"
        )
    return parts
