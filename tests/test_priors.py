"""The estimators find the infimum of a known ratio; the interval, the scores and the
check of S do what their docstrings say."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pudm_lib.data.datasets import open_dataset
from pudm_lib.data.splits import make_split
from pudm_lib.prior import estimators as prior_estimators
from pudm_lib.prior import scores as prior_scores
from pudm_lib.prior.estimate import estimate_beta, estimate_from_scores
from pudm_lib.prior.estimators import ESTIMATORS
from pudm_lib.prior.scores import out_of_fold_scores, selection_p_value
from pudm_lib.studies import beta_estimates
from pudm_lib.studies.beta_estimates import draw_split, measure_draw, measure_estimates

SHIFT = 2.0  # of N(SHIFT, 1) for S from N(-SHIFT, 1) for the normal images


def log_odds(x, beta):
    """log p_S / p_U of the two normal distributions."""
    f_s, f_n = norm.pdf(x, SHIFT), norm.pdf(x, -SHIFT)
    return np.log(f_s / (beta * f_s + (1 - beta) * f_n))


def two_normals(beta, n_u, n_s, seed):
    """Scores of U, with exactly beta n_u sensitive ones, and of S: p_U / p_S falls to
    beta as the score rises."""
    rng = np.random.default_rng(seed)
    hidden = np.arange(n_u) < round(beta * n_u)
    return rng.normal(np.where(hidden, SHIFT, -SHIFT)), rng.normal(SHIFT, size=n_s)


@pytest.mark.parametrize("beta", [0.05, 0.3])
@pytest.mark.parametrize(
    "method, within",
    [
        ("best_bin", 0.03),
        ("dedpul", 0.03),
        ("penalised_l1", 0.03),
        ("km1", 0.03),
        ("km2", 0.06),
    ],
)
def test_the_share_is_found_where_some_scores_are_sensitive_alone(method, within, beta):
    found = [ESTIMATORS[method](*two_normals(beta, 4000, 1000, k)) for k in range(3)]
    assert np.mean(found) == pytest.approx(beta, abs=within)


def test_elkan_noto_is_too_high_by_what_the_score_gives_to_normal_images():
    beta = 0.1
    scores = (log_odds(x, beta) for x in two_normals(beta, 40_000, 40_000, 0))
    found = ESTIMATORS["elkan_noto"](*scores)

    def mean(centre):  # of g = P(S | x) under N(centre, 1)
        return quad(
            lambda x: expit(log_odds(x, beta)) * norm.pdf(x, centre), -9, 9, limit=200
        )[0]

    expected = beta + (1 - beta) * mean(-SHIFT) / mean(SHIFT)
    assert found == pytest.approx(expected, abs=0.005)
    assert expected > beta + 0.03


@pytest.mark.parametrize("method", [m for m in ESTIMATORS if m != "elkan_noto"])
def test_where_normal_images_look_sensitive_it_is_the_infimum_that_is_found(method):
    # S is uniform on (0, 1), a quarter of the normal images is, too: no score can
    # tell, and inf p_U / p_S = 0.2 + 0.8 / 4 = 0.4.
    rng = np.random.default_rng(0)
    parts = (800, 0, 1), (800, 0, 1), (2400, -1, 0)
    scores_u = np.concatenate([rng.uniform(low, high, n) for n, low, high in parts])
    found = ESTIMATORS[method](scores_u, rng.uniform(0, 1, 1000))
    assert found == pytest.approx(0.4, abs=0.06)


def test_best_bin_equals_the_formula_in_a_loop():
    scores_u, scores_s = two_normals(0.2, 200, 60, 3)
    noise = (np.log(40) / 400) ** 0.5 + (np.log(40) / 120) ** 0.5
    bounds = {}
    for c in scores_s:
        q_u, q_s = (scores_u >= c).mean(), (scores_s >= c).mean()
        bounds[q_u / q_s + 1.01 / q_s * noise] = q_u / q_s
    found = prior_estimators.best_bin(scores_u, scores_s)
    assert found == pytest.approx(bounds[min(bounds)])


def test_penalised_l1_equals_the_formula_without_bins():
    scores_u, scores_s = two_normals(0.2, 300, 80, 4)
    both = np.concatenate([scores_u, scores_s])
    width = 0.5 * both.std()
    middles = np.linspace(both.min(), both.max(), 60)

    def phi(scores):
        return np.exp(-((scores[:, None] - middles) ** 2) / (2 * width**2)).mean(0)

    def cost(beta):
        b = beta * phi(scores_s) - phi(scores_u)
        return (np.maximum(0, b) ** 2).mean() / 3e-5 - beta + 1

    best = min(np.linspace(0, 1, 501), key=cost)
    found = prior_estimators.penalised_l1(scores_u, scores_s)
    assert found == pytest.approx(best, abs=0.006)


def test_dedpul_does_not_depend_on_the_scale_of_the_scores():
    scores_u, scores_s = two_normals(0.2, 500, 100, 5)
    found = prior_estimators.dedpul(scores_u, scores_s)
    moved = prior_estimators.dedpul(7 * scores_u - 3, 7 * scores_s - 3)
    assert 0.1 < found < 0.3 and moved == pytest.approx(found, abs=1e-6)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered, widths = 0, []
    for k in range(40):
        e = estimate_from_scores(*two_normals(0.2, 600, 150, k), seed=k, replicates=60)
        covered += e.low <= 0.2 <= e.high
        widths.append(e.high - e.low)
        assert 0 <= e.low <= e.value <= e.high <= 1
    assert 0.8 <= covered / 40 <= 1
    assert np.mean(widths) < 0.15  # covering by saying nothing would be wider


def test_the_interval_grows_with_confidence_and_shrinks_with_images():
    def width(n, confidence):
        scores = two_normals(0.2, 4 * n, n, 0)
        e = estimate_from_scores(*scores, confidence=confidence, replicates=100)
        return e.high - e.low

    assert width(100, 0.5) < width(100, 0.9) < width(100, 0.99)
    assert width(1000, 0.9) < 0.8 * width(100, 0.9)


def test_no_image_is_scored_by_a_classifier_that_has_seen_it():
    # S is a random part of U's own distribution: nothing can be known of unseen points,
    # while a classifier tells the points it was fitted to apart.
    rng = np.random.default_rng(0)
    x_unlabeled, x_sensitive = rng.normal(size=(400, 30)), rng.normal(size=(200, 30))
    scores = np.concatenate(out_of_fold_scores(x_unlabeled, x_sensitive))
    auc = roc_auc_score(np.repeat([0, 1], [400, 200]), scores)
    assert auc == pytest.approx(0.5, abs=0.08)


U, S = np.random.default_rng(0).normal(size=(2, 40, 3))
S = S[:20] + 3
HOLED = np.where(np.arange(40)[:, None] == 7, np.nan, U)
BLACK = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    "x_unlabeled, x_sensitive, options, message",
    [
        (U[:0], S, {}, "x_unlabeled is empty"),
        (U, S[:0], {}, "x_sensitive is empty"),
        (S, U, {}, "x_sensitive holds 40 images and x_unlabeled 20: S must not be"),
        (U, S[:4], {}, "x_sensitive holds 4 images, must be >= 5"),
        (HOLED, S, {}, "x_unlabeled holds 3 values that are NaN or infinite"),
        (U[:, 0], S, {}, r"x_unlabeled is torch.float64 of shape \(40,\), must be"),
        (BLACK.float(), BLACK, {}, r"torch.float32 of shape \(40, 1, 8, 8\), must be"),
        (U, S[:, :2], {}, "has 3 numbers an image, x_sensitive 2"),
        (BLACK, BLACK[:20], {}, "all images are the same"),
        (U, S, {"method": "guess"}, "method='guess', must be one of elkan_noto, best"),
        (U, S, {"confidence": 1.0}, r"confidence=1.0, must be in \(0, 1\)"),
        (U, S, {"confidence": 0}, r"confidence=0, must be in \(0, 1\)"),
        (U, S, {"replicates": 1}, "replicates=1, must be >= 2"),
    ],
)
def test_bad_sets_and_requests(x_unlabeled, x_sensitive, options, message):
    with pytest.raises(ValueError, match=message):
        estimate_beta(x_unlabeled, x_sensitive, **options)


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize(
    "scores_u, scores_s, message",
    [
        ([1.0] * 9, [1.0] * 3, "all scores are 1: constant scores"),
        ([], [1.0], r"scores_u has shape \(0,\)"),
        ([1.0, 2.0], [np.inf], "scores_s holds 1 values that are NaN or infinite"),
        ([[1.0, 2.0]], [1.0], r"scores_u has shape \(1, 2\), must be \(n,\)"),
    ],
)
def test_bad_scores(method, scores_u, scores_s, message):
    with pytest.raises(ValueError, match=message):
        estimate_from_scores(scores_u, scores_s, method=method)


def digits_with(share, seed):
    """U of digits with 20 % odd ones and an S of 150, of which `share` are 1s and 7s
    (None: as they come)."""
    data = replace(draw_split("digits", 0.2, 150, seed).data, num_sensitive=490)
    split = make_split(data, seed)
    digit = np.asarray(open_dataset("digits").labels["train"])
    ones_and_sevens = np.isin(digit[split.indices["sensitive"]], [1, 7])
    chosen = np.arange(150)
    if share is not None:
        parts = ones_and_sevens.nonzero()[0], (~ones_and_sevens).nonzero()[0]
        count = round(share * 150)
        chosen = np.concatenate([parts[0][:count], parts[1][: 150 - count]])
    return split.x_unlabeled, split.x_sensitive[chosen]


def test_digits_a_random_sample_is_not_warned_of_and_the_share_is_found(caplog):
    e = estimate_beta(*digits_with(None, 100))
    assert e.value == pytest.approx(0.2, abs=0.05) and e.low <= 0.2 <= e.high
    assert (e.num_unlabeled, e.num_sensitive, e.method) == (600, 150, "dedpul")
    assert e.selection_p > 0.05 and not caplog.records


def test_digits_mostly_ones_and_sevens_are_warned_of_and_read_low(caplog):
    with caplog.at_level(logging.WARNING):
        e = estimate_beta(*digits_with(0.75, 100))
    assert e.selection_p < prior_scores.WARNING_LEVEL and e.high < 0.2
    (record,) = caplog.records
    assert "S is not a random sample" in record.getMessage()


def test_a_kind_that_s_lacks_altogether_cannot_be_seen(caplog):
    e = estimate_beta(*digits_with(1.0, 100))
    # 1s and 7s are two of five odd digits: what is found is their share.
    assert e.value == pytest.approx(0.08, abs=0.03)
    assert e.selection_p > prior_scores.WARNING_LEVEL and not caplog.records


def test_s_from_elsewhere_is_warned_of(caplog):
    x_unlabeled, x_sensitive = digits_with(None, 100)
    e = estimate_beta(x_unlabeled, 255 - x_sensitive)
    assert np.isnan(e.selection_p) and e.value < 0.02
    assert "S comes from elsewhere than U" in caplog.text


def test_the_p_value_is_uniform_where_s_is_a_random_sample():
    rng = np.random.default_rng(0)
    ps = []
    for k in range(40):
        u, s = rng.normal(size=(60, 4)), rng.normal(size=(40, 4))
        # Constant scores but for one: all of U and S is compared.
        scores = np.zeros(60), np.zeros(40)
        ps.append(selection_p_value(u, s, *scores, 1.0, seed=k))
    assert 0.02 <= np.mean(np.array(ps) < 0.2) <= 0.4
    assert 0.35 < np.mean(ps) < 0.65


def test_the_same_seed_gives_the_same_estimate():
    first, again = (estimate_beta(*digits_with(None, 101), seed=3) for _ in range(2))
    assert first == again
    assert estimate_beta(*digits_with(None, 101), seed=4) != first


@pytest.fixture
def small_study(monkeypatch, tmp_path):
    monkeypatch.setenv("PUDM_RUNS", str(tmp_path))
    sizes = {"num_unlabeled": 100, "sizes": (20,), "resolution": 0}
    monkeypatch.setitem(beta_estimates.STUDIED, "digits", sizes)
    monkeypatch.setattr(beta_estimates, "REPLICATES", 10)
    monkeypatch.setattr(beta_estimates, "FEW_REPLICATES", {})
    return {"betas": (0.1, 0.4), "draws": (100, 101), "workers": 1}


def test_a_study_sums_up_its_draws_and_reads_them_again(small_study, monkeypatch):
    found = measure_estimates("digits", **small_study)
    cell = found["table"]["dedpul"]["20"]["0.4"]
    value, low, high = np.array(cell["estimates"]).T
    assert cell["truth"] == pytest.approx(0.4) and len(value) == 2
    assert cell["mean_absolute_error"] == pytest.approx(np.abs(value - 0.4).mean())
    assert cell["bias"] == pytest.approx((value - 0.4).mean())
    assert cell["coverage"] == np.mean((low <= 0.4) & (0.4 <= high))
    errors = [
        found["table"]["km1"]["20"][b]["mean_absolute_error"] for b in ("0.1", "0.4")
    ]
    overall = found["overall"]["km1"]["20"]["mean_absolute_error"]
    assert overall == pytest.approx(np.mean(errors))

    def refuse(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(beta_estimates, "out_of_fold_scores", refuse)
    assert measure_estimates("digits", **small_study) == found


def test_an_interrupted_study_keeps_the_draws_that_are_done(small_study, monkeypatch):
    done = measure_draw(draw_split("digits", 0.1, 20, 100))
    score = beta_estimates.out_of_fold_scores

    def interrupt(*_, seed):
        if seed == 101:
            raise KeyboardInterrupt
        return score(*_, seed=seed)

    monkeypatch.setattr(beta_estimates, "out_of_fold_scores", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure_estimates("digits", **small_study)
    first = measure_estimates("digits", **small_study | {"draws": (100,)})
    cell = first["table"]["dedpul"]["20"]["0.1"]
    assert cell["estimates"] == [done["estimates"]["dedpul"][:3]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dataset": "cifar10"}, "dataset='cifar10', must be one of digits, mnist"),
        ({"dataset": "digits", "betas": (0.1, 1.0)}, r"beta=1.0, must be in \[0, 1\)"),
    ],
)
def test_a_study_refuses_what_it_cannot_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure_estimates(**arguments)
