"""What the generated images are worth: how many are normal, how far they are as a whole
from held-out normal images, and whether they are copies (PUDM section 5.2).

Distances are Fréchet and kernel distances on two kinds of features, named so: "pixels",
and the judge's penultimate layer ("classifier"). torchmetrics does the arithmetic. The
Inception distance of the papers needs weights that are not in any package:
`inception_distance` uses them where they are to be had.
"""

import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from pudm_lib.data.pixels import pixel_features
from pudm_lib.machine.paths import one_line

KERNEL_SUBSETS = 20

# torchmetrics would wait for the other processes of a training; one measures, alone.
ALONE = {"sync_on_compute": False}


def wilson_interval(successes: int, n: int, confidence=0.95) -> tuple[float, float]:
    """The interval of a share after n independent trials (Wilson 1927)."""
    result = stats.binomtest(int(successes), int(n))
    interval = result.proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def corrected_rate(rate: float, sensitivity: float, specificity: float) -> float:
    """The share of normal images behind an observed one, given the judge's errors
    (Rogan and Gladen 1978), kept within [0, 1].

    An image is called normal if it is normal and seen as such (specificity) or
    sensitive and missed (1 - sensitivity).

    Raises:
        ValueError: a judge no better than a coin.
    """
    power = sensitivity + specificity - 1
    if power <= 0:
        raise ValueError(
            f"sensitivity={sensitivity} + specificity={specificity}, must be > 1"
        )
    return float(np.clip((rate + sensitivity - 1) / power, 0, 1))


def _fed(metric_class, features: Tensor, reference: Tensor, **options):
    """A torchmetrics distance that was given features instead of images."""
    identity = nn.Identity()
    # torchmetrics reads the size of the covariance from this attribute.
    identity.num_features = features.shape[1]
    metric = metric_class(feature=identity, **ALONE, **options)
    metric.update(reference, real=True)
    metric.update(features, real=False)
    return metric


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Of two Gaussians fitted to (N, D) and (M, D) features; NaN below 2 of either."""
    if min(len(features), len(reference)) < 2:
        return float("nan")
    # Here and not above: it brings matplotlib, which training does without.
    from torchmetrics.image.fid import FrechetInceptionDistance

    return _fed(FrechetInceptionDistance, features, reference).compute().item()


def matched_distance(features: Tensor, reference: Tensor, count: int) -> float:
    """The Fréchet distance of `count` samples, as the mean over all disjoint groups of
    so many: what a floor of `count` real images is to be compared with."""
    groups = len(features) // count
    parts = features[: groups * count].chunk(groups)
    return float(np.mean([frechet_distance(part, reference) for part in parts]))


def kernel_distance(features: Tensor, reference: Tensor) -> tuple[float, float]:
    """(mean, standard deviation) of the squared MMD with a cubic kernel over random
    subsets; unbiased, so it can be compared between different numbers of images."""
    smaller = min(len(features), len(reference))
    if smaller < 4:
        return float("nan"), float("nan")
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        # A few thousand feature vectors are not the "large datasets" it warns of.
        warnings.filterwarnings("ignore", "Metric .* will save all extracted features")
        size = min(250, smaller - 1)
        options = {"subsets": KERNEL_SUBSETS, "subset_size": size}
        metric = _fed(KernelInceptionDistance, features, reference, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the subsets are drawn from torch's global stream
        mean, deviation = metric.compute()
    return mean.item(), deviation.item()


def inception_distance(images: Tensor, reference: Tensor) -> float:
    """The papers' FID, on uint8 images.

    Raises:
        RuntimeError: the Inception weights are not to be had; says how to get them.
    """
    from torchmetrics.image import fid

    try:
        metric = fid.FrechetInceptionDistance(feature=2048, **ALONE)
    except (ModuleNotFoundError, OSError) as error:
        raise RuntimeError(
            "the Inception distance needs the package torch-fidelity and, on first "
            "use, a network to fetch its weights; the Fréchet distances on pixels and "
            f"on the judge's features need neither ({one_line(error)})"
        ) from error
    for x, real in ((reference, True), (images, False)):
        for batch in x.split(100):
            metric.update(batch.expand(-1, 3, -1, -1), real=real)
    return metric.compute().item()


def nearest_distance(features: Tensor, others: Tensor) -> Tensor:
    """Euclidean distance of each of (N, D) to its nearest among (M, D): (N,)."""
    parts = [torch.cdist(part, others).amin(1) for part in features.split(1024)]
    return torch.cat(parts)


def copies_share(images: Tensor, training: Tensor, held_out: Tensor) -> float:
    """How many samples lie nearer to a training image than all but 1 % of held-out
    images do: about 0.01 without memorising, towards 1 with it."""
    limit = nearest_distance(pixel_features(held_out), pixel_features(training))
    limit = limit.quantile(0.01)
    nearest = nearest_distance(pixel_features(images), pixel_features(training))
    return (nearest < limit).float().mean().item()


def not_measured(numbers: Mapping[str, float], names: Iterable[str]) -> list[str]:
    """A line for each of `measure`'s distances among `names` that is NaN: why it is."""
    called_normal = round(numbers["non_sensitive_rate"] * numbers["num_samples"])
    sides = {
        "_normal": f"{called_normal} samples that were called normal",
        "_floor": f"{numbers['num_matched']} of the normal images hidden in U",
        "_matched": f"groups of {numbers['num_matched']} samples",
        "": f"{numbers['num_samples']} samples",
    }
    lines = []
    for name in names:
        if name.startswith(("frechet", "kernel")) and np.isnan(numbers[name]):
            least = 2 if name.startswith("frechet") else 4
            side = next(words for end, words in sides.items() if name.endswith(end))
            lines.append(
                f"{name} is not a number: it was to compare {side} with the held-out "
                f"normal images and needs {least} or more of both, all finite"
            )
    return lines


