"""Run the book's chapters without a reader: `make book`, and copies for nbval.

Each chapter is run by papermill in a kernel of its own with a preset and checked
parameters, and kept with its outputs under build/book/. Figures are written by the
chapters themselves.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell
from papermill import execute_notebook

from pudm_lib.book.chapters import (
    chapters,
    check_settings,
    settings_of,
    solutions,
)
from pudm_lib.book.execute import KERNEL, WIDTH, ChapterRun, run_chapter
from pudm_lib.book.fresh import (
    alone,
    begin,
    check_publishable,
    is_up_to_date,
    publish,
)
from pudm_lib.experiments.settings import check_preset
from pudm_lib.machine import paths


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
        RuntimeError: another book is being run into one of them.
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
    if paths.figures_root() == paths.curated_figures_root().resolve():
        raise ValueError(
            f"figures would be written over the committed ones in {made.parent}; "
            "choose another folder by PUDM_FIGURES"
        )
    # For each chapter the executed notebook, the source, the parameters.
    jobs = [
        (folder / f"{c.name}.ipynb", c, settings_of(c, preset, settings))
        for c in chosen
    ]
    given = " ".join(f"{name}={value!r}" for name, value in settings.items())
    with ExitStack() as stack:
        for place in (folder, made):
            paths.make_folder(place)  # refused now rather than after the first hour
        for place in (folder, made.parent):
            stack.enter_context(alone(place))
        to_run = [again or not is_up_to_date(*job) for job in jobs]
        _clear(jobs, to_run, made, keep_others=bool(only))
        numbers = ", ".join(c.name[:2] for c in chosen)
        print(f"preset {preset}, chapters {numbers}", given)
        runs = []
        for job, now in zip(jobs, to_run, strict=True):
            if now:
                runs.append(run_chapter(*job))
            else:
                print(f"{job[1].name:<{WIDTH}} up to date")
                runs.append(ChapterRun(job[1].name, 0.0))
        _summarise(runs)
        passed = not any(run.error for run in runs)
        print(f"executed notebooks in {folder}, figures in {made}")
        if publish_after and passed:
            print(f"published {publish(preset, [c.name for c in chosen])}")
        elif publish_after:
            print("figures not published, because a chapter failed")
    return passed


def _clear(jobs, to_run: Sequence[bool], made: Path, *, keep_others: bool) -> None:
    """Take away what would be read as this run's."""
    chosen = {c.name[:2] for _, c, _ in jobs}
    running = set()
    for (executed, c, _), now in zip(jobs, to_run, strict=True):
        if now:
            begin(executed)
            running.add(c.name[:2])
    for old in made.glob("[0-9][0-9]_*.*"):
        number = old.name[:2]
        if number in running or (not keep_others and number not in chosen):
            old.unlink()


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
