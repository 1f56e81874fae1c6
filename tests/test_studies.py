"""Long measurements are read from the committed figures, or made; never mixed up."""

import json
from functools import partial

import pytest

from pudm_lib.book import committed as studies
from pudm_lib.book import fresh as uptodate
from pudm_lib.book import runner as book
from pudm_lib.book.page import Page


def never():
    raise AssertionError("measured although it was committed")


def commit(project, name="06_grid", preset="laptop", **parameters):
    folder = project / "figures" / preset
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "parameters": {"dataset": "digits", **parameters},
        "environment": {"device": "a machine"},
        "numbers": {"rates": [0.5]},
    }
    (folder / f"{name}.json").write_text(json.dumps(record))
    return record


def ask(measure, studies_word="committed", preset="laptop", **settings):
    return studies.study(
        "06_grid", measure, studies=studies_word, preset=preset, made_for=settings
    )


@pytest.mark.parametrize("preset", ["laptop", "ci"])
def test_a_committed_study_is_read(project, preset):
    record = commit(project)
    assert ask(never, preset=preset, dataset="digits") == (record["numbers"], record)


def test_a_measured_study_is_measured_even_if_there_is_a_committed_one(project):
    commit(project)
    assert ask(lambda: {"rates": [0.9]}, "measured") == ({"rates": [0.9]}, None)


def test_a_study_of_other_settings_is_refused(project):
    commit(project)
    with pytest.raises(
        ValueError,
        match=r"06_grid\.json was measured for dataset='digits', not 'mnist': .*here",
    ):
        ask(never, dataset="mnist")


def test_a_study_that_is_not_committed_is_refused(project):
    with pytest.raises(ValueError, match=r"06_grid\.json is not there: .*takes long"):
        ask(never, preset="gpu")


def test_a_study_of_a_set_that_is_not_here_is_read(project):
    record = commit(project, dataset="mnist")
    ask_of = partial(
        studies.study, "06_grid", preset="gpu", made_for={"dataset": "mnist"}
    )
    asked = ask_of(never, studies="measured", dataset="mnist")
    assert asked == (record["numbers"], record)
    measured = ask_of(lambda: {"rates": [1]}, studies="measured", dataset="digits")
    assert measured == ({"rates": [1]}, None)
    assert ask_of(never, studies="committed", dataset="digits")[1] == record


def test_another_word_is_refused(project):
    with pytest.raises(ValueError, match="'both', must be one of committed, measured"):
        ask(never, "both")


def test_a_loaded_figure_says_where_its_numbers_were_made(project, monkeypatch):
    monkeypatch.setenv("PUDM_FIGURES", str(project / "build"))
    text = '# %% tags=["parameters"]\npreset = "laptop"\nstudies = "committed"\n'
    (project / "notebooks" / "06_choose.py").write_text(text)
    record = commit(project, seeds=[0, 1])
    page = Page("06_choose", {"preset": "laptop", "studies": "committed"})
    numbers, read = page.study("06_grid", never, made_for={"seeds": [0, 1]})
    with page.figure("06_grid", record=read) as (fig, _):
        fig.numbers(**numbers)
        fig.alt("words")
    shown = json.loads((project / "build/laptop/06_grid.json").read_text())
    assert shown["environment"] == {"device": "a machine"}
    assert shown["parameters"] == record["parameters"]
    assert shown["numbers"] == record["numbers"]


@pytest.fixture
def chapter(project):
    text = '# %% tags=["parameters"]\npreset = "laptop"\nstudies = "committed"\n'
    (project / "notebooks" / "06_choose.py").write_text(text)
    return book.chapters()[0]


def test_publishing_measures_what_others_read(chapter, monkeypatch):
    given = {}

    def run_chapter(_, chapter, parameters):
        given.update(parameters)
        return book.ChapterRun(chapter.name, 0.0)

    monkeypatch.setattr(book, "run_chapter", run_chapter)
    monkeypatch.setattr(book, "publish", lambda *_: "somewhere")
    book.run_book("laptop")
    assert given == {"preset": "laptop"}
    book.run_book("laptop", publish_after=True)
    assert given == {"preset": "laptop", "studies": "measured"}
    book.run_book("laptop", publish_after=True, settings={"studies": "committed"})
    assert given["studies"] == "committed"


def test_a_chapter_runs_again_when_what_it_reads_has_changed(chapter, project):
    parameters = {"preset": "laptop"}
    before = uptodate.fingerprint(chapter, parameters)
    commit(project)
    after = uptodate.fingerprint(chapter, parameters)
    assert after != before
    measured = {"preset": "laptop", "studies": "measured"}
    without = uptodate.fingerprint(chapter, measured)
    commit(project, seeds=[5])
    assert uptodate.fingerprint(chapter, parameters) != after
    assert uptodate.fingerprint(chapter, measured) == without
