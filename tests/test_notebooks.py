"""What every chapter must have and must not have; nbval runs them (see Makefile)."""

import ast
import json
import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from conftest import BUILD, ROOT

from pudm_lib.book import claims
from pudm_lib.book.chapters import chapters, read_chapter, solutions
from pudm_lib.book.runner import nbval_copies, run_book

SOURCES = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.ipynb"))
MAXIMUM_LINES, MAXIMUM_WIDTH, MOST_IMPORTS = 20, 100, 8

# What to keep out: (what it does, pattern, in cells of this type).
IGNORE = r"""(filter|simplefilter)\w*\(\s*["']ignore["']\s*\)"""
ABSOLUTE = r"""["'](/[a-z]+/|~/|[A-Z]:\\)"""
ELSEWHERE = r"!\[[^]]*\]\(https?:|<img[^>]+https?:"
KEPT_OUT = [
    ("installs packages", r"^\s*[!%]\s*pip|pip install", "code"),
    ("changes the working directory", r"os\.chdir|^\s*%cd", "code"),
    ("edits sys.path", r"sys\.path", "code"),
    ("names an absolute path", ABSOLUTE, "code"),
    ("hides all warnings", IGNORE, "code"),
    ("shows a picture from elsewhere", ELSEWHERE, "markdown"),
    ("holds a base64 picture", r"base64,", "markdown"),
    ("says what is easy", r"\b(simply|obviously)\b", "markdown"),
]

# A figure is made where its block begins.
FIGURE = re.compile(r"^ *with page\.figure\(", re.M)

each_chapter = pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)


def of_type(notebook, kind: str) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def prose(source: Path) -> str:
    return "\n".join(of_type(jupytext.read(source), "markdown"))


def content(notebook) -> list[tuple]:
    return [
        (cell.cell_type, cell.source, cell.metadata.get("tags", []))
        for cell in notebook.cells
    ]


def test_there_are_chapters():
    assert SOURCES


def test_every_source_has_a_notebook_and_the_other_way_round():
    made = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert made == {path.stem for path in SOURCES}


