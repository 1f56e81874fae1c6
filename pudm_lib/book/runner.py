"""Run the book's chapters without a reader: `make book`, and copies for nbval.

Each chapter is run by papermill in a kernel of its own with a preset and checked
parameters, and kept with its outputs under build/book/. Figures are written by the
chapters themselves.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import patch_environment
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from papermill import execute_notebook
from papermill.exceptions import PapermillExecutionError

from pudm_lib.book.chapters import (
    Chapter,
    chapters,
    check_settings,
    notebooks_folder,
    settings_of,
    solutions,
)
from pudm_lib.book.fresh import check_publishable, is_up_to_date, keep, publish
from pudm_lib.experiments.settings import check_preset
from pudm_lib.machine import paths

KERNEL = {"kernel_name": "python3", "language": "python"}
WIDTH = 38  # of the column with the chapters' names


@dataclass(frozen=True)
class ChapterRun:
    """error is empty for a chapter that ran to its end; else it names the cell."""

    name: str
    seconds: float
    error: str = ""


def run_book(
    preset: str = "laptop",
    *,
    only: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    publish_after: bool = False,
    again: bool = False,
) -> bool:
    """Run chapters and report on stdout; True if all passed.

    Args:
        only: see `chapters`; empty for the whole book.
        settings: parameters for the chapters that have them.
        publish_after: replace the curated figures if every chapter passed.
        again: run chapters also where nothing has changed since they ran.

    Raises:
        ValueError: unknown preset, chapter or parameter, or a value of the wrong type.
        OSError: build/book or the figures' folder cannot be written.
    """
    check_preset(preset)
    if publish_after:
        check_publishable(preset)
    chosen, settings = chapters(only), settings or {}
    check_settings(chosen, settings)
    if publish_after and any("studies" in c.parameters for c in chosen):
        # What others read from the curated figures is measured before it is published.
        settings = {"studies": "measured"} | settings
    folder, made = paths.build_root() / "book", paths.figures_root() / preset
    # For each chapter the executed notebook, the source, the parameters.
    jobs = [
        (folder / f"{c.name}.ipynb", c, settings_of(c, preset, settings))
        for c in chosen
    ]
    for place in (folder, made):
        paths.make_folder(place)  # refused now rather than after the first hour
    numbers = [c.name[:2] for c in chosen]
    to_run = {job[1].name[:2] for job in jobs if again or not is_up_to_date(*job)}
    for old in made.glob("[0-9][0-9]_*.*"):
        # What is left from another run would be read as this one's.
        number = old.name[:2]
        if number in to_run or (not only and number not in numbers):
            old.unlink()
    given = " ".join(f"{name}={value!r}" for name, value in settings.items())
    print(f"preset {preset}, chapters {', '.join(numbers)}", given)
    runs = []
    for job, c in zip(jobs, chosen, strict=True):
        if c.name[:2] in to_run:
            runs.append(_run_chapter(*job))
        else:
            print(f"{c.name:<{WIDTH}} up to date")
            runs.append(ChapterRun(c.name, 0.0))
    _summarise(runs)
    passed = not any(run.error for run in runs)
    print(f"executed notebooks in {folder}, figures in {made}")
    if publish_after and passed:
        print(f"published {publish(preset, [c.name for c in chosen])}")
    elif publish_after:
        print("figures not published, because a chapter failed")
    return passed


def _run_chapter(executed: Path, chapter: Chapter, parameters: dict) -> ChapterRun:
    cells = chapter.notebook.cells
    numbers = {cell.id: number for number, cell in enumerate(cells, start=1)}
    line, latest, error = _Line(chapter.name, len(cells)), 1, ""

    def on_cell(cell: NotebookNode, **_) -> None:
        nonlocal latest
        # The cell that papermill injects is counted as the parameters cell before it.
        latest = numbers.get(cell.id, latest)
        line.at(latest)

    start = time.perf_counter()
    try:
        # What a kernel inherits: no widgets, the inline backend, and the same places
        # as here, absolute, because its working directory is another one.
        with patch_environment(
            MPLBACKEND="",
            PUDM_HEADLESS=1,
            PUDM_ROOT=paths.project_root().resolve(),
            PUDM_DATA=paths.data_root(),
            PUDM_RUNS=paths.runs_root(),
            PUDM_BUILD=paths.build_root(),
            PUDM_FIGURES=paths.figures_root(),
        ):
            execute_notebook(
                chapter.notebook,
                executed,
                parameters,
                progress_bar=False,
                cwd=notebooks_folder(),
                on_cell_start=on_cell,
                # A kernel warns on our stderr of sockets that only we can reach.
                extra_arguments=["--log-level=ERROR"],
                **KERNEL,
            )
    except Exception as cause:  # whatever it is, the next chapter still runs
        what = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, PapermillExecutionError):
            what = f"{cause.ename}: {cause.evalue}"
        where = f"cell {latest} `{_first_line(cells[latest - 1].source)}`"
        error = f"{where}: {paths.one_line(what)}"
    seconds = time.perf_counter() - start
    line.end(f"{'FAILED' if error else 'ok'}, {seconds:.0f} s")
    if not error:
        keep(executed, chapter, parameters)
    return ChapterRun(chapter.name, seconds, error)


class _Line:
    """One line a chapter: rewritten on a terminal, growing in a log file."""

    def __init__(self, name: str, total: int):
        self.name, self.total = f"{name:<{WIDTH}}", total
        self.rewritten = "\r\x1b[K" if sys.stdout.isatty() else ""
        self.write = partial(print, end="", flush=True)
        self.write(f"{self.name} {total} cells:")

    def at(self, number: int) -> None:
        if self.rewritten:
            self.write(f"{self.rewritten}{self.name} cell {number} of {self.total}")
        elif number % 10 == 0:
            self.write(f" {number}")

    def end(self, words: str) -> None:
        if self.rewritten:
            self.write(f"{self.rewritten}{self.name} {self.total} cells:")
        print("", words)


def _first_line(source: str) -> str:
    lines = [line.strip() for line in source.splitlines()]
    return next((x for x in lines if x and not x.startswith("#")), "")[:60]


def _summarise(runs: Sequence[ChapterRun]) -> None:
    print(f"\n{'chapter':<{WIDTH}} {'result':<7} {'seconds':>8}")
    for run in runs:
        result = "FAILED" if run.error else "ok"
        print(f"{run.name:<{WIDTH}} {result:<7} {run.seconds:>8.1f}")
    for run in runs:
        if run.error:
            print(f"FAILED {run.name}, {run.error}")


def nbval_copies(folder: Path) -> list[Path]:
    """Write each chapter with preset "ci", its solutions as cells at the end, for
    nbval, which takes no parameters and reads no .py. Returns the paths."""
    folder = paths.make_folder(Path(folder))
    for old in folder.glob("*.ipynb"):
        old.unlink()
    copies = []
    for chapter in chapters():
        notebook, parameters = chapter.notebook, settings_of(chapter, "ci", {})
        notebook.cells += [new_code_cell(code) for code in solutions(notebook)]
        copies.append(folder / f"{chapter.name}.ipynb")
        execute_notebook(notebook, copies[-1], parameters, prepare_only=True, **KERNEL)
    return copies
