"""Reading changes nothing, and what an author saves is clean; without a browser."""

import hashlib
import json
from pathlib import Path

import jupytext
import nbformat
import pytest
from conftest import ROOT
from jupyterlab.labapp import LabApp
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from traitlets.config import Config

from pudm_lib.book import lab
from pudm_lib.machine import paths

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python"}
KERNEL |= {"name": "python3"}
CHAPTER = "00_start_here.ipynb"
NEW = "00_start_here_new.ipynb"


def write(path: Path, *codes: str, output: str = "", **metadata) -> None:
    cells = [new_markdown_cell("# Title"), *map(new_code_cell, codes)]
    if output:
        cells[1].outputs = [new_output("stream", text=output)]
        cells[1].execution_count = 1
    metadata = {"kernelspec": KERNEL} | metadata
    nbformat.write(new_notebook(cells=cells, metadata=metadata), path)


def code_of(path: Path) -> str:
    return nbformat.read(path, 4).cells[1].source


@pytest.fixture
def source(project) -> Path:
    write(project / "notebooks" / CHAPTER, "x = 1")
    return project / "notebooks" / CHAPTER


@pytest.fixture
def folder(project) -> Path:
    return project / "build" / "lab"


def seen_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_a_reader_sees_the_notebooks_and_nothing_else(source, folder):
    (source.parent / "00_start_here.py").write_text("# the source")
    write(source.with_name("01_noise.ipynb"), "y = 1")
    assert lab.refresh_copies(folder) == []
    assert seen_in(folder) == [CHAPTER, "01_noise.ipynb"]
    assert (folder / CHAPTER).read_bytes() == source.read_bytes()


def test_a_copy_that_was_only_read_follows_the_book(source, folder):
    lab.refresh_copies(folder)
    # JupyterLab's save after a run: outputs, and what it knows of the machine.
    write(folder / CHAPTER, "x = 1", output="1", language_info={"name": "python"})
    read = (folder / CHAPTER).read_bytes()
    assert lab.refresh_copies(folder) == []
    assert (folder / CHAPTER).read_bytes() == read  # nothing new: outputs stay
    for code in ("x = 2", "x = 3"):
        write(source, code)
        assert lab.refresh_copies(folder) == []
        assert code_of(folder / CHAPTER) == code


def test_changes_are_kept_and_the_newer_chapter_stands_beside(source, folder):
    lab.refresh_copies(folder)
    write(folder / CHAPTER, "x = 1  # mine", output="1")
    mine = (folder / CHAPTER).read_bytes()
    assert lab.refresh_copies(folder) == []  # the book has nothing newer
    assert seen_in(folder) == [CHAPTER]
    write(source, "x = 2")
    (line,) = lab.refresh_copies(folder)
    assert line == f"{CHAPTER} has changes of yours and stays; new: {NEW}"
    assert code_of(folder / NEW) == "x = 2"
    assert lab.refresh_copies(folder) == []  # said once
    write(source, "x = 3")
    assert lab.refresh_copies(folder) == [line]  # and itself refreshed
    assert code_of(folder / NEW) == "x = 3"
    assert (folder / CHAPTER).read_bytes() == mine
    assert seen_in(folder) == [CHAPTER, NEW]


def test_the_newer_one_is_kept_too_when_it_is_changed_or_thrown_away(source, folder):
    lab.refresh_copies(folder)
    write(folder / CHAPTER, "mine")
    write(source, "x = 2")
    lab.refresh_copies(folder)
    (folder / NEW).unlink()
    assert lab.refresh_copies(folder) == [] and seen_in(folder) == [CHAPTER]
    write(source, "x = 3")
    lab.refresh_copies(folder)
    write(folder / NEW, "mine again")
    write(source, "x = 4")
    (line,) = lab.refresh_copies(folder)
    assert line.endswith("new: 00_start_here_new2.ipynb")
    assert code_of(folder / NEW) == "mine again"


def test_who_takes_the_newer_one_over_follows_the_book_again(source, folder):
    lab.refresh_copies(folder)
    write(folder / CHAPTER, "mine")
    write(source, "x = 2")
    lab.refresh_copies(folder)
    (folder / NEW).replace(folder / CHAPTER)
    assert lab.refresh_copies(folder) == []
    write(source, "x = 3")
    assert lab.refresh_copies(folder) == []
    assert code_of(folder / CHAPTER) == "x = 3" and seen_in(folder) == [CHAPTER]


def test_a_copy_that_was_thrown_away_comes_back(source, folder):
    lab.refresh_copies(folder)
    (folder / CHAPTER).unlink()
    assert lab.refresh_copies(folder) == []
    assert code_of(folder / CHAPTER) == "x = 1"


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"cells": [{}]}', "\xff"])
def test_a_file_that_is_no_notebook_is_kept(source, folder, damage):
    folder.mkdir(parents=True)
    (folder / CHAPTER).write_text(damage, encoding="latin-1")
    (line,) = lab.refresh_copies(folder)
    assert line.endswith(f"new: {NEW}")
    assert (folder / CHAPTER).read_text(encoding="latin-1") == damage


@pytest.mark.parametrize("damage", ["", "[]", '{"00_start_here.ipynb": 3}'])
def test_without_the_record_nothing_is_overwritten(source, folder, damage):
    lab.refresh_copies(folder)
    (folder / lab.OWN / "given.json").write_text(damage)
    write(source, "x = 2")
    assert len(lab.refresh_copies(folder)) == 1
    assert code_of(folder / CHAPTER) == "x = 1" and code_of(folder / NEW) == "x = 2"


