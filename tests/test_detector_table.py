"""Chapter 14's table: each detector against a literal form, nothing chosen on the test
half, and a study that goes on where it stopped."""

import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from sklearn.linear_model import LogisticRegression

from pudm_lib.data.pixels import to_model_range
from pudm_lib.data.splits import make_split
from pudm_lib.detection import scores as detectors
from pudm_lib.detection.learned import PIXEL_NUMBERS, step_inputs
from pudm_lib.detection.outcomes import (
    Outcome,
    by_network,
    by_pixels,
    by_rule,
    by_steps,
    early,
    late,
    paper_curve,
    relabelled,
    sweep,
    with_nothing_to_find,
)
from pudm_lib.detection.roc import accuracy, auc, best_threshold, mean_auc_interval
from pudm_lib.detection.shortcuts import matched_images, noisy, normal_images
from pudm_lib.detection.t_error import all_t_se, t_errors
from pudm_lib.diffusion.networks import make_unet
from pudm_lib.experiments.settings import experiment
from pudm_lib.measures.judge import Judge
from pudm_lib.studies import detector_runs
from pudm_lib.studies import detector_sets as detector_study
from pudm_lib.studies.detector_tables import SCORES, all_detectors, table_numbers

SIZES = (165, 330)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return make_unet("tiny", resolution=8, channels=1).eval()


@pytest.fixture(scope="module")
def images():
    """Digits, and "generated" ones that a detector can find."""
    x = make_split(experiment("ci").data, 0).x_test
    return x[:60], noisy(x[60:140], 25)


@pytest.fixture(scope="module")
def found(model, images):
    return sweep(model, *images, SIZES)


@pytest.fixture(scope="module")
def outcomes(model, images, found):
    return all_detectors(model, found, *images, seed=0, network_steps=3)


def test_the_sweep_is_t_errors_of_either_kind(model, images, found):
    assert list(found) == [(size, t) for size in SIZES for t in all_t_se(size)]
    for key in ((165, 330), (330, 990)):
        for side, x in zip(found[key], images, strict=True):
            errors = t_errors(model, x, key[0], t_se=[key[1]])[0]
            np.testing.assert_allclose(side, errors, rtol=1e-3)
    areas = paper_curve(found)
    real, generated = found[165, 495]
    assert len(areas) == 6 and areas[2] == auc(-real[30:], -generated[40:])


