"""Run the book's chapters without a reader: `make book`, and copies for nbval.

Each chapter is run by papermill in a kernel of its own with a preset and checked
parameters, and kept with its outputs under build/book/. Figures are written by the
chapters themselves.
"""

import copy
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from papermill import execute_notebook
from papermill.engines import NBClientEngine, papermill_engines
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
    stream=None,
) -> bool:
    """Run chapters and report on `stream`, stdout by default; True if all passed.

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
    stream = stream or sys.stdout
    folder = paths.build_root() / "book"
    made = paths.figures_root() / preset
    for place in (folder, made):
        paths.make_folder(place)  # refused now rather than after the first hour
    if publish_after and any("studies" in c.parameters for c in chosen):
        # What others read from the curated figures is measured before it is published.
        settings = {"studies": "measured"} | settings
    parameters = {c.name: settings_of(c, preset, settings) for c in chosen}
    executed = {c.name: folder / f"{c.name}.ipynb" for c in chosen}
    fresh = {
        c.name
        for c in ([] if again else chosen)
        if is_up_to_date(executed[c.name], c, parameters[c.name])
    }
    numbers = {c.name[:2] for c in chosen}
    to_run = {c.name[:2] for c in chosen if c.name not in fresh}
    for old in made.glob("[0-9][0-9]_*.*"):
        # What is left from another run would be read as this one's.
        number = old.name[:2]
        if number in to_run or (not only and number not in numbers):
            old.unlink()
    given = " ".join(f"{name}={value!r}" for name, value in settings.items())
    print(f"preset {preset}, chapters {', '.join(sorted(numbers))}", given, file=stream)
    runs = []
    for c in chosen:
        if c.name in fresh:
            print(f"{c.name:<40} up to date", file=stream)
            runs.append(ChapterRun(c.name, 0.0))
        else:
            runs.append(_run_chapter(c, parameters[c.name], folder, stream))
    _summarise(runs, stream)
    passed = not any(run.error for run in runs)
    print(f"executed notebooks in {folder}, figures in {made}", file=stream)
    if publish_after and passed:
        print(f"published {publish(preset, [c.name for c in chosen])}", file=stream)
    elif publish_after:
        print("figures not published, because a chapter failed", file=stream)
    return passed


class _ReportingEngine(NBClientEngine):
    """papermill's own engine, telling which cell it begins."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, on_cell, **options):
        start = nb_man.cell_start

        def cell_start(cell, *arguments, **keywords):
            on_cell(cell)
            return start(cell, *arguments, **keywords)

        nb_man.cell_start = cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **options)


papermill_engines.register("book", _ReportingEngine)


def _run_chapter(
    chapter: Chapter, parameters: dict, folder: Path, stream
) -> ChapterRun:
    cells = chapter.notebook.cells
    numbers = {cell.id: number for number, cell in enumerate(cells, start=1)}
    line, latest, error = _Line(chapter.name, len(cells), stream), cells[0], ""

    def on_cell(cell: NotebookNode) -> None:
        nonlocal latest
        # The cell that papermill injects is counted as the parameters cell before it.
        if cell.id in numbers:
            latest = cell
            line.at(numbers[cell.id])

    start = time.perf_counter()
    try:
        with _kernel_environment():
            execute_notebook(
                chapter.notebook,
                folder / f"{chapter.name}.ipynb",
                parameters,
                engine_name="book",
                progress_bar=False,
                cwd=notebooks_folder(),
                on_cell=on_cell,
                # A kernel warns on our stderr of sockets that only we can reach.
                extra_arguments=["--log-level=ERROR"],
                **KERNEL,
            )
    except Exception as cause:  # whatever it is, the next chapter still runs
        what = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, PapermillExecutionError):
            what = f"{cause.ename}: {cause.evalue}"
        error = (
            f"cell {numbers[latest.id]} `{_first_line(latest.source)}`: "
            + paths.one_line(what)
        )
    seconds = time.perf_counter() - start
    line.end(f"{'FAILED' if error else 'ok'}, {seconds:.0f} s")
    if not error:
        keep(folder / f"{chapter.name}.ipynb", chapter, parameters)
    return ChapterRun(chapter.name, seconds, error)


@contextmanager
def _kernel_environment():
    """What a kernel inherits: no widgets, the inline backend, and the same places as
    here, absolute, because its working directory is another one."""
    before = dict(os.environ)
    os.environ.pop("MPLBACKEND", None)
    os.environ |= {
        "PUDM_HEADLESS": "1",
        "PUDM_ROOT": str(paths.project_root().resolve()),
        "PUDM_DATA": str(paths.data_root()),
        "PUDM_RUNS": str(paths.runs_root()),
        "PUDM_BUILD": str(paths.build_root()),
        "PUDM_FIGURES": str(paths.figures_root()),
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Line:
    """One line a chapter: rewritten on a terminal, growing in a log file."""

    def __init__(self, name: str, total: int, stream):
        self.stream, self.total = stream, total
        self.head = f"{name:<{WIDTH}}"
        self._write(f"{self.head} {total} cells:")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()

    def at(self, number: int) -> None:
        if self.stream.isatty():
            self._write(f"\r\x1b[K{self.head} cell {number} of {self.total}")
        elif number % 10 == 0:
            self._write(f" {number}")

    def end(self, words: str) -> None:
        again = f"\r\x1b[K{self.head} {self.total} cells:"
        self._write((again if self.stream.isatty() else "") + f" {words}\n")


def _first_line(source: str) -> str:
    lines = [line.strip() for line in source.splitlines()]
    return next((x for x in lines if x and not x.startswith("#")), "")[:60]


def _summarise(runs: Sequence[ChapterRun], stream) -> None:
    print(f"\n{'chapter':<{WIDTH}} {'result':<7} {'seconds':>8}", file=stream)
    for run in runs:
        result = "FAILED" if run.error else "ok"
        print(f"{run.name:<{WIDTH}} {result:<7} {run.seconds:>8.1f}", file=stream)
    for run in runs:
        if run.error:
            print(f"FAILED {run.name}, {run.error}", file=stream)


def nbval_copies(folder: Path) -> list[Path]:
    """Write each chapter with preset "ci", its solutions as cells at the end, for
    nbval, which takes no parameters and reads no .py. Returns the paths."""
    folder = paths.make_folder(Path(folder))
    for old in folder.glob("*.ipynb"):
        old.unlink()
    copies = []
    for chapter in chapters():
        notebook = copy.deepcopy(chapter.notebook)
        notebook.cells += [new_code_cell(code) for code in solutions(chapter.notebook)]
        copies.append(folder / f"{chapter.name}.ipynb")
        parameters = settings_of(chapter, "ci", {})
        execute_notebook(notebook, copies[-1], parameters, prepare_only=True, **KERNEL)
    return copies
