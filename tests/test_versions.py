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

import golden_numbers
import pytest
from golden_numbers import AFTER, FACTORS, GOLDEN, RENEW, complaint, pairs_in, pairwise

from pudm_lib.book import fresh
from pudm_lib.data import datasets
from pudm_lib.data.splits import DataSettings
from pudm_lib.experiments.keys import result_key, training_key
from pudm_lib.experiments.settings import experiment
from pudm_lib.machine import store
from pudm_lib.measures import judge
from pudm_lib.studies import detector_runs
from pudm_lib.studies.beta_estimates import draw_split
from pudm_lib.training import losses


@pytest.fixture
def golden():
    return json.loads(GOLDEN.read_text())


def test_every_pair_of_values_occurs():
    every = itertools.product(*FACTORS.values())
    wanted = set().union(*map(pairs_in, every))
    assert set().union(*map(pairs_in, pairwise())) == wanted
    # No fewer are possible: a run for every method with every augmentation.
    assert len(pairwise()) == len(losses.METHODS) * len(FACTORS["augmentation"])


def test_a_new_method_changes_no_golden_run(monkeypatch):
    before = pairwise()
    monkeypatch.setitem(FACTORS, "method", (*FACTORS["method"], "ours"))
    assert pairwise()[: len(before)] == before < pairwise()


def test_golden_numbers(tmp_path, golden):
    assert golden["versions"] == store.VERSION, f"a version was raised: {RENEW}"
    found = golden_numbers.made_now(tmp_path)
    words = complaint(found, golden)
    assert not words, words
    assert found.keys() == golden["numbers"].keys(), f"other runs than kept: {RENEW}"


def changed(numbers: dict, *stages: str) -> dict:
    """All numbers of these stages one per cent larger."""
    return {
        run: {n: [v * 1.01 + 0.01 for v in values] for n, values in parts.items()}
        if run.split(":")[0] in stages
        else parts
        for run, parts in numbers.items()
    }


@pytest.mark.parametrize("stage", store.VERSION)
def test_the_first_stage_that_moved_is_named_until_its_version_is_raised(stage, golden):
    later = [s for s in AFTER if stage in AFTER[s]]
    found = changed(golden["numbers"], stage, *later)
    assert complaint(golden["numbers"], golden) == ""
    words = complaint(found, golden)
    assert f'raise VERSION["{stage}"] in' in words and RENEW in words
    assert words.count("VERSION[") == 1
    raised = {s: number + 1 for s, number in store.VERSION.items()}
    assert complaint(found, golden, store.VERSION | {stage: raised[stage]}) == ""
    for other in set(AFTER) - {stage, *AFTER[stage]}:
        assert complaint(found, golden, store.VERSION | {other: raised[other]}) != ""


def test_both_stages_are_named_that_moved_on_their_own(golden):
    """As a changed augmentation does, in training and in the judge's."""
    found = changed(golden["numbers"], "training", "sampling", "judge")
    assert 'raise VERSION["training"] and VERSION["judge"]' in complaint(found, golden)
    words = complaint(
        found, golden, store.VERSION | {"training": store.VERSION["training"] + 1}
    )
    assert 'raise VERSION["judge"] in' in words


def test_no_numbers_are_renewed_before_the_version_is_raised(
    tmp_path, golden, monkeypatch
):
    path = tmp_path / "numbers.json"
    path.write_text(golden_numbers.as_text(golden))
    found = changed(golden["numbers"], "judge")
    monkeypatch.setattr(golden_numbers, "made_now", lambda _: found)
    assert 'raise VERSION["judge"]' in golden_numbers.renew(path)
    # Tells a NaN from another one by its text.
    assert path.read_text() == GOLDEN.read_text()
    monkeypatch.setitem(store.VERSION, "judge", 2)
    assert golden_numbers.renew(path) == ""
    kept = json.loads(path.read_text())
    assert kept["versions"]["judge"] == 2 and complaint(found, kept) == ""


class Asked(Exception):
    """Ends a call where it has its key."""


def key_in(module, ask) -> str:
    def stop(parts):
        raise Asked(store.short_hash(parts))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Asked) as asked:
        patch.setattr(module, "short_hash", stop)
        ask()
    return str(asked.value)


