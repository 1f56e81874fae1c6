"""One chapter in a kernel of its own, by papermill, kept with its outputs.

A copy that is not whole says so, however it was cut off: it does until its end.
"""

import logging
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nbformat
from accelerate.utils import patch_environment
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from papermill import execute_notebook
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import papermill_io

from pudm_lib.book.chapters import Chapter, notebooks_folder
from pudm_lib.book.fresh import figures_of, keep
from pudm_lib.machine import paths

KERNEL = {"kernel_name": "python3", "language": "python"}
NOT_WHOLE = "**This copy is not whole: the chapter did not run to its end.**"
WIDTH = 38  # of the column with the chapters' names


@dataclass(frozen=True)
class ChapterRun:
    """error is empty for a chapter that ran to its end; else it names the cell."""

    name: str
    seconds: float
    error: str = ""


class _Kernel(AsyncKernelManager):
    """Told to stop where the book is, it keeps the step at hand and dies of it. Known
    here, so that one is ended that was stopped while it started."""

    latest: AsyncKernelManager | None = None

    def __init__(self, **options):
        super().__init__(**options)
        _Kernel.latest = self

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        stopped = isinstance(sys.exc_info()[1], KeyboardInterrupt | SystemExit)
        if stopped and self.provisioner:
            await self.provisioner.send_signal(signal.SIGTERM)
            await self.provisioner.wait()
        await super().shutdown_kernel(now=now, restart=restart)


class _Whole:
    """papermill's way to write, whole or not at all."""

    def write(self, text: str, path: str) -> None:
        paths.write_atomically(Path(path), text)

    def pretty_path(self, path: str) -> str:
        return path


def run_chapter(executed: Path, chapter: Chapter, parameters: dict) -> ChapterRun:
    """Run a chapter into the notebook `executed`; what fails is said in both."""
    cells = chapter.notebook.cells
    numbers = {cell.id: number for number, cell in enumerate(cells, start=1)}
    line, latest, error = _Line(chapter.name, len(cells)), 1, ""
    made, wrote = paths.figures_root() / parameters["preset"], set()
    papermill_io.register(str(executed), _Whole())
    mark = new_markdown_cell(NOT_WHOLE)

    def on_cell(cell: NotebookNode, **_) -> None:
        nonlocal latest
        # The cell that papermill injects is counted as the parameters cell before it.
        latest = numbers.get(cell.id, latest)
        line.at(latest)
        wrote.update(figures_of(chapter, made))

    def where() -> str:
        return f"cell {latest} `{_first_line(cells[latest - 1].source)}`"

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
            notebook = execute_notebook(
                NotebookNode(chapter.notebook, cells=[mark, *cells]),
                executed,
                parameters,
                progress_bar=False,
                cwd=notebooks_folder(),
                on_cell_start=on_cell,
                kernel_manager_class=_Kernel,
                # A kernel warns on our stderr of sockets that only we can reach.
                extra_arguments=["--log-level=ERROR"],
                **KERNEL,
            )
        notebook.cells = [cell for cell in notebook.cells if cell.id != mark.id]
        paths.write_atomically(executed, nbformat.writes(notebook))
        keep(executed, chapter, parameters, wrote)
    except Exception as cause:  # whatever it is, the next chapter still runs
        what = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, PapermillExecutionError):
            what = f"{cause.ename}: {cause.evalue}"
        if isinstance(cause, DeadKernelError):
            what = "its process was killed, by hand or because memory ran out"
        # A disk that is full here is no cell's fault.
        at = "" if isinstance(cause, OSError) else f"{where()}: "
        error = at + paths.one_line(what)
        _mark(executed, mark.id, error)
    except BaseException:
        # asyncio would tell of each task that was under way.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        if _Kernel.latest and _Kernel.latest.has_kernel:
            run_sync(_Kernel.latest.shutdown_kernel)(now=True)
        _mark(executed, mark.id, f"stopped in {where()}")
        line.end(f"stopped in cell {latest}")
        raise
    seconds = time.perf_counter() - start
    line.end(f"{'FAILED' if error else 'ok'}, {seconds:.0f} s")
    return ChapterRun(chapter.name, seconds, error)


def _mark(executed: Path, cell_id: str, reason: str) -> None:
    """Say in the notebook why it is not whole; that it is not, it says already."""
    with suppress(OSError):
        notebook = nbformat.read(executed, 4)
        for cell in notebook.cells:
            if cell.id == cell_id:
                cell.source = f"{NOT_WHOLE} ({reason})"
        paths.write_atomically(executed, nbformat.writes(notebook))


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
