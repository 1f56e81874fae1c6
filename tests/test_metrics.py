"""Distances against SciPy, intervals against their formulas, statistics' errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, stats

from pudm_lib.data.pixels import pixel_features
from pudm_lib.measures.intervals import paired_t_test, pooled_rate, student_interval
from pudm_lib.measures.numbers import (
    copies_share,
    corrected_rate,
    frechet_distance,
    kernel_distance,
    matched_distance,
    wilson_interval,
)


def features(n, seed, shift=0.0, scale=1.0, dims=6):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dims, dims, generator=torch.Generator().manual_seed(9))
    return torch.randn(n, dims, generator=generator) @ mix * scale + shift


def test_frechet_distance_equals_scipys():
    a, b = features(300, 1), features(200, 2, shift=0.5, scale=1.3)
    x, y = a.double().numpy(), b.double().numpy()
    root = linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum()
    expected += np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-4)


def test_frechet_distance_of_known_gaussians():
    """Two Gaussians that differ in the mean alone: the squared difference."""
    a = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(0))
    b = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(1)) + 2
    assert frechet_distance(a, b) == pytest.approx(12, rel=0.02)


def test_a_single_image_has_no_distance():
    assert math.isnan(frechet_distance(features(1, 1), features(10, 2)))
    assert math.isnan(kernel_distance(features(3, 1), features(10, 2))[0])


def test_kernel_distance_equals_the_unbiased_estimate():
    """With subsets of all but one image the mean is near the estimate on all."""
    a, b = features(120, 1) / 4, features(120, 2, shift=0.8) / 4
    x, y = a.double().numpy(), b.double().numpy()

    def kernel(p, q):
        return (p @ q.T / p.shape[1] + 1) ** 3

    n = len(x)
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    expected = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (n * (n - 1))
    expected -= 2 * xy.mean()
    assert kernel_distance(a, b)[0] == pytest.approx(expected, rel=0.02)


def test_kernel_distance_repeats_and_leaves_torchs_stream_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = kernel_distance(features(60, 1), features(60, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert first == kernel_distance(features(60, 1), features(60, 2))


@given(st.integers(1, 3000), st.data())
def test_wilson_interval_is_the_textbooks(n, data):
    k = data.draw(st.integers(0, n))
    low, high = wilson_interval(k, n)
    z, p = stats.norm.ppf(0.975), k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert high == pytest.approx(min(1, centre + half), abs=1e-9)
    assert 0 <= low <= p <= high <= 1 or math.isclose(low, p) or math.isclose(high, p)


@given(st.floats(0, 1), st.floats(0.6, 1), st.floats(0.6, 1))
def test_correction_undoes_the_judges_errors(rate, sensitivity, specificity):
    observed = rate * specificity + (1 - rate) * (1 - sensitivity)
    assert corrected_rate(observed, sensitivity, specificity) == pytest.approx(
        rate, abs=1e-9
    )


def test_a_judge_like_a_coin_is_refused():
    with pytest.raises(ValueError, match="must be > 1"):
        corrected_rate(0.5, 0.5, 0.5)


def test_copies_are_seen():
    generator = torch.Generator().manual_seed(0)
    training, held_out, fresh = torch.randint(
        256, (3, 200, 1, 4, 4), generator=generator, dtype=torch.uint8
    )
    assert copies_share(training, training, held_out) == 1.0
    assert copies_share(fresh, training, held_out) < 0.1


def test_large_images_are_averaged_down():
    assert pixel_features(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (
        2,
        768,
    )


def test_statistics_over_seeds_equal_scipys():
    a, b = [0.95, 0.97, 0.96], [0.89, 0.9, 0.88]
    difference, p, (low, high) = paired_t_test(a, b)
    assert p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert difference == pytest.approx(0.07)
    assert low < difference < high
    mean, (low, high) = student_interval(a)
    expected = stats.t.interval(0.95, 2, loc=mean, scale=stats.sem(a))
    assert (low, high) == pytest.approx(expected)
    assert math.isnan(student_interval([0.9])[1][0])
    with pytest.raises(ValueError, match="same number of seeds"):
        paired_t_test([0.9, 0.8], [0.7])


def test_pooled_runs_are_one_large_sample():
    runs = [
        {"num_samples": 10, "non_sensitive_rate": 0.3},
        {"num_samples": 30, "non_sensitive_rate": 0.9},
    ]
    assert pooled_rate(runs) == (pytest.approx(0.75), wilson_interval(30, 40))


def test_the_matched_distance_is_of_groups_of_the_size_asked_for():
    samples, reference = features(500, 1), features(300, 2, shift=0.3)
    halves = [frechet_distance(samples[i : i + 200], reference) for i in (0, 200)]
    assert matched_distance(samples, reference, 200) == pytest.approx(np.mean(halves))
    # Fewer images are farther from the reference than many, which is why it is there.
    assert matched_distance(samples, reference, 100) > frechet_distance(
        samples, reference
    )
