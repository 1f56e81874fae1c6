"""Exact ROC curves of a detector, with bootstrap intervals.

Scores are two arrays, of real and of generated images; generated is the positive class,
larger means generated.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats
from sklearn.metrics import roc_curve

# Scores of real and of generated images: (N,), (M,).
Scores = tuple[np.ndarray, np.ndarray]

BOOTSTRAP_BATCH = 50  # resamples at once, a bound on memory


def as_scores(real, generated) -> Scores:
    """Both as float64 arrays.

    Raises:
        ValueError: a class without images, or a score that is not a number.
    """
    both = np.asarray(real, float), np.asarray(generated, float)
    for name, scores in zip(("real", "generated"), both, strict=True):
        if scores.ndim != 1 or len(scores) == 0:
            raise ValueError(
                f"{name} scores of shape {scores.shape}: at least one image of each "
                "class is needed"
            )
        if np.isnan(scores).any():
            raise ValueError(f"{np.isnan(scores).sum()} {name} scores are not numbers")
    return both


def roc(real, generated) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(false positive rates, true positive rates, thresholds) at every score."""
    real, generated = as_scores(real, generated)
    labels = np.repeat([0, 1], [len(real), len(generated)])
    # By rank, since scikit-learn refuses scores that are infinite.
    scores, ranks = np.unique(np.concatenate([real, generated]), return_inverse=True)
    *rates, at = roc_curve(labels, ranks, drop_intermediate=False)
    return *rates, np.append(np.inf, scores[at[1:].astype(int)])  # at first, nobody


def auc(real, generated) -> np.ndarray:
    """The share of pairs in which the generated image has the larger score, ties
    counting half (Mann and Whitney): the area under the exact ROC.

    Args:
        real, generated: (..., N), (..., M), with the same leading sizes.
    """
    n, m = np.shape(real)[-1], np.shape(generated)[-1]
    ranks = stats.rankdata(np.concatenate([real, generated], -1), axis=-1)
    return (ranks[..., n:].sum(-1) - m * (m + 1) / 2) / (n * m)


def mean_auc(models: Sequence[Scores]) -> float:
    """The mean over models."""
    return float(np.mean([auc(*as_scores(*scores)) for scores in models]))


def bootstrap_interval(
    statistic: Callable[..., np.ndarray],
    models: Sequence[Scores],
    others: Sequence[Scores] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of a statistic's mean over models, or of how much larger it is
    than the others'.

    Images are drawn again and again from those there are. Real image i is taken to be
    the same one for all models, so it is drawn for all at once: three models judged on
    142 real images do not make 426. The models stay as they are: their own luck is not
    in the interval.

    Args:
        statistic: of real and generated scores (..., N), (..., M), such as `auc`.
        models: scores of each model, all of the same real images.
        others: a second detector's scores of the same images, for the difference.
    """
    detectors = [models] if others is None else [models, others]
    detectors = [[as_scores(*scores) for scores in each] for each in detectors]
    sizes = [[(len(real), len(made)) for real, made in each] for each in detectors]
    real_counts, generated_counts = zip(*sizes[0], strict=True)
    if len({*real_counts}) > 1:
        raise ValueError(
            f"{[*real_counts]} real images: must be the same ones for every model"
        )
    if sizes[-1] != sizes[0]:
        raise ValueError("the two detectors' scores are not of the same images")

    def value(real, *generated, axis=-1):
        means = []
        for each in detectors:
            drawn = zip(each, generated, strict=True)
            means += [np.mean([statistic(r[real], g[i]) for (r, g), i in drawn], 0)]
        return means[0] if others is None else means[0] - means[1]

    interval = stats.bootstrap(
        [np.arange(n) for n in (real_counts[0], *generated_counts)],
        value,
        method="percentile",
        n_resamples=resamples,
        confidence_level=confidence,
        rng=np.random.default_rng(seed),
        vectorized=True,
        batch=BOOTSTRAP_BATCH,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def mean_auc_interval(models, others=None, **options) -> tuple[float, float]:
    """`bootstrap_interval` of the AUC."""
    return bootstrap_interval(auc, models, others, **options)


def auc_interval(real, generated, **options) -> tuple[float, float]:
    """Bootstrap interval of one AUC; options as `bootstrap_interval` takes them."""
    return bootstrap_interval(auc, [(real, generated)], **options)


def real_images_needed(fpr: float) -> int:
    """The fewest among which one false alarm is no more than a share `fpr`."""
    if not 0 < fpr <= 1:
        raise ValueError(f"fpr={fpr}, must be in (0, 1]")
    return math.ceil(1 / fpr - 1e-6)  # 1 / 0.001 is a hair above 1000


def tpr_at_fpr(real, generated, fpr: float) -> np.ndarray:
    """The largest share of generated images found while at most a share `fpr` of the
    real ones is accused: a point of the exact ROC, never one beyond the target.

    Args:
        real, generated: (..., N), (..., M), with the same leading sizes.

    Raises:
        ValueError: fewer real images than one false alarm at that rate needs.
    """
    real, generated = np.asarray(real, float), np.asarray(generated, float)
    as_scores(real.ravel(), generated.ravel())
    n, needed = real.shape[-1], real_images_needed(fpr)
    if n < needed:
        raise ValueError(
            f"{n} real images cannot measure a false positive rate of {fpr}: "
            f"it needs at least {needed}"
        )
    accused = math.floor(fpr * n + 1e-9)
    if accused == n:
        return np.ones(generated.shape[:-1])
    # The threshold lies just above the highest real score that may not be accused.
    spared = np.partition(real, n - 1 - accused, axis=-1)[..., n - 1 - accused]
    return (generated > spared[..., None]).mean(-1)


def best_threshold(real, generated) -> float:
    """The threshold of the best accuracy, both classes weighing the same; a score at
    or above it means generated. For a validation split."""
    false_rates, true_rates, thresholds = roc(real, generated)
    return float(thresholds[np.argmax(true_rates - false_rates)])


def accuracy(real, generated, threshold: float) -> float:
    """Share of right answers, both classes weighing the same."""
    real, generated = as_scores(real, generated)
    return float(((real < threshold).mean() + (generated >= threshold).mean()) / 2)