def all_keys(**settings) -> dict[str, str]:
    plain = experiment("ci", **settings)
    asked = experiment("ci", condition="pairs", **settings)
    options = {"step_sizes": [165], "network_steps": 1, "levels": 17, "match": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_runs, "detector_images", lambda *_, **__: ([], []))
        patch.setattr(detector_runs, "quantise", lambda *_: None)
        detectors = key_in(
            detector_runs,
            lambda: detector_runs.measure_model(
                plain, num_real=1, num_generated=1, **options
            ),
        )
    return {
        "weights": training_key(plain),
        "conditional weights": training_key(asked),
        "result": result_key(plain),
        "conditional result": result_key(asked),
        "judge": key_in(judge, lambda: judge.load_judge(DataSettings())),
        "estimates": draw_split("digits", 0.2, 30, 0).path.name,
        "detectors": detectors,
    }


RESULTS = {"result", "conditional result", "detectors"}
WEIGHTS = {"weights", "conditional weights", *RESULTS}
# What is made anew where the version of a stage is raised.
MADE_ANEW = {
    "data": {*WEIGHTS, "judge", "estimates"},
    "training": WEIGHTS,
    "sampling": RESULTS,
    "guidance": {"conditional result"},
    "judge": {*RESULTS, "judge"},
    "measures": RESULTS,
    "estimates": {"estimates"},
    "detection": {"detectors"},
}


@pytest.mark.parametrize("stage", store.VERSION)
def test_a_raised_version_makes_anew_what_hangs_on_it(stage, monkeypatch):
    before = all_keys()
    monkeypatch.setitem(store.VERSION, stage, 99)
    after = all_keys()
    assert {name for name in before if after[name] != before[name]} == MADE_ANEW[stage]


@pytest.fixture
def unchanged():
    """Called after something has changed: are the keys what they were?"""
    before = all_keys(), all_keys(method="pnu")
    return lambda: (all_keys(), all_keys(method="pnu")) == before


def test_a_new_method_trains_nothing_anew(unchanged, monkeypatch):
    monkeypatch.setitem(losses.METHODS, "ours", losses.pu_unbiased)
    monkeypatch.setitem(losses.IGNORES, "ours", ())
    assert unchanged()
    assert all_keys(method="ours")["weights"] != all_keys()["weights"]


def test_a_new_data_set_trains_nothing_anew(unchanged, monkeypatch):
    monkeypatch.setattr(datasets, "NAMES", (*datasets.NAMES, "fashion"))
    monkeypatch.setitem(datasets.GROUPS, "shoes", ["boot"])
    assert unchanged()


def test_another_python_trains_nothing_anew(unchanged, monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert unchanged()


def test_an_edited_message_trains_nothing_anew(unchanged, monkeypatch):
    """No key looks at code: opening any file of it would fail here."""
    package, opened = str(Path(store.__file__).parents[1]), io.open

    def refused(path, *arguments, **options):
        assert not str(path).startswith(package), f"a key has read {path}"
        return opened(path, *arguments, **options)

    monkeypatch.setattr(io, "open", refused)
    with pytest.raises(AssertionError, match="a key has read"):
        Path(store.__file__).read_text()
    assert unchanged()


def test_every_method_says_what_it_ignores():
    assert losses.IGNORES.keys() == losses.METHODS.keys()


def test_a_chapter_is_run_again_after_any_edit_below_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(fresh, "__file__", str(tmp_path / "book" / "fresh.py"))
    module = tmp_path / "room" / "inner" / "module.py"
    module.parent.mkdir(parents=True)
    hashes = []
    for text in ("x = 1", "x = 2", "x = 2"):
        module.write_text(text)
        hashes.append(fresh.code_hash.__wrapped__())
    module.rename(module.with_name("other.py"))
    hashes.append(fresh.code_hash.__wrapped__())
    assert hashes[1] == hashes[2] and len(set(hashes)) == 3


if __name__ == "__main__":
    if sys.argv[1:] != ["--renew"]:
        sys.exit(f"error: there is one way to call this: {RENEW}")
    words = golden_numbers.renew()
    sys.exit(f"error: {words}" if words else 0)
