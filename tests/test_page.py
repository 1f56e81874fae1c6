"""Figures, their records, and how their claims are judged."""

import json
import os

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from pudm_lib.book import claims
from pudm_lib.book import page as pages
from pudm_lib.experiments.settings import PRESETS
from pudm_lib.machine import paths, store


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
def test_a_check_holds_inside_its_bounds(value, bounds, holds):
    made = claims.check("text", value, interval=(0, 9), **bounds)
    assert made["verdict"] == ("holds" if holds else "FAILS")
    assert made["bound"] == bounds and made["kind"] == "check"
    assert claims.failed([made]) == [] if holds else "text" in claims.failed([made])[0]


@pytest.mark.parametrize(
    "interval, bounds, verdict",
    [
        ((0.96, 0.98), {"at_least": 0.95}, "confirmed"),
        ((0.95, 0.98), {"at_least": 0.95}, "confirmed"),
        ((0.94, 0.98), {"at_least": 0.95}, "undecided"),
        ((0.90, 0.94), {"at_least": 0.95}, "refuted"),
        ((0.1, 0.2), {"at_most": 0.3}, "confirmed"),
        ((0.1, 0.4), {"at_most": 0.3}, "undecided"),
        ((0.4, 0.5), {"at_most": 0.3}, "refuted"),
        # "Differs by at most .03" is confirmed only by an interval inside.
        ((-0.02, 0.03), {"at_least": -0.03, "at_most": 0.03}, "confirmed"),
        ((-0.02, 0.04), {"at_least": -0.03, "at_most": 0.03}, "undecided"),
        ((-0.05, 0.05), {"at_least": -0.03, "at_most": 0.03}, "undecided"),
        ((0.04, 0.05), {"at_least": -0.03, "at_most": 0.03}, "refuted"),
        ((-0.05, -0.04), {"at_least": -0.03, "at_most": 0.03}, "refuted"),
        (None, {"at_least": 0.0}, "undecided"),
        ((float("nan"), float("nan")), {"at_least": 0.0}, "undecided"),
    ],
)
@pytest.mark.parametrize("source", claims.SOURCES)
def test_a_prediction_is_judged_on_its_interval(interval, bounds, verdict, source):
    made = claims.predict("text", 0.96, interval=interval, source=source, **bounds)
    assert (made["verdict"], made["source"]) == (verdict, source)
    assert claims.failed([made]) == [], "a prediction stops nothing"


def test_a_claim_needs_a_bound_and_a_known_source():
    for kind in (claims.check, claims.predict):
        with pytest.raises(ValueError, match="claim 'text' has no bound"):
            kind("text", 1.0)
    with pytest.raises(ValueError, match="'theirs', must be one of ours, paper"):
        claims.predict("text", 1.0, at_least=0, source="theirs")


def test_plain_values_are_what_json_holds():
    value = {
        "tensor": torch.tensor([1.0, 2.0]),
        "array": np.arange(2),
        3: (np.float64(1 / 3), True, None, "word"),
        "lost": [float("nan"), float("inf")],
    }
    plain = store.plain(value)
    assert plain == {
        "tensor": [1.0, 2.0],
        "array": [0, 1],
        "3": [0.333333, True, None, "word"],
        "lost": [None, None],
    }
    json.dumps(plain, allow_nan=False)


CHAPTER = """# %% tags=["parameters"]
preset = "laptop"
beta = 0.1
studies = "committed"
"""


@pytest.fixture
def page(project):
    """Make the page of a chapter whose file says beta = 0.1."""
    (project / "notebooks" / "05_line.py").write_text(CHAPTER)

    def make(**changes) -> pages.Page:
        names = {"preset": "laptop", "beta": 0.1, "studies": "committed", "other": 3}
        return pages.Page("05_line", names | changes)

    return make


@pytest.mark.parametrize("beta", [float("nan"), float("inf")])
def test_a_value_that_no_chapter_can_use_is_refused_where_it_is_set(page, beta):
    with pytest.raises(ValueError, match=f"beta={beta}, must be finite"):
        page(beta=beta)


def draw(page, alt="A line\n    that rises.", **options):
    with page.figure("05_line", **options) as (fig, ax):
        ax.plot([0, 1])
        fig.numbers(rate=torch.tensor([0.97]))
        fig.check("rate", 0.97, at_least=0.95, interval=(0.96, 0.98))
        fig.predict("it pays", 0.3, at_most=0.2, interval=(0.25, 0.35), source="paper")
        fig.alt(alt)