@pytest.mark.parametrize("place", [".", "notebooks", "notebooks/mine", "mine"])
def test_a_folder_in_the_book_is_refused(source, project, place, capsys):
    assert lab.main(["--read", str(project / place)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str((project / place).resolve()) in error
    assert str(project / "build") in error
    assert [p.name for p in project.rglob("*.ipynb")] == [CHAPTER]


def test_a_place_that_is_no_folder_or_an_empty_book_is_one_line(source, capsys):
    (source.parents[1] / "build").mkdir()
    (source.parents[1] / "build" / "lab").write_text("a file")
    assert lab.main([]) == 2
    assert "cannot write in" in capsys.readouterr().err
    (source.parents[1] / "build" / "lab").unlink()
    source.unlink()
    assert lab.main([]) == 2
    assert "no chapters" in capsys.readouterr().err


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """The commands that this process would have become."""
    commands = []
    monkeypatch.setattr(lab.os, "execv", lambda _, command: commands.append(command))
    return commands


def app_of(command: list[str], monkeypatch, tmp_path) -> LabApp:
    """JupyterLab as it understands that command, not started."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    app = LabApp()
    app.parse_command_line([x for x in command[3:] if x.startswith("--LabApp")])
    return app


@pytest.mark.parametrize("arguments", [[], ["--edit"]])
def test_jupyterlab_is_told_to_call_nobody(
    source, started, monkeypatch, tmp_path, arguments
):
    lab.main([*arguments, "--no-browser"])
    (command,) = started
    assert command[-1] == "--no-browser"
    app = app_of(command, monkeypatch, tmp_path)
    assert app.news_url is None
    assert app.check_for_updates_class.__name__ == "NeverCheckForUpdate"
    assert app.extension_manager == "readonly"


def test_it_opens_on_the_first_chapter(source, started, project, tmp_path, capsys):
    lab.main(["--read", str(tmp_path.parent / "a reader's")])
    lab.main(["--edit"])
    read, edit = started
    folder = tmp_path.parent / "a reader's"
    assert f"--ServerApp.root_dir={folder}" in read
    assert f"--LabApp.default_url=/lab/tree/{CHAPTER}" in read
    assert capsys.readouterr().out == f"your copies are in {folder}\n"
    assert f"--ServerApp.root_dir={project}" in edit
    assert f"--LabApp.default_url=/lab/tree/notebooks/{CHAPTER}" in edit


@pytest.fixture
def contents(project, started):
    """What serves an author's JupyterLab, in a project with chapter 00 as it is."""
    (project / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for suffix in (".py", ".ipynb"):
        file = (project / "notebooks" / CHAPTER).with_suffix(suffix)
        file.write_bytes((ROOT / "notebooks" / file.name).read_bytes())
    lab.main(["--edit"])
    (option,) = [x for x in started[0] if x.startswith("--ContentsManager")]
    name, _, hook = option.partition("=")
    assert name == "--ContentsManager.pre_save_hook"
    manager = jupytext.TextFileContentsManager(
        config=Config(ContentsManager={"pre_save_hook": hook})
    )
    manager.root_dir = str(project)
    return manager


def files_of(project: Path) -> dict[str, str]:
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (project / "notebooks").iterdir()
        if p.is_file()
    }


def run_in_lab(model: dict) -> None:
    """What JupyterLab puts into a notebook that is run."""
    notebook = model["content"]
    notebook.metadata["kernelspec"] = KERNEL
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    notebook.metadata["widgets"] = {"state": {}}
    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata["trusted"] = True
        if cell.cell_type == "code":
            cell.metadata["execution"] = {"iopub.status.busy": "now"}
            cell.metadata["collapsed"] = False
            cell.execution_count = number
            cell.outputs = [new_output("stream", text="out")]


def test_an_authors_save_leaves_only_the_authors_change(contents, project):
    before, path = files_of(project), f"notebooks/{CHAPTER}"
    for _ in range(2):
        model = contents.get(path)
        run_in_lab(model)
        contents.save(model, path)
        assert files_of(project) == before
    model = contents.get(path)
    run_in_lab(model)
    (code, *_) = [c for c in model["content"].cells if c.cell_type == "code"]
    code.source += "\nadded = 1"
    contents.save(model, path)
    for suffix in (".py", ".ipynb"):
        old = (ROOT / path).with_suffix(suffix).read_text().splitlines()
        new = (project / path).with_suffix(suffix).read_text().splitlines()
        added = [line for line in new if line not in old]
        assert [x for x in added if "added = 1" not in x] in (
            [],
            ['    "import pudm_lib as pu\\n",'],  # no longer the last of its cell
        )
        assert len(new) == len(old) + 1


def test_other_notebooks_keep_their_outputs(contents, project):
    # tests/golden has outputs that must stay.
    (project / "other").mkdir()
    write(project / "other" / "golden.ipynb", "1", output="1")
    contents.save(contents.get("other/golden.ipynb"), "other/golden.ipynb")
    saved = json.loads((project / "other" / "golden.ipynb").read_text())
    assert saved["cells"][1]["outputs"]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=str)
def test_committed_metadata_is_what_jupyterlab_and_make_pair_write(path):
    metadata = nbformat.read(path, 4).metadata
    assert metadata.pop("kernelspec") == KERNEL
    assert metadata == {
        "jupytext": {
            "cell_metadata_filter": "tags,-all",
            "notebook_metadata_filter": "kernelspec,-all",
        }
    }
    assert jupytext.read(path.with_suffix(".py")).metadata["kernelspec"] == KERNEL
    assert paths.project_root() == ROOT