def measure(images: Tensor, split, judge) -> tuple[dict[str, float], Tensor]:
    """All numbers of one set of samples, uint8 (N, C, H, W), against a PU split; and
    which samples are sensitive, (N,) bool.

    Names: {frechet,kernel}_{pixels,classifier}, the same with "_normal" for only those
    samples that were called normal, and with "_floor" for real normal images, those
    hidden in U, in place of samples. A Fréchet distance falls with the number of
    images, so the floor is to be compared with "_matched", the mean distance
    of groups of as many samples ("num_matched").
    """
    sensitive, features = judge(images)
    real_normal = split.x_unlabeled[~split.hidden_labels]
    matched = min(len(images), len(real_normal))
    rate = 1 - sensitive.float().mean().item()
    low, high = wilson_interval(int((~sensitive).sum()), len(images))
    result = {
        "num_samples": len(images),
        "num_matched": matched,
        "non_sensitive_rate": rate,
        "rate_low": low,
        "rate_high": high,
        "corrected_rate": corrected_rate(rate, judge.sensitivity, judge.specificity),
        "judge_accuracy": judge.accuracy,
        "copies_share": copies_share(images, split.x_unlabeled, split.x_test),
    }
    kinds = {
        "pixels": (pixel_features(images), pixel_features),
        "classifier": (features, lambda x: judge(x)[1]),
    }
    for kind, (found, features_of) in kinds.items():
        reference = features_of(split.x_test)
        real = features_of(real_normal[:matched])
        mean, deviation = kernel_distance(found, reference)
        result |= {
            f"frechet_{kind}": frechet_distance(found, reference),
            f"frechet_{kind}_normal": frechet_distance(found[~sensitive], reference),
            f"frechet_{kind}_matched": matched_distance(found, reference, matched),
            f"frechet_{kind}_floor": frechet_distance(real, reference),
            f"kernel_{kind}": mean,
            f"kernel_{kind}_sd": deviation,
            f"kernel_{kind}_floor": kernel_distance(real, reference)[0],
        }
    return result, sensitive