def test_a_figure_lies_beside_its_record(page, project):
    draw(page())
    folder = project / "build" / "figures" / "laptop"
    assert {f.name for f in folder.iterdir()} == {"05_line.png", "05_line.json"}
    assert Image.open(folder / "05_line.png").width > 300
    record = json.loads((folder / "05_line.json").read_text())
    wanted = ["figure", "chapter", "preset", "alt", "parameters", "environment"]
    assert list(record) == [*wanted, "numbers", "claims"]
    assert record["numbers"] == {"rate": [0.97]}
    assert record["parameters"] == {
        "preset": "laptop",
        "beta": 0.1,
        "studies": "committed",
    }
    assert record["alt"] == "A line that rises."
    assert [c["verdict"] for c in record["claims"]] == ["holds", "refuted"]
    assert claims.read_records(folder.parent) == [record]


def test_the_picture_is_displayed_once_with_its_alternative_text(page, monkeypatch):
    shown = []
    monkeypatch.setattr(pages, "display", shown.append)
    before = plt.get_fignums()
    draw(page())
    (picture,) = shown
    assert picture.alt == "A line that rises." and picture.data[:4] == b"\x89PNG"
    assert plt.get_fignums() == before, "an open figure would be shown a second time"


def test_a_record_says_nothing_of_when_and_where(page, project):
    path = project / "build" / "figures" / "laptop" / "05_line.json"
    draw(page())
    first = path.read_text()
    assert os.uname().nodename not in first and str(paths.project_root()) not in first
    draw(page())
    assert path.read_text() == first, "the same run, the same file"


def test_one_axes_comes_alone_and_several_in_a_row(page):
    with page().figure("05_line") as (fig, ax):
        assert isinstance(ax, plt.Axes)
        fig.alt("words")
    with page().figure("05_line", 2, 3) as (fig, axes):
        assert axes.shape == (6,)
        fig.alt("words")


def test_settings_besides_the_parameters_stand_in_the_record(page, project):
    draw(page(), made_for={"size": 7})
    record = json.loads((project / "build/figures/laptop/05_line.json").read_text())
    assert record["parameters"]["size"] == 7


@pytest.mark.parametrize("preset", PRESETS)
def test_claims_are_judged_as_the_file_stands_under_its_presets(page, preset):
    made = page(preset=preset)
    draw(made)
    assert made.judged is (preset == "laptop") and bool(made.claims) is made.judged


@pytest.mark.parametrize(
    "change, judged",
    [({"beta": 0.2}, False), ({"studies": "measured"}, True), ({"other": 4}, True)],
)
def test_claims_are_about_the_books_own_parameters(page, change, judged):
    assert page(**change).judged is judged


def test_the_verdict_lists_all_and_stops_at_a_failed_check(page, capsys):
    made = page()
    draw(made)
    made.verdict()
    out = capsys.readouterr().out
    assert "holds" in out and "refuted" in out and "paper" in out
    with made.figure("05_line") as (fig, _):
        fig.check("leak is small", 0.2, at_most=0.1)
        fig.alt("words")
    with pytest.raises(AssertionError, match=r"leak is small: 0\.2, bound ≤ 0\.1"):
        made.verdict()
    page(beta=0.3).verdict()
    assert "nothing claimed" in capsys.readouterr().out


def test_an_alternative_text_is_required(page, project):
    before = plt.get_fignums()
    with pytest.raises(ValueError, match="'05_line' needs an alternative text"):
        draw(page(), alt=" ")
    assert not (project / "build").exists() and plt.get_fignums() == before


def test_an_error_in_a_figure_leaves_nothing_behind(page, project):
    before = plt.get_fignums()
    with pytest.raises(ZeroDivisionError), page().figure("05_line"):
        _ = 1 / 0
    assert not (project / "build").exists() and plt.get_fignums() == before


def test_an_unwritable_folder_is_named(page, project, monkeypatch):
    (project / "file").write_text("")
    monkeypatch.setenv("PUDM_FIGURES", str(project / "file"))
    with pytest.raises(OSError, match=r"cannot write in .*file/laptop.*PUDM_FIGURES"):
        draw(page())


def test_an_unknown_preset_is_refused(page):
    with pytest.raises(ValueError, match="preset='phone', must be one of ci, laptop"):
        page(preset="phone")


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
        claims.read_records(tmp_path)


COMMITTED = sorted((ROOT / "figures").glob("*/*.json"))


@pytest.mark.skipif(not COMMITTED, reason="no curated figures in this checkout")
def test_committed_figures_are_whole():
    records = claims.read_records(ROOT / "figures")
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
