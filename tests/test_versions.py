"""Versions of stages: what trains anew and what does not, and golden numbers that say
when a version has to be raised.

    python tests/test_versions.py --renew    writes tests/golden/numbers.json anew
"""

import io
import itertools
import json
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pudm_lib.data import datasets
from pudm_lib.data.splits import make_split
from pudm_lib.detection.t_error import t_errors
from pudm_lib.experiments.keys import result_key, training_key
from pudm_lib.experiments.one import load_model, run
from pudm_lib.experiments.settings import experiment
from pudm_lib.machine import store
from pudm_lib.measures import judge
from pudm_lib.measures.numbers import measure
from pudm_lib.prior.estimate import estimate_from_scores
from pudm_lib.prior.estimators import ESTIMATORS
from pudm_lib.studies.beta_estimates import draw_split
from pudm_lib.training import losses
from pudm_lib.training.augment import AUGMENTATIONS

GOLDEN = Path(__file__).parent / "golden" / "numbers.json"
# Other processors round otherwise, and a few steps of training carry that on.
TOLERANCE = {"rel": 5e-3, "abs": 5e-3}
FACTORS = {
    "method": tuple(losses.METHODS),
    "augmentation": AUGMENTATIONS,
    "condition": ("none", "pairs"),
    "sampler": ("ddim", "ddpm"),
    "channels": (1, 3),  # each has a judge of its own
}
TINY = {
    "steps": 6,
    "num_samples": 16,
    "num_inference_steps": 4,
    "num_normal": 5,
    "warmup_steps": 1,
    "device": "cpu",
    "seed": 100,
}


def pairs_in(values: tuple) -> set:
    """Every two factors' values in one combination."""
    return set(itertools.combinations(enumerate(values), 2))


def pairwise() -> list[dict]:
    """Combinations in which every pair of values of two factors occurs: each time the
    one with most pairs that are still missing, the first of several."""
    every = list(itertools.product(*FACTORS.values()))
    missing = set().union(*map(pairs_in, every))
    chosen = []
    while missing:
        best = max(every, key=lambda values: len(pairs_in(values) & missing))
        missing -= pairs_in(best)
        chosen.append(dict(zip(FACTORS, best, strict=True)))
    return chosen


def name_of(change: dict) -> str:
    return "-".join(map(str, change.values()))


def few_steps_for_the_judge(patch, folder) -> None:
    patch.setitem(judge.IMAGES_SEEN, "digits", 2000)
    patch.setenv("PUDM_RUNS", str(folder))


def rounded(*tensors) -> list[float]:
    """The mean, the spread and the ends of some numbers."""
    found = []
    for x in map(torch.as_tensor, tensors):
        x = x.double().flatten()
        found += [x.mean(), x.std(), x[0], x[-1]]
    return [float(f"{value:.6g}") for value in found]


def stages_of(change: dict) -> dict[str, list[float]]:
    """What each stage gives for one combination, in the order of the stages."""
    e = experiment("ci", **TINY, **change)
    split, result = make_split(e.data, e.seed), run(e)
    judged = judge.load_judge(e.data)
    weights = torch.cat([p.detach().flatten() for p in load_model(e).parameters()])
    steps = result.history["loss"], result.history["ell_unlabeled"]
    guided = change["condition"] != "none"
    return {
        "data": rounded(split.x_unlabeled, split.x_sensitive, split.x_test),
        "training": rounded(weights, *steps),
        "guidance" if guided else "sampling": rounded(result.samples / 255),
        "judge": rounded(judged(split.x_test[:200])[1]),
    }


class Fixed:
    """A judge that no training and no rounding moves: bright images are sensitive."""

    sensitivity, specificity, accuracy = 0.9, 0.95, 0.93

    def __call__(self, images):
        features = images.flatten(1)[:, ::8].float() / 255
        return features.mean(1) > 0.3, features


def stages_besides() -> dict[str, list[float]]:
    """Of the other stages, from inputs that no training has made."""
    # Made-up scores: those of real images belong to the data as well.
    generator = np.random.default_rng(100)
    scores_s = generator.normal(2, 1, 60)
    mixed = [generator.normal(-2, 1, 270), generator.normal(2, 1, 30)]
    scores_u = np.concatenate(mixed)
    estimates = [
        estimate_from_scores(scores_u, scores_s, method=m, replicates=5)
        for m in ESTIMATORS
    ]
    model = load_model(experiment("ci", **TINY, method="unsupervised"))
    split = make_split(draw_split("digits", 0.1, 30, 0).data, 0)
    measured, _ = measure(split.x_sensitive, split, Fixed())
    x = split.x_test[:8]
    return {
        "measures": [float(f"{measured[name]:.6g}") for name in sorted(measured)],
        "estimates": [float(f"{v:.6g}") for e in estimates for v in (e.value, e.low)],
        "detection": rounded(*t_errors(model, x, 330)),
    }


