"""ROC, areas, rates, intervals and rules against scikit-learn, formulas and by hand."""

from functools import partial

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pudm_lib.detection.roc import (
    accuracy,
    auc,
    auc_interval,
    best_threshold,
    bootstrap_interval,
    mean_auc,
    mean_auc_interval,
    roc,
    tpr_at_fpr,
)
from pudm_lib.detection.rules import choose_rule, split_indices, summary


def scores(shift=0.5, real=60, generated=80, seed=0):
    generator = np.random.default_rng(seed)
    # Rounded, so that there are ties.
    return (
        generator.normal(size=real).round(1),
        (generator.normal(size=generated) + shift).round(1),
    )


def test_auc_and_roc_equal_scikit_learn():
    real, generated = scores()
    labels = np.repeat([0, 1], [60, 80])
    wanted = roc_auc_score(labels, np.concatenate([real, generated]))
    assert auc(real, generated) == pytest.approx(wanted, abs=1e-12)
    false_rates, true_rates, _ = roc(real, generated)
    assert np.trapezoid(true_rates, false_rates) == pytest.approx(wanted, abs=1e-12)
    both = [scores(seed=s) for s in (0, 1)]
    stacked = auc(*(np.stack(part) for part in zip(*both, strict=True)))
    np.testing.assert_allclose(stacked, [auc(*pair) for pair in both])
    assert mean_auc(both) == pytest.approx(stacked.mean())


def test_tpr_at_fpr_by_hand_and_never_beyond_the_target():
    real = np.arange(10.0)  # 0 .. 9
    generated = np.array([9.5, 8.5, 8.5, 3.0])
    assert tpr_at_fpr(real, generated, 0.1) == 0.75  # threshold 8.5 accuses 9
    assert tpr_at_fpr(real, generated, 0.19) == 0.75
    # A tie with the highest real image cannot be had without accusing it.
    assert tpr_at_fpr(real, np.array([9.0, 1.0]), 0.1) == 0.5
    assert tpr_at_fpr(np.append(real, 9.0), np.array([9.0, 1.0]), 0.1) == 0.0
    assert tpr_at_fpr(np.arange(100.0), np.array([98.5, 97.5]), 0.01) == 0.5
    for fpr, needed in ((0.01, 100), (0.001, 1000)):
        with pytest.raises(ValueError, match=f"10 real images .* at least {needed}"):
            tpr_at_fpr(real, generated, fpr)
    assert tpr_at_fpr(np.zeros(1000), np.ones(3), 0.001) == 1.0
    with pytest.raises(ValueError, match="fpr=0, must be in"):
        tpr_at_fpr(real, generated, 0)


def test_tpr_at_fpr_is_the_best_point_of_the_roc_and_takes_many_at_once():
    pairs = [scores(seed=s) for s in range(5)]  # with ties
    stacked = [np.stack(part) for part in zip(*pairs, strict=True)]
    for fpr in (1 / 60, 0.05, 0.3, 0.999, 1):
        curves = [roc(*pair) for pair in pairs]
        wanted = [rates[false <= fpr + 1e-12].max() for false, rates, _ in curves]
        assert tpr_at_fpr(*stacked, fpr).tolist() == wanted
        assert [tpr_at_fpr(*pair, fpr) for pair in pairs] == wanted
    with pytest.raises(ValueError, match="1 real scores are not numbers"):
        tpr_at_fpr([np.nan] + [0.0] * 99, [1.0], 0.01)


def test_accuracy_uses_the_threshold_it_is_given():
    real, generated = np.array([0.0, 1, 2, 3]), np.array([2.0, 4.0])
    threshold = best_threshold(real, generated)
    # At 2: 1/2 of the real ones and all generated ones; at 4: all and half.
    assert threshold in (2.0, 4.0)
    assert accuracy(real, generated, threshold) == 0.75
    assert accuracy(real, generated, 10) == 0.5
    with pytest.raises(ValueError, match="generated scores of shape"):
        accuracy(real, [], 1)
    with pytest.raises(ValueError, match="1 real scores are not numbers"):
        auc_interval([np.nan, 1], generated)


