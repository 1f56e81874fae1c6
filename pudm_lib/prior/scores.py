"""One number an image, high for what looks like S: out-of-fold scores of a classifier
that tells S from U. The estimators of `prior.estimators` read nothing else.

An image is scored by a classifier that has not seen it. Otherwise the classifier knows
S by heart, S scores higher than the sensitive images hidden in U, and every estimate
of beta comes out too low.
"""

import logging

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from torch import Tensor

from pudm_lib.data.pixels import pixel_features
from pudm_lib.prior.estimators import check_finite
from pudm_lib.prior.two_sample import permutation_test

log = logging.getLogger(__name__)

FOLDS = 5
# Chosen on seeds 100 to 102 among support vectors with C = 0.1, 0.3, 1 and 10, extra
# trees, and logistic regression on random kernel features. A small C matters: U's
# label is wrong for the sensitive images in it, and they must not bend the border.
SVM_PENALTY = 0.3
COMPONENTS = 50

# `selection_p_value` compares what scores above this share of S: the largest for which
# beta says that at least half of that part of U is sensitive.
CONFIDENT_SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
PURITY = 0.5
FEWEST = 8  # images of U; fewer say nothing
PERMUTATIONS = 999
WARNING_LEVEL = 0.01


def as_features(
    x_unlabeled: Tensor | np.ndarray, x_sensitive: Tensor | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """U and S, uint8 images (N, C, H, W) as in a PUSplit or features (N, D) -> (N, D).

    Raises:
        ValueError: sets that cannot be U and S of one problem: other shapes, values
            that are not finite, no image, S larger than U or smaller than `FOLDS`.
    """
    u, s = _features("x_unlabeled", x_unlabeled), _features("x_sensitive", x_sensitive)
    if u.shape[1] != s.shape[1]:
        raise ValueError(
            f"x_unlabeled has {u.shape[1]} numbers an image, x_sensitive {s.shape[1]}: "
            "they must be the same"
        )
    if len(s) < FOLDS:
        raise ValueError(
            f"x_sensitive holds {len(s)} images, must be >= {FOLDS}, one for each fold"
        )
    if len(s) > len(u):
        raise ValueError(
            f"x_sensitive holds {len(s)} images and x_unlabeled {len(u)}: S must not "
            "be larger than U (have they been swapped?)"
        )
    return u, s


def _features(name: str, x: Tensor | np.ndarray) -> np.ndarray:
    x = torch.as_tensor(x).detach().cpu()
    images = x.ndim == 4 and x.dtype == torch.uint8
    if not images and x.ndim != 2:
        raise ValueError(
            f"{name} is {x.dtype} of shape {tuple(x.shape)}, must be uint8 images "
            "(N, C, H, W) or features (N, D)"
        )
    if len(x) == 0:
        raise ValueError(f"{name} is empty: there is nothing to estimate from")
    features = (pixel_features(x) if images else x).double().numpy()
    check_finite(name, features)
    return features


def out_of_fold_scores(
    x_unlabeled: Tensor | np.ndarray, x_sensitive: Tensor | np.ndarray, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of U and S, (n_U,) and (n_S,): log-odds of "from S" were both as many.

    Principal components, then support vectors with a Gaussian kernel and balanced
    classes; a logistic curve in one variable turns the margin into log-odds.

    Args:
        x_unlabeled, x_sensitive: uint8 images (N, C, H, W) or features (N, D).
        seed: of the folds.

    Raises:
        ValueError: as `as_features`, or values without a spread.
    """
    sets = as_features(x_unlabeled, x_sensitive)
    x, y = np.concatenate(sets), np.repeat([0, 1], [len(part) for part in sets])
    if np.ptp(x, axis=0).max() == 0:
        raise ValueError("all images are the same: no score can tell U from S")
    margin = np.empty(len(x))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for training, held_out in folds.split(x, y):
        components = min(COMPONENTS, x.shape[1], len(training))
        classifier = make_pipeline(
            PCA(components, random_state=seed),
            SVC(C=SVM_PENALTY, class_weight="balanced"),
        ).fit(x[training], y[training])
        margin[held_out] = classifier.decision_function(x[held_out])
    curve = LogisticRegression(class_weight="balanced").fit(margin[:, None], y)
    scores = curve.decision_function(margin[:, None])
    return scores[y == 0], scores[y == 1]


def selection_p_value(
    x_unlabeled: Tensor | np.ndarray,
    x_sensitive: Tensor | np.ndarray,
    scores_u: np.ndarray,
    scores_s: np.ndarray,
    beta: float,
    *,
    seed: int = 0,
) -> float:
    """Does S look like the part of U that scores as S does? Small if not.

    If S is a random sample of the sensitive images, and if few others score that high,
    then S and U above one score come from one distribution: both were cut in the same
    way. The maximum mean discrepancy of the two parts is compared with that of random
    regroupings (Gretton et al. 2012).

    It sees a mix of kinds that differs from U's. It cannot see a kind that S lacks
    altogether: that is what normal images look like, too.

    Args:
        scores_u, scores_s: by `out_of_fold_scores`.
        beta: an estimate, for where to cut.

    Returns:
        The p-value; NaN where fewer than `FEWEST` images of U score like S.
    """
    for share in CONFIDENT_SHARES:
        limit = np.quantile(scores_s, 1 - share)
        if beta * share >= PURITY * (scores_u >= limit).mean():
            break
    u, s = as_features(x_unlabeled, x_sensitive)
    u, s = u[scores_u >= limit], s[scores_s >= limit]
    if len(u) < FEWEST:
        return float("nan")
    squares = euclidean_distances(np.concatenate([s, u]), squared=True)
    kernel = np.exp(-squares / np.median(squares[squares > 0]))
    shuffled = np.random.default_rng(seed).permutation
    return permutation_test(torch.from_numpy(kernel), len(s), shuffled, PERMUTATIONS)[1]


def warn_of_selection(p: float) -> None:
    """Log what a p-value of `selection_p_value` means for the estimate, if anything."""
    if np.isnan(p):
        log.warning(
            "fewer than %d unlabeled images score like S: beta is near 0, or S comes "
            "from elsewhere than U; whether S is a random sample cannot be checked",
            FEWEST,
        )
    elif p < WARNING_LEVEL:
        log.warning(
            "S and the unlabeled images that score like it differ (p=%.3f): S is not a "
            "random sample of the sensitive images in U, or normal images look like "
            "them. The estimate of beta may be wrong, most likely too low",
            p,
        )
