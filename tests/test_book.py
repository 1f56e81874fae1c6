"""The runner, on tiny chapters in a folder of their own."""

import json
import os

import nbformat
import pytest

from pudm_lib.book import execute
from pudm_lib.book import runner as book
from pudm_lib.book.chapters import parse_settings, solutions
from pudm_lib.book.fresh import alone, publish
from pudm_lib.machine import paths

HEAD = '# %% tags=["parameters"]\npreset = "laptop"\n'


def write_chapter(project, name: str, parameters: str, *cells: str):
    text = HEAD + parameters + "".join(f"\n# %%\n{cell}\n" for cell in cells)
    (project / "notebooks" / f"{name}.py").write_text(text)


def write_figure(folder, name: str, preset: str, words: str = "new"):
    folder.mkdir(parents=True, exist_ok=True)
    record = {"figure": name, "preset": preset, "claims": [], "words": words}
    (folder / f"{name}.json").write_text(json.dumps(record))
    (folder / f"{name}.png").write_bytes(words.encode())


@pytest.fixture
def two_chapters(project):
    write_chapter(project, "01_first", "beta = 0.1\nseeds = [0, 1]", "beta")
    write_chapter(project, "02_second", "beta = 0.1\nsteps = 5\nname = 'a'", "steps")
    return project


def test_project_root_is_where_pudm_root_says(project):
    assert paths.project_root() == project
    assert paths.runs_root() == project / "runs"


@pytest.mark.parametrize(
    "text, value",
    [
        ("beta=0.2", 0.2),
        ("beta=1e-4", 1e-4),
        ("seeds=[0,1]", [0, 1]),
        ("dataset=mnist", "mnist"),
        ("normal=cat,dog", "cat,dog"),
        ("rate=1=2", "1=2"),
        ("seeds=[0, 1]", [0, 1]),
        ("dataset=my pictures/a = b", "my pictures/a = b"),
        ("beta={[]: 1}", "{[]: 1}"),
    ],
)
def test_settings_are_literals_or_words(text, value):
    name = text.partition("=")[0]
    assert parse_settings(text) == {name: value}
    assert parse_settings(f"first=[1, 2]  {text}\tlast=3") == (
        {"first": [1, 2], name: value, "last": 3}
    )