@each_chapter
def test_pair_is_equal(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert content(notebook) == content(jupytext.read(source)), "run `make pair`"


@each_chapter
def test_notebook_is_committed_without_outputs(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        # Jupytext's own mark of an empty line in the .py is harmless.
        assert set(cell.metadata) <= {"tags", "lines_to_next_cell"}, cell.source
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, cell.source
        assert "attachments" not in cell, cell.source


@each_chapter
def test_parameters(source):
    chapter = read_chapter(source)  # refuses none, two, and what is not a literal
    assert next(iter(chapter.parameters)) == "preset"
    assert chapter.parameters["preset"] == "laptop"
    json.dumps(chapter.parameters)  # papermill writes them into the notebook
    tagged = [
        i
        for i, cell in enumerate(chapter.notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    assert tagged[0] < 6, "the parameters come early"


def calls_of(code: str, name: str) -> list[ast.Call]:
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [c for c in calls if ast.unparse(c.func) == name]


@each_chapter
def test_figures_have_alternative_texts(source):
    for code in of_type(jupytext.read(source), "code"):
        figures, texts = len(FIGURE.findall(code)), calls_of(code, "fig.alt")
        assert figures == len(texts), f"{source.stem}, one text a figure:\n{code}"
        for call in texts:
            # Measured numbers may be set into it, but there has to be a sentence.
            words = [c.value for c in ast.walk(call) if isinstance(c, ast.Constant)]
            sentence = "".join(word for word in words if isinstance(word, str))
            assert len(sentence.strip()) >= 30, f"{source.stem}:\n{code}"


@each_chapter
def test_cells_fit_on_a_screen(source):
    for code in of_type(jupytext.read(source), "code"):
        lines = [x for x in code.splitlines() if x.strip()]
        assert len(lines) <= MAXIMUM_LINES, f"{source.stem}:\n{code}"
        assert max(map(len, lines)) <= MAXIMUM_WIDTH, f"{source.stem}:\n{code}"
        assert "fmt: skip" not in code and "fmt: off" not in code


@each_chapter
def test_imports_are_few(source):
    codes = of_type(jupytext.read(source), "code")
    nodes = [node for code in codes for node in ast.walk(ast.parse(code))]
    imports = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    assert len(imports) <= MOST_IMPORTS


@each_chapter
def test_a_page_reads_the_parameters_and_ends_in_a_verdict(source):
    codes = of_type(jupytext.read(source), "code")
    made = [i for i, code in enumerate(codes) if "pu.Page(" in code]
    assert len(made) == 1
    assert f'page = pu.Page("{source.stem}", globals()' in codes[made[0]]
    assert sum("page.verdict()" in code for code in codes) == 1


@each_chapter
@pytest.mark.parametrize("what, pattern, kind", KEPT_OUT, ids=[k[0] for k in KEPT_OUT])
def test_kept_out(source, what, pattern, kind):
    for text in of_type(jupytext.read(source), kind):
        found = re.search(pattern, text, flags=re.MULTILINE | re.IGNORECASE)
        assert found is None, f"{source.stem} {what}: {found.group()!r}"


@each_chapter
def test_links_lead_somewhere(source):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(source)):
        if re.match(r"https?:|mailto:|#", target):
            continue
        file = source.parent / target.partition("#")[0]
        assert file.exists(), f"{source.stem} links to {target}"
        assert file.resolve().is_relative_to(ROOT), target


@each_chapter
def test_required_sections(source):
    text = prose(source)
    assert text.startswith("# "), "a title first"
    for words in ("You will do", "You will learn", "You need", "Time"):
        assert re.search(rf"^[>|] \*\*{words}", text, flags=re.M), f"box: {words}"
    for heading in ("What could go wrong", "Limits", "Exercises"):
        assert re.search(rf"^##+ .*{heading}", text, flags=re.M), heading
    assert text.count("<details>") == text.count("</details>")


@each_chapter
def test_exercises_have_solutions_that_compile(source):
    found = solutions(jupytext.read(source))
    assert 3 <= len(found) <= 5
    for code in found:
        compile(code, source.stem, "exec")


def test_nbval_gets_every_chapter_with_its_solutions(tmp_path):
    (tmp_path / "99_gone.ipynb").write_text("left from a chapter that was renamed")
    copies = nbval_copies(tmp_path)
    assert sorted(tmp_path.glob("*.ipynb")) == copies
    assert [copy.stem for copy in copies] == [source.stem for source in SOURCES]
    for chapter, copy in zip(chapters(), copies, strict=True):
        cells = of_type(nbformat.read(copy, as_version=4), "code")
        injected = [c for c in cells if c.startswith("# Parameters\npreset")]
        assert len(injected) == 1 and 'preset = "ci"' in injected[0]
        wanted = solutions(chapter.notebook)
        assert cells[len(cells) - len(wanted) :] == wanted


def test_nbval_of_make_test_compares_the_same_folder():
    assert (
        f"COPIES := {(BUILD / 'nbval').relative_to(ROOT)}\n"
        in (ROOT / "Makefile").read_text()
    )


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_notebooks_have_outputs(path):
    # nbval compares nothing in a cell that has never run, and says that it passed.
    cells = [
        cell
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and "print(" in cell.source
    ]
    assert cells
    for cell in cells:
        assert cell.outputs and cell.execution_count, cell.source


def test_there_are_golden_notebooks():
    assert GOLDEN


def pictures_in(executed) -> list[str]:
    """The alternative texts of the pictures that an executed chapter shows."""
    outputs = [o for c in executed.cells for o in c.get("outputs", [])]
    shown = [o for o in outputs if "image/png" in o.get("data", {})]
    return [o.metadata.get("image/png", {}).get("alt", "") for o in shown]


def test_an_executed_chapter_shows_each_figure_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PUDM_BUILD", str(tmp_path))
    monkeypatch.setenv("PUDM_FIGURES", str(tmp_path / "figures"))
    assert run_book("ci", only=["00"])
    executed = nbformat.read(tmp_path / "book" / "00_start_here.ipynb", as_version=4)
    records = claims.read_records(tmp_path / "figures" / "ci")
    assert sorted(pictures_in(executed)) == sorted(r["alt"] for r in records)
    assert len(records) == 2