def made_now() -> dict[str, dict[str, list[float]]]:
    found = {name_of(change): stages_of(change) for change in pairwise()}
    return found | {"besides": stages_besides()}


RENEW = ".venv/bin/python tests/test_versions.py --renew"


def complaint(kept: dict, found: dict) -> str:
    """Which version to raise, if any number has moved: "" if none has."""
    order = list(store.VERSION)
    for stage in order:
        for name, stages in found.items():
            if stage not in stages:
                continue
            same = kept["numbers"].get(name, {}).get(stage)
            if same is None or stages[stage] != pytest.approx(
                same, **TOLERANCE, nan_ok=True
            ):
                return (
                    f"what {stage!r} computes has changed (first seen in {name}): if "
                    f'that is meant, raise VERSION["{stage}"] in '
                    f"pudm_lib/machine/store.py, then {RENEW}"
                )
    return ""


def test_every_pair_of_values_occurs_once():
    every = itertools.product(*FACTORS.values())
    wanted = set().union(*map(pairs_in, every))
    chosen = [tuple(change.values()) for change in pairwise()]
    assert set().union(*map(pairs_in, chosen)) == wanted
    assert len(chosen) <= 30


def test_golden_numbers(tmp_path, monkeypatch):
    few_steps_for_the_judge(monkeypatch, tmp_path)
    kept = json.loads(GOLDEN.read_text())
    assert kept["versions"] == store.VERSION, f"a version was raised: {RENEW}"
    assert complaint(kept, made_now()) == ""


@pytest.mark.parametrize("stage", store.VERSION)
def test_the_first_stage_that_moved_is_named(stage):
    kept = json.loads(GOLDEN.read_text())
    found = json.loads(json.dumps(kept["numbers"]))
    assert complaint(kept, found) == ""
    later = list(store.VERSION)[list(store.VERSION).index(stage) :]
    for stages in found.values():
        for moved in set(later) & set(stages):
            stages[moved][0] += 1
    assert f'raise VERSION["{stage}"]' in complaint(kept, found)


def all_keys(**settings) -> tuple[str, str]:
    e = experiment("ci", **settings)
    return training_key(e), result_key(e)


@pytest.fixture
def kept(monkeypatch):
    """Called after something has changed: are the keys what they were?"""
    before = all_keys(), all_keys(condition="pairs"), all_keys(method="pnu")
    return lambda: (
        (all_keys(), all_keys(condition="pairs"), all_keys(method="pnu")) == before
    )


def test_a_new_method_trains_nothing_anew(kept, monkeypatch):
    monkeypatch.setitem(losses.METHODS, "ours", losses.pu_unbiased)
    monkeypatch.setitem(losses.IGNORES, "ours", ())
    assert kept()
    assert all_keys(method="ours")[0] != all_keys()[0]


def test_a_new_data_set_trains_nothing_anew(kept, monkeypatch):
    monkeypatch.setattr(datasets, "NAMES", (*datasets.NAMES, "fashion"))
    monkeypatch.setitem(datasets.GROUPS, "shoes", ["boot"])
    assert kept()


def test_another_python_trains_nothing_anew(kept, monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert kept()


def test_an_edited_message_trains_nothing_anew(kept, monkeypatch):
    """No key looks at code: opening any file of it would fail here."""
    package, opened = str(Path(store.__file__).parents[1]), io.open

    def refused(path, *arguments, **options):
        assert not str(path).startswith(package), f"a key has read {path}"
        return opened(path, *arguments, **options)

    monkeypatch.setattr(io, "open", refused)
    with pytest.raises(AssertionError, match="a key has read"):
        Path(store.__file__).read_text()
    assert kept()


# Which keys a stage's version is in: of the weights and of the result, without a
# condition and with one.
IN_KEYS = {
    "data": (True, True, True, True),
    "training": (True, True, True, True),
    "sampling": (False, True, False, True),
    "guidance": (False, False, False, True),
    "judge": (False, True, False, True),
    "measures": (False, True, False, True),
    "estimates": (False, False, False, False),
    "detection": (False, False, False, False),
}


@pytest.mark.parametrize("stage", store.VERSION)
def test_a_raised_version_makes_anew_what_hangs_on_it(stage, monkeypatch):
    before = *all_keys(), *all_keys(condition="pairs")
    monkeypatch.setitem(store.VERSION, stage, 99)
    after = *all_keys(), *all_keys(condition="pairs")
    changed = tuple(a != b for a, b in zip(before, after, strict=True))
    assert changed == IN_KEYS[stage]


def test_every_method_says_what_it_ignores():
    assert losses.IGNORES.keys() == losses.METHODS.keys()


if __name__ == "__main__":
    import tempfile

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        few_steps_for_the_judge(patch, folder)
        patch.setenv("PUDM_HEADLESS", "1")
        made = {"versions": store.VERSION, "numbers": made_now()}
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
    print(f"{GOLDEN}: {len(made['numbers'])} runs")