@pytest.mark.parametrize("text", ["", "beta", "beta=", "=0.2", "a, b=1", "beta x=1"])
def test_a_setting_without_name_or_value_is_refused(text):
    with pytest.raises(ValueError, match="must be name=value"):
        parse_settings(text)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"betta": 0.2}, "no parameter 'betta' in any chapter; there are: beta, name"),
        ({"beta": "high"}, "beta='high' for 01_first, must be of the type .* 0.1"),
        ({"beta": True}, "beta=True"),
        ({"steps": 1.5}, r"steps=1.5 for 02_second, must be .* 5 \(int\)"),
        ({"steps": False}, "steps=False"),
        ({"name": 3}, "name=3"),
        ({"seeds": 3}, "seeds=3"),
        ({"seeds": [0, "one"]}, "seeds="),
        ({"seeds": [0.5]}, "seeds="),
        ({"seeds": []}, "seeds=.., must be a list of 2 or more"),
        ({"seeds": [1, 1]}, "seeds=.1, 1., must be a list of 2 or more"),
        ({"seeds": [0, -1]}, "seeds=.0, -1., must be >= 0"),
        ({"steps": 0}, "steps=0, must be >= 1"),
        ({"steps": -(10**50)}, r"steps=-10+\.\.\.0+, must be >= 1"),
        ({"beta": float("inf")}, "beta=inf, must be finite"),
        ({"beta": float("nan")}, "beta=nan, must be finite"),
        (
            {"beta": "-" * 1000},
            r"beta='-+\.\.\.-+' for 01_first, must be .* 0.1 .float",
        ),
        ({"preset": "gpu"}, "--preset"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(
    two_chapters, settings, message
):
    with pytest.raises(ValueError, match=message):
        book.run_book("laptop", settings=settings)
    assert not (two_chapters / "build").exists()


def test_a_parameter_of_another_chapter_is_refused(two_chapters):
    with pytest.raises(ValueError, match="no parameter 'steps' in 01_first"):
        book.run_book("laptop", only=["1"], settings={"steps": 3})


def test_unknown_preset_and_chapter_are_refused(two_chapters):
    with pytest.raises(ValueError, match="'lap', must be one of ci, laptop"):
        book.run_book("lap")
    with pytest.raises(ValueError, match="no chapter '7'; there are: 01_first, 02_"):
        book.run_book("ci", only=["01", "7"])


def test_settings_go_to_the_chapters_that_have_them(two_chapters):
    first, second = book.chapters()
    settings = {"beta": 1, "seeds": (3, 4)}
    assert book.settings_of(first, "ci", settings) == {
        "preset": "ci",
        "beta": 1,
        "seeds": [3, 4],
    }
    assert book.settings_of(second, "ci", settings) == {"preset": "ci", "beta": 1}


@pytest.mark.parametrize("only", ["02", "2", "02_second", "02_second.py"])
def test_a_chapter_is_found_by_number_and_name(two_chapters, only):
    assert [chapter.name for chapter in book.chapters([only])] == ["02_second"]


def test_a_book_without_chapters_is_refused(project):
    with pytest.raises(ValueError, match="no chapters"):
        book.chapters()


def test_derived_parameters_are_refused(project):
    write_chapter(project, "01_first", "a = 1\ntwice = 2 * a")
    with pytest.raises(ValueError, match="name = literal"):
        book.chapters()


def test_run(project, monkeypatch, capsys):
    """A failed chapter is named by its cell, and the chapters after it still run."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    write_chapter(
        project, "01_fails", "beta = 0.1", "# why\nhalf = beta / 2", "1 / 0", "late = 1"
    )
    write_chapter(
        project,
        "02_runs",
        "beta = 0.1",
        "import os\nfrom pathlib import Path\nfrom pudm_lib.machine import paths\n"
        "assert preset == 'ci' and beta == 0.3\n"
        "assert paths.headless() and 'inline' in os.environ['MPLBACKEND']\n"
        "assert Path.cwd().name == 'notebooks'\n"
        "folder = paths.figures_root() / preset\n"
        "folder.mkdir(parents=True, exist_ok=True)\n"
        "print(sorted(p.name for p in folder.iterdir()), folder.is_absolute())\n"
        "(folder / '02_new.json').write_text('{}')",
    )
    monkeypatch.chdir(project)
    monkeypatch.setenv("PUDM_FIGURES", "pictures")  # relative to here, not to notebooks
    write_figure(project / "pictures" / "ci", "02_stale", "ci")
    write_figure(project / "pictures" / "gpu", "02_other_preset", "gpu")
    before = dict(os.environ)

    assert not book.run_book("ci", settings={"beta": 0.3})

    log = capsys.readouterr().out
    assert "FAILED 01_fails, cell 3 `1 / 0`: ZeroDivisionError: division by zero" in log
    table = {
        x.split()[0]: x.split()[1] for x in log.splitlines() if len(x.split()) == 3
    }
    assert table["01_fails"] == "FAILED" and table["02_runs"] == "ok"
    assert "\r" not in log, "no rewritten lines in a log file"
    executed = nbformat.read(project / "build" / "book" / "02_runs.ipynb", 4)
    assert executed.cells[-1].outputs[0].text == "[] True\n", "stale figures were left"
    assert (project / "pictures" / "ci" / "02_new.json").exists()
    assert (project / "pictures" / "gpu" / "02_other_preset.png").exists()
    assert dict(os.environ) == before


def test_a_run_of_one_chapter_keeps_the_figures_of_others(two_chapters, monkeypatch):
    monkeypatch.setattr(
        book, "run_chapter", lambda _, c, *__: book.ChapterRun(c.name, 0.0)
    )
    folder = two_chapters / "build" / "figures" / "laptop"
    for name in ("01_a", "02_a"):
        write_figure(folder, name, "laptop")
    book.run_book("laptop", only=["02"])
    assert {file.stem for file in folder.iterdir()} == {"01_a"}


def test_an_unwritable_build_folder_is_refused_at_once(two_chapters):
    (two_chapters / "build").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cannot write in .*build/book"):
        book.run_book("ci")


def test_figures_are_published_only_if_every_chapter_passed(
    two_chapters, monkeypatch, capsys
):
    def fails(_, chapter, *__):
        write_figure(paths.figures_root() / "laptop", "01_new", "laptop")
        error = "cell 2" if chapter.name == "02_second" and broken else ""
        return book.ChapterRun(chapter.name, 1.0, error)

    monkeypatch.setattr(book, "run_chapter", fails)
    curated = two_chapters / "figures" / "laptop"
    write_figure(curated, "01_old", "laptop")
    broken = True
    assert not book.run_book("laptop", publish_after=True)
    assert "not published" in capsys.readouterr().out
    assert {file.stem for file in curated.iterdir()} == {"01_old"}
    broken = False
    assert book.run_book("laptop", publish_after=True)
    assert {file.stem for file in curated.iterdir()} == {"01_new"}


def test_preset_ci_is_never_published(two_chapters):
    write_figure(paths.figures_root() / "ci", "01_new", "ci")
    with pytest.raises(ValueError, match="ci"):
        publish("ci", ["01_first", "02_second"])
    with pytest.raises(ValueError, match="ci"):
        book.run_book("ci", publish_after=True)
    assert not (two_chapters / "figures").exists()


def test_figures_of_another_preset_are_not_published(two_chapters):
    write_figure(paths.figures_root() / "gpu", "01_new", "laptop")
    with pytest.raises(ValueError, match="made under preset 'laptop', must be 'gpu'"):
        publish("gpu", ["01_first"])
    with pytest.raises(ValueError, match="nothing to publish"):
        publish("paper", ["01_first"])
    assert not (two_chapters / "figures").exists()


def test_publishing_one_chapter_keeps_the_others_and_drops_the_gone(two_chapters):
    made, curated = paths.figures_root() / "gpu", two_chapters / "figures" / "gpu"
    for name in ("01_old", "02_old", "07_of_a_chapter_that_is_gone"):
        write_figure(curated, name, "gpu", "old")
    for name in ("01_not_from_this_run", "02_new"):
        write_figure(made, name, "gpu")
    laptop = two_chapters / "figures" / "laptop"
    write_figure(laptop, "01_laptop", "laptop")
    publish("gpu", ["02_second"])
    kept = {f"{name}.{end}" for name in ("01_old", "02_new") for end in ("json", "png")}
    assert {file.name for file in curated.iterdir()} == kept
    assert sorted(f.name for f in curated.parent.iterdir()) == ["gpu", "laptop"]
    assert (laptop / "01_laptop.png").exists()


def test_solutions_are_the_python_of_the_solution_blocks(project):
    text = (
        "# %% [markdown]\n# <details><summary>Answer</summary>\n# ```python\n# no = 1\n"
        "# ```\n# </details>\n# <details><summary>Solution</summary>\n# Because.\n"
        "# ```python\n# yes = 1\n# ```\n# </details>\n"
    )
    path = project / "notebooks" / "01_first.py"
    path.write_text(HEAD + text)
    assert solutions(book.chapters()[0].notebook) == ["yes = 1\n"]
    (copy,) = book.nbval_copies(project / "copies")
    cells = nbformat.read(copy, 4).cells
    assert [c.source for c in cells if "yes" in c.source and c.cell_type == "code"]


def test_a_chapter_in_which_nothing_changed_is_not_run_again(project, capsys):
    write_chapter(
        project,
        "01_first",
        "beta = 0.1",
        "from pudm_lib.machine import paths\n"
        "folder = paths.figures_root() / preset\n"
        "folder.mkdir(parents=True, exist_ok=True)\n"
        "_ = (folder / '01_a.json').write_text(str(beta))",
    )

    def ran(**options):
        assert book.run_book("ci", **options)
        return "up to date" not in capsys.readouterr().out

    assert ran()
    assert not ran()
    assert ran(again=True)
    assert ran(settings={"beta": 0.2}), "another parameter is another run"
    assert not ran(settings={"beta": 0.2})
    (paths.figures_root() / "ci" / "01_a.json").write_text("changed by hand")
    assert ran(settings={"beta": 0.2}), "a figure that was touched is made again"
    path = project / "notebooks" / "01_first.py"
    path.write_text(path.read_text() + "\n# %%\nbeta\n")
    assert ran(settings={"beta": 0.2}), "a changed cell is run"


class Kernels:
    """In place of papermill: writes a figure and does what it is told to."""

    def __init__(self, monkeypatch):
        self.then = lambda: None
        monkeypatch.setattr(execute, "execute_notebook", self)

    def __call__(self, notebook, executed, parameters, on_cell_start, **_):
        paths.write_atomically(executed, nbformat.writes(notebook))
        write_figure(paths.figures_root() / "ci", "01_a", "ci")
        for cell in notebook.cells:
            on_cell_start(cell)
        self.then()
        return notebook


@pytest.fixture
def kernels(project, monkeypatch):
    write_chapter(project, "01_first", "beta = 0.1", "beta")
    return Kernels(monkeypatch)


def up_to_date(capsys) -> bool:
    capsys.readouterr()
    assert book.run_book("ci")
    return "up to date" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [ValueError("no"), OSError("disk full"), KeyboardInterrupt(), SystemExit()]
)
def test_what_was_cut_off_is_not_up_to_date_and_says_so(
    kernels, project, capsys, error
):
    assert not up_to_date(capsys) and up_to_date(capsys)
    (project / "build" / "book" / "01_first.ipynb.half").write_text(
        "of a killed writer"
    )

    def fail():
        raise error

    kernels.then = fail
    if isinstance(error, Exception):
        assert not book.run_book("ci", again=True)
        (where,) = [x for x in capsys.readouterr().out.splitlines() if "FAILED 01" in x]
        assert ("cell 2" in where) is isinstance(error, ValueError), "no cell's fault"
    else:
        with pytest.raises(type(error)):
            book.run_book("ci", again=True)
    files = sorted((project / "build" / "book").iterdir())
    assert [f.name for f in files if f.name[0] != "."] == ["01_first.ipynb"]
    first = nbformat.read(project / "build" / "book" / "01_first.ipynb", 4).cells[0]
    assert first.source.startswith("**This copy is not whole") and "(" in first.source
    kernels.then = lambda: None
    assert not up_to_date(capsys)
    whole = (project / "build" / "book" / "01_first.ipynb").read_text()
    assert "not whole" not in whole
    assert up_to_date(capsys)


def test_a_chapter_killed_outright_is_not_up_to_date(kernels, project, capsys):
    assert not up_to_date(capsys)
    note = project / "build" / "book" / "01_first.made.json"

    def killed():
        assert not note.exists(), "the note goes before the chapter runs"
        copy = (project / "build" / "book" / "01_first.ipynb").read_text()
        assert "not whole" in copy, "whatever comes now"

    kernels.then = killed
    assert book.run_book("ci", again=True)
    assert note.exists()


def test_a_figure_that_went_away_meanwhile_fails_its_chapter(kernels, capsys):
    picture = paths.figures_root() / "ci" / "01_a.png"
    kernels.then = lambda: picture.unlink()
    assert not book.run_book("ci")
    assert "01_a.png in" in capsys.readouterr().out
    kernels.then = lambda: None
    assert not up_to_date(capsys)
    picture.unlink()
    assert not up_to_date(capsys)


def test_one_book_at_a_time(kernels, project, monkeypatch):
    folder = project / "build" / "book"
    folder.mkdir(parents=True)
    with alone(folder):
        with pytest.raises(RuntimeError, match=rf"written by process {os.getpid()} \("):
            book.run_book("ci")
    # Another build, the same figures.
    paths.figures_root().mkdir(exist_ok=True)
    with alone(paths.figures_root()):
        with pytest.raises(RuntimeError, match=r"build/figures is being written by"):
            book.run_book("ci")
    assert book.run_book("ci"), "a lock ends with its holder"


def test_committed_figures_are_not_run_over(kernels, project, monkeypatch):
    write_figure(project / "figures" / "ci", "01_a", "ci", "committed")
    monkeypatch.setenv("PUDM_FIGURES", str(project / "figures"))
    with pytest.raises(ValueError, match="over the committed ones in"):
        book.run_book("ci")
    assert (project / "figures" / "ci" / "01_a.png").read_text() == "committed"