def test_infinite_scores_are_scores_like_others():
    real, generated = [-np.inf, 0.0, 1.0, np.inf], [2.0, 3.0, np.inf, np.inf]
    finite = [-9.0, 0.0, 1.0, 9.0], [2.0, 3.0, 9.0, 9.0]
    for one, other in zip(roc(real, generated)[:2], roc(*finite)[:2], strict=True):
        assert one.tolist() == other.tolist()
    assert roc(real, generated)[2].tolist() == [np.inf, np.inf, 3, 2, 1, 0, -np.inf]
    for sign in (1, -1):  # as it is and turned round
        found = {"a": (sign * np.array(real), sign * np.array(generated))}
        rule = choose_rule(found)
        assert (rule.sign, rule.threshold) == (sign, 2.0)
        assert summary(rule, found)["accuracy"] == 0.875


def test_bootstrap_interval_has_its_width_and_covers():
    intervals = [auc_interval(*scores(0, seed=s), resamples=300) for s in range(40)]
    covered = sum(low <= 0.5 <= high for low, high in intervals)
    assert covered >= 34  # 38 expected; fewer than 34 in one of a hundred tries
    low, high = np.mean(intervals, axis=0)
    # Without a difference an AUC's variance is (n + m + 1) / (12 n m).
    wanted = 2 * 1.96 * np.sqrt(141 / (12 * 60 * 80))
    assert high - low == pytest.approx(wanted, rel=0.1)


def test_interval_of_a_rate_is_that_of_a_binomial_when_only_one_class_varies():
    real, generated = np.zeros(1000), np.repeat([1.0, 0.0], [30, 70])
    rate = partial(tpr_at_fpr, fpr=0.01)
    low, high = bootstrap_interval(rate, [(real, generated)])
    wanted = 1.96 * np.sqrt(0.3 * 0.7 / 100)
    assert low == pytest.approx(0.3 - wanted, abs=0.02)
    assert high == pytest.approx(0.3 + wanted, abs=0.02)


def test_three_models_on_the_same_real_images_are_not_three_samples():
    few = {"resamples": 300}
    real = scores(0)[0]
    models = [(real, scores(0, generated=900, seed=s)[1]) for s in range(3)]
    one = np.diff(auc_interval(*models[0], **few))
    three = np.diff(mean_auc_interval(models, **few))
    assert three == pytest.approx(one, rel=0.15)  # the real images' luck is shared
    low, high = mean_auc_interval(models, models, **few)
    assert low == high == 0
    better = [(r, g + 1) for r, g in models]
    assert mean_auc_interval(better, models, **few)[0] > 0.1
    with pytest.raises(ValueError, match="must be the same ones"):
        mean_auc_interval([scores(), scores(real=50)])
    with pytest.raises(ValueError, match="not of the same images"):
        mean_auc_interval(models, [scores()] * 3)


def test_a_rule_is_chosen_by_validation_alone():
    validation = {165: scores(0.2), 330: scores(-1.5), 495: scores(0)}
    rule = choose_rule(validation)
    assert (rule.key, rule.sign) == (330, -1)
    assert rule.validation_auc == pytest.approx(1 - auc(*validation[330]))
    assert choose_rule({165: scores(1.5)}).sign == 1
    # The other way round in the test: the sign stays, and the AUC falls below 0.5.
    test = {330: scores(1.5, seed=3)}
    numbers = summary(rule, test, fprs=(0.1, 0.01))
    assert numbers["auc"] == pytest.approx(1 - auc(*test[330]))
    assert numbers["auc"] < 0.3 and numbers["accuracy"] < 0.5
    assert "tpr_at_0.1" in numbers and "tpr_at_0.01" not in numbers  # 60 real images
    low, high = numbers["tpr_at_0.1_low"], numbers["tpr_at_0.1_high"]
    assert low <= numbers["tpr_at_0.1"] <= high
    with pytest.raises(ValueError, match="real scores of shape"):
        choose_rule({165: ([], [1.0])})
    with pytest.raises(ValueError, match="no candidates"):
        choose_rule({})


def test_splits_are_disjoint_and_complete():
    parts = split_indices(101, (0.3, 0.2, 0.5), seed=1)
    assert [len(p) for p in parts] == [30, 20, 51]
    assert sorted(np.concatenate(parts)) == list(range(101))
    assert (parts[0] == split_indices(101, (0.3, 0.2, 0.5), seed=1)[0]).all()
    with pytest.raises(ValueError, match="leave a part without any"):
        split_indices(3, (0.1, 0.9), seed=0)
    with pytest.raises(ValueError, match="must be > 0 and add up"):
        split_indices(30, (0.5, 0.6), seed=0)
