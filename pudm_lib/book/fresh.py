"""Which chapters need no second run: what they are made of has not changed, and what
they made is still there. As `make` does it, by content and not by time. The note that
says so goes before a chapter runs and comes last; one book a folder at a time.
"""

import functools
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pudm_lib.book.chapters import Chapter, chapters
from pudm_lib.book.claims import read_records
from pudm_lib.book.committed import committed_folder
from pudm_lib.data.datasets import data_stamp
from pudm_lib.machine import paths
from pudm_lib.machine.devices import versions
from pudm_lib.machine.store import short_hash


@functools.cache
def code_hash() -> str:
    """Of all of the library's files. Read once: code that is edited while a run goes on
    belongs to the next process."""
    package = Path(__file__).parents[1]
    files = package.rglob("*.py")
    return short_hash(
        {str(f.relative_to(package)): f.read_text(encoding="utf-8") for f in files}
    )


def fingerprint(chapter: Chapter, parameters: Mapping[str, Any]) -> str:
    """Of the cells, the parameters, the library's code, the user's own data, the
    committed figures that the chapter reads, and the versions that numbers depend on.
    """
    given = chapter.parameters | dict(parameters)
    dataset = str(given.get("dataset", ""))
    parts = {
        "cells": [cell.source for cell in chapter.notebook.cells],
        "parameters": dict(parameters),
        "code": code_hash(),
        "data": [str(paths.data_root()), data_stamp(dataset) if dataset else {}],
        "versions": versions(),
    }
    if given.get("studies") == "committed":
        parts["committed"] = figures_of(chapter, committed_folder(given["preset"]))
    return short_hash(parts)


def figures_of(chapter: Chapter, folder: Path) -> dict[str, str]:
    """The chapter's figure files in a folder and what is in them."""
    files = folder.glob(f"{chapter.name[:2]}_*.*")
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


def is_up_to_date(executed: Path, chapter: Chapter, parameters: Mapping) -> bool:
    """True if `executed` came from this chapter and all its figures lie untouched."""
    note = _note(executed)
    there = executed.exists() and note.exists()
    return there and note.read_text(encoding="utf-8") == _state(chapter, parameters)


def begin(executed: Path) -> None:
    """Take away what is left of an earlier run, the note first."""
    _note(executed).unlink(missing_ok=True)
    for old in executed.parent.glob(f"{executed.stem}.*"):
        old.unlink()


def keep(
    executed: Path, chapter: Chapter, parameters: Mapping, wrote: Collection[str]
) -> None:
    """Note that `executed` and the figures there are belong to this chapter.

    Args:
        wrote: the figure files that were seen while it ran.

    Raises:
        FileNotFoundError: one of them is gone.
    """
    folder = paths.figures_root() / parameters["preset"]
    if gone := sorted(set(wrote) - figures_of(chapter, folder).keys()):
        raise FileNotFoundError(
            f"{', '.join(gone)} in {folder} went away while the chapter ran; run it "
            "again with nothing else writing there"
        )
    paths.write_atomically(_note(executed), _state(chapter, parameters))


def _state(chapter: Chapter, parameters: Mapping) -> str:
    figures = figures_of(chapter, paths.figures_root() / parameters["preset"])
    made = {"fingerprint": fingerprint(chapter, parameters), "figures": figures}
    return json.dumps(made, indent=1) + "\n"


def _note(executed: Path) -> Path:
    return executed.with_suffix(".made.json")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder as the one book that writes there.

    Raises:
        RuntimeError: another process does; says which.
    """
    lock, holder = FileLock(folder / ".lock"), folder / ".holder"
    try:
        lock.acquire(blocking=False)
    except Timeout:
        who = holder.read_text() if holder.exists() else "another process"
        raise RuntimeError(
            f"{folder} is being written by {who}; wait for it or stop it, or choose "
            "another folder by PUDM_BUILD"
        ) from None
    try:
        words = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        paths.write_atomically(holder, f"process {os.getpid()} ({words})")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def check_publishable(preset: str) -> None:
    if preset == "ci":
        raise ValueError(
            'figures of preset "ci" are not published: it is too short to show anything'
        )


def publish(preset: str, names: Sequence[str]) -> Path:
    """Replace the curated figures of the chapters `names` with those of the run just
    made; those of other chapters stay, those of chapters that are gone go.

    Raises:
        ValueError: preset "ci", no figures, or figures made under another preset.
    """
    check_publishable(preset)
    made, curated = paths.figures_root() / preset, paths.curated_figures_root() / preset
    records = read_records(made)
    if not records:
        raise ValueError(f"no figures in {made}: nothing to publish")
    for record in records:
        if record["preset"] != preset:
            raise ValueError(
                f"{record['figure']} in {made} was made under preset "
                f"{record['preset']!r}, must be {preset!r}"
            )
    run = {name[:2] for name in names}
    others = {c.name[:2] for c in chapters()} - run
    new, old = (curated.with_name(f".{preset}.{word}") for word in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for source, kept in ((curated, others), (made, run)):
        for file in source.glob("*.*"):
            if file.name[:2] in kept and file.suffix in (".png", ".json"):
                shutil.copyfile(file, new / file.name)
    # Two renames: whoever looks meanwhile sees the old set, or for an instant none.
    shutil.rmtree(old, ignore_errors=True)
    if curated.exists():
        curated.rename(old)
    new.rename(curated)
    shutil.rmtree(old, ignore_errors=True)
    return curated
