"""Claims are judged by their bounds; a figure's record is whole or not there."""

import json
import os

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from pudm_lib.book import claims
from pudm_lib.book import page as figures
from pudm_lib.experiments.settings import PRESETS
from pudm_lib.machine import paths


@pytest.mark.parametrize(
    "value, bounds, holds",
    [
        (0.95, {"at_least": 0.95}, True),
        (0.9499, {"at_least": 0.95}, False),
        (1.5, {"at_most": 1.5}, True),
        (1.6, {"at_most": 1.5}, False),
        (0.5, {"at_least": 0.4, "at_most": 0.6}, True),
        (0.7, {"at_least": 0.4, "at_most": 0.6}, False),
        (0.0, {"at_least": 0.0}, True),
        (float("nan"), {"at_least": 0.0}, False),
        (float("nan"), {"at_most": 0.0}, False),
        (torch.tensor(0.5), {"at_most": 1}, True),
    ],
)
def test_a_claim_holds_inside_its_bounds(value, bounds, holds):
    made = figures.claim("text", value, **bounds)
    assert made["holds"] is holds and made["bound"] == bounds
    assert list(made) == ["claim", "source", "value", "interval", "bound", "holds"]


def test_a_claim_needs_a_bound_and_a_known_source():
    with pytest.raises(ValueError, match="no bound"):
        figures.claim("text", 1.0)
    with pytest.raises(ValueError, match="'theirs', must be one of ours, paper"):
        figures.claim("text", 1.0, at_least=0, source="theirs")


@pytest.mark.parametrize("preset", PRESETS)
def test_only_our_failed_claims_stop_a_chapter_and_never_under_ci(preset):
    good = figures.claim("good", 1.0, at_least=0)
    theirs = figures.claim("theirs", 1.0, at_most=0, source="paper")
    bad = figures.claim("leak is small", 0.2, at_most=0.1)
    figures.assert_claims([good, theirs], preset)
    if preset == "ci":
        figures.assert_claims([bad], preset)
    else:
        with pytest.raises(AssertionError, match=r"leak is small: 0\.2, bound"):
            figures.assert_claims([good, bad, theirs], preset)


def test_plain_values_are_what_json_holds():
    value = {
        "tensor": torch.tensor([1.0, 2.0]),
        "array": np.arange(2),
        3: (np.float64(1 / 3), True, None, "word"),
        "lost": [float("nan"), float("inf")],
    }
    plain = figures.plain(value)
    assert plain == {
        "tensor": [1.0, 2.0],
        "array": [0, 1],
        "3": [0.333333, True, None, "word"],
        "lost": [None, None],
    }
    json.dumps(plain, allow_nan=False)


@pytest.fixture
def show(project):
    def call(**changes):
        figure, axes = plt.subplots()
        axes.plot([0, 1])
        made = figures.claim("rate", 0.97, at_least=0.95, interval=(0.96, 0.98))
        options = {
            "alt": "A line that rises.",
            "chapter": "05",
            "preset": "laptop",
            "parameters": {"beta": 0.1},
            "numbers": {"rate": torch.tensor([0.97])},
            "claims": [made],
        }
        figures.show_figure(figure, "05_line", **(options | changes))
        return project / "build" / "figures" / "laptop"

    return call


def test_a_figure_lies_beside_its_record(show):
    folder = show()
    assert {f.name for f in folder.iterdir()} == {"05_line.png", "05_line.json"}
    assert Image.open(folder / "05_line.png").width > 300
    record = json.loads((folder / "05_line.json").read_text())
    wanted = ["figure", "chapter", "preset", "alt", "parameters", "environment"]
    assert list(record) == [*wanted, "numbers", "claims"]
    assert record["numbers"] == {"rate": [0.97]}
    assert record["claims"][0]["holds"] is True
    assert figures.read_records(folder.parent) == [record]


def test_a_record_says_nothing_of_when_and_where(show):
    text = (show() / "05_line.json").read_text()
    assert os.uname().nodename not in text and str(paths.project_root()) not in text
    first = text
    assert (show() / "05_line.json").read_text() == first, "the same run, the same file"


def test_a_shown_figure_is_closed(show):
    before = plt.get_fignums()
    show()
    assert plt.get_fignums() == before


def test_an_alternative_text_is_required(show, project):
    with pytest.raises(ValueError, match="'05_line' needs an alternative text"):
        show(alt=" ")
    assert not (project / "build").exists()


def test_an_unwritable_folder_is_named(show, project, monkeypatch):
    (project / "file").write_text("")
    monkeypatch.setenv("PUDM_FIGURES", str(project / "file"))
    with pytest.raises(OSError, match=r"cannot write in .*file/laptop.*PUDM_FIGURES"):
        show()


def test_a_cut_off_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    paths.write_atomically(path, "old")

    def cut_off(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(paths.os, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        paths.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path], "half a file was left"


@pytest.mark.parametrize("text", ["{", "[]", '{"figure": "a", "preset": "ci"}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "05_a.json").write_text(text)
    with pytest.raises(ValueError, match=r"05_a.json is not a figure record"):
        figures.read_records(tmp_path)


COMMITTED = sorted((ROOT / "figures").glob("*/*.json"))


@pytest.mark.skipif(not COMMITTED, reason="no curated figures in this checkout")
def test_committed_figures_are_whole():
    records = figures.read_records(ROOT / "figures")
    for path, record in zip(COMMITTED, records, strict=True):
        assert record["preset"] == path.parent.name != "ci"
        assert record["figure"] == path.stem
        assert path.with_suffix(".png").exists()
        assert record["chapter"][:2] == path.stem[:2]


@pytest.mark.skipif(not COMMITTED, reason="no curated figures in this checkout")
def test_readme_shows_the_committed_numbers():
    text = (ROOT / "README.md").read_text()
    shown = text.partition(claims.BEGIN)[2].partition(claims.END)[0].strip()
    records = claims.read_claims(ROOT / "figures")
    assert shown == claims.as_markdown(records), (
        "run `python -m pudm_lib claims --write-readme`"
    )