def literal_rule(candidates):
    """The rule written out, one pair of images at a time."""
    best = None
    for key, (real, generated) in candidates.items():
        a, b = real[: len(real) // 2], generated[: len(generated) // 2]
        wins = np.mean([(y > x) + 0.5 * (y == x) for x in a for y in b])
        if best is None or abs(wins - 0.5) > abs(best[1] - 0.5):
            best = key, wins
    key, wins = best
    sign = 1 if wins >= 0.5 else -1
    real, generated = (sign * scores for scores in candidates[key])
    h = best_threshold(real[: len(real) // 2], generated[: len(generated) // 2])
    test = real[len(real) // 2 :], generated[len(generated) // 2 :]
    return test, ((test[0] < h).mean() + (test[1] >= h).mean()) / 2


def test_scores_of_the_table_are_the_literal_rule(model, images, found, outcomes):
    wanted = {
        "SeDID Stat": found,
        "SeDID Stat, step 165": {k: v for k, v in found.items() if k[0] == 165},
        "SecMI": {
            t: tuple(detectors.secmi(model, x, t=t).numpy() for x in images)
            for t in (50, 100)
        },
        "DIRE": {
            t: tuple(
                detectors.dire(model, x, t=t, step_size=100).numpy() for x in images
            )
            for t in (300, 600, 900)
        },
    }
    for name, candidates in wanted.items():
        (real, generated), right = literal_rule(candidates)
        np.testing.assert_allclose(outcomes[name].scores[0], real, rtol=1e-2)
        np.testing.assert_allclose(outcomes[name].scores[1], generated, rtol=1e-2)
        assert outcomes[name].accuracy == pytest.approx(right, abs=0.02)


def test_the_multi_step_score_is_a_regression_on_standardised_logarithms(found):
    logs = [np.log([pair[side] for pair in found.values()]).T for side in (0, 1)]
    train = np.concatenate([logs[0][:30], logs[1][:40]])
    mean, deviation = train.mean(0), train.std(0)
    regression = LogisticRegression(C=1.0, class_weight="balanced", max_iter=5000)
    regression.fit((train - mean) / deviation, [0] * 30 + [1] * 40)
    outcome = by_steps(found)
    for scores, numbers in zip(outcome.scores, logs, strict=True):
        test = (late(numbers) - mean) / deviation
        wanted = regression.decision_function(test)
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)
    assert outcome.accuracy == accuracy(*outcome.scores, 0)


def test_networks_get_the_inputs_that_their_names_say(model, images, outcomes):
    released = {"misaligned_as_released": True}
    inputs = {
        "SeDID NN as released": [
            step_inputs(model, x, 165, [990], **released) for x in images
        ],
        "raw pixels": [to_model_range(x) for x in images],
    }
    for name, pair in inputs.items():
        wanted = by_network(*pair, seed=0, steps=3, device="cpu")
        np.testing.assert_allclose(
            outcomes[name].scores[1], wanted.scores[1], rtol=1e-2, atol=1e-3
        )


def test_nothing_is_learned_from_the_test_half(model, images):
    """Other test images, the same answer for the one that stays."""
    changed = [torch.cat([early(x), late(x)[:1], 255 - late(x)[1:]]) for x in images]
    others = sweep(model, *changed, SIZES)
    same = sweep(model, *images, SIZES)
    pairs = (
        (by_rule(same), by_rule(others)),
        (by_steps(same), by_steps(others)),
        (by_pixels(*images), by_pixels(*changed)),
        tuple(
            by_network(*map(to_model_range, x), seed=0, steps=2, device="cpu")
            for x in (images, changed)
        ),
    )
    for one, other in pairs:
        for a, b in zip(one.scores, other.scores, strict=True):
            assert a[0] == pytest.approx(b[0], rel=1e-3, abs=1e-4)
            assert not np.allclose(a[1:], b[1:])


def test_the_rows_of_the_table(outcomes, model, images):
    assert list(outcomes)[:5] == list(SCORES) and len(outcomes) == 13
    assert outcomes["pixel statistics"].scores[0].shape == (30,)
    without = sweep(model, *images, [330])
    with pytest.raises(ValueError, match=r"step sizes \[330\] lack 165"):
        all_detectors(model, without, *images, seed=0, network_steps=1)


def test_one_class_missing_is_refused(model, images):
    real, generated = images
    for x in (generated[:0], generated[:1]):  # nothing, or nothing to choose on
        found = sweep(model, real, x, [165])
        with pytest.raises(ValueError, match=r"generated scores of shape \(0,\)"):
            all_detectors(model, found, real, x, seed=0, network_steps=1)


def test_the_numbers_of_the_table(outcomes):
    generator = np.random.default_rng(0)
    other = {
        name: Outcome((o.scores[0], generator.permutation(o.scores[1])[:35]), 0.25)
        for name, o in outcomes.items()
    }
    numbers = table_numbers([outcomes, other])
    name = "multi-step, all"
    each = [float(auc(*m[name].scores)) for m in (outcomes, other)]
    assert numbers["each"][name] == each
    assert numbers["auc"][name] == pytest.approx(np.mean(each))
    assert numbers["accuracy"][name] == (outcomes[name].accuracy + 0.25) / 2
    gain, interval = numbers["gain_of_multi_step"]["all steps"]
    assert gain == numbers["auc"][name] - numbers["auc"]["SeDID Stat"]
    pair = [[m[n].scores for m in (outcomes, other)] for n in (name, "SeDID Stat")]
    assert interval == mean_auc_interval(*pair)
    ahead, _ = numbers["leads"]["multi-step, all over pixel statistics"]
    assert ahead == numbers["auc"][name] - numbers["auc"]["pixel statistics"]
    assert "tpr_at_0.01" not in numbers  # 30 real images cannot measure it
    many = {n: Outcome((np.arange(100.0), np.array([98.5, 1])), 0.5) for n in outcomes}
    assert table_numbers([many])["tpr_at_0.01"][name][0] == 0.5


def test_real_images_against_real_images_are_the_same_images(found):
    halves = relabelled(found, np.arange(60)[::-1], 20)
    real, called_generated = halves[165, 330]
    assert np.array_equal(real, found[165, 330][0][:39:-1])
    assert len(called_generated) == 40
    assert set(with_nothing_to_find(halves)) == {"rule", "multi-step"}


class FirstPixel(torch.nn.Module):
    """Sees the class that the first pixel holds."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.eye(3)[((x[:, 0, 0, 0] + 1) * 127.5).round().long()]


@pytest.fixture
def judge():
    sensitive = torch.tensor([False, False, True])
    return Judge(FirstPixel(), sensitive, 1.0, 1.0, 1.0, 9)


def of_classes(*classes):
    x = torch.zeros(len(classes), 1, 4, 4, dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.tensor(classes)
    return x


def test_generated_images_get_the_classes_of_the_real_ones(judge):
    real = of_classes(*[0] * 10 + [1] * 30 + [2])  # 2 is a slip of the judge's
    samples = of_classes(*[0] * 20 + [1] * 20 + [2] * 9)
    kept = matched_images(samples, real, judge, seed=0, limit=99)
    assert kept[:, 0, 0, 0].bincount().tolist() == [6, 20]
    assert len(matched_images(samples, real, judge, seed=0, limit=8)) == 8
    assert torch.equal(normal_images(real, judge), real[:40])


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PUDM_RUNS", str(tmp_path))
    return tmp_path


def test_a_study_is_measured_once(runs, monkeypatch):
    models = [experiment("ci", method="unsupervised", seed=s) for s in (0, 1)]
    options = {"num_real": 40, "num_generated": 30, "levels": 17, "match": False}
    options |= {"step_sizes": [165, 330], "network_steps": 1}
    first = detector_study.measure_detectors(models, **options)
    assert first["images"] == {"real": 40, "generated": [30, 30]}
    assert list(first["pixel_numbers"]) == list(PIXEL_NUMBERS)
    assert len(first["chosen"]) == 2 and len(first["paper_curve"]) == 6
    assert len(first["coarse"]["auc"]) == 5 and first["coarse"]["levels"] == 17
    assert first["coarse"]["auc"] == {
        name: first["auc"][name] for name in first["coarse"]["auc"]
    }  # these had no more levels before
    low, high = first["real_against_real"]["rule"][1]
    assert low < high
    monkeypatch.setattr(detector_runs, "all_detectors", None)
    again = detector_study.measure_detectors(models, **options)
    assert json.dumps(again, default=list) == json.dumps(first, default=list)
    monkeypatch.undo()
    assert len(list(runs.glob("detectors/*.json"))) == 2


@pytest.mark.parametrize("name", detector_study.STUDIED)
def test_the_committed_tables_are_of_these_studies(name):
    title = {"mnist": "mnist", "celeba_half": "celeba"}[name]
    path = ROOT / "figures" / "laptop" / f"14_detectors_{title}.json"
    record = json.loads(path.read_text())
    assert record["parameters"] == detector_study.parameters(name)
    assert list(record["numbers"]["auc"])[-1] == "pixel statistics"


def test_a_set_without_a_study_is_refused():
    with pytest.raises(ValueError, match="'stl10', must be one of mnist, celeba_half"):
        detector_study.measure_set("stl10")
