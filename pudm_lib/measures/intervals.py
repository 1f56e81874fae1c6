"""What a few seeds say: pooled shares, means over seeds, and differences in pairs."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from pudm_lib.measures.numbers import wilson_interval


def pooled_rate(
    runs: Sequence[Mapping[str, float]],
) -> tuple[float, tuple[float, float]]:
    """The non-sensitive rate of all samples of several runs together, and its Wilson
    interval; `runs` are their numbers, by `measure`."""
    drawn = sum(int(numbers["num_samples"]) for numbers in runs)
    normal = sum(n["non_sensitive_rate"] * n["num_samples"] for n in runs)
    return normal / drawn, wilson_interval(round(normal), drawn)


def paired_t_test(first, second) -> tuple[float, float, tuple[float, float]]:
    """The papers' pairwise t-test over seeds: mean difference, two-sided p-value and
    the 95 % interval of the mean difference."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(
            f"{len(first)} and {len(second)} values: a paired test needs the same "
            "number of seeds, at least 2"
        )
    result = stats.ttest_rel(first, second)
    low, high = map(float, result.confidence_interval())
    return float((first - second).mean()), float(result.pvalue), (low, high)


def student_interval(values) -> tuple[float, tuple[float, float]]:
    """Mean over seeds and its 95 % interval by Student's t; one seed has none."""
    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, (float("nan"), float("nan"))
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return mean, (mean - float(half), mean + float(half))
