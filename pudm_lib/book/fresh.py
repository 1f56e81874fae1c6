"""Which chapters need no second run: what they are made of has not changed, and what
they made is still there. As `make` does it, by content and not by time."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pudm_lib.book.chapters import Chapter
from pudm_lib.book.committed import committed_folder
from pudm_lib.experiments.keys import code_hash, data_stamp
from pudm_lib.machine import paths
from pudm_lib.machine.devices import versions


def fingerprint(chapter: Chapter, parameters: Mapping[str, Any]) -> str:
    """Of the cells, the parameters, the library's code, the user's own data, the
    committed figures that the chapter reads, and the versions that numbers depend on.
    """
    dataset = str(parameters.get("dataset", chapter.parameters.get("dataset", "")))
    modules = tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.py")))
    studies = parameters.get("studies", chapter.parameters.get("studies"))
    parts = {
        "cells": [cell.source for cell in chapter.notebook.cells],
        "parameters": dict(parameters),
        "code": code_hash(modules),
        "data": [str(paths.data_root()), data_stamp(dataset) if dataset else {}],
        "committed": {},
        "versions": versions(),
    }
    if studies == "committed":
        curated = committed_folder(parameters["preset"])
        parts["committed"] = figures_of(chapter, curated)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def figures_of(chapter: Chapter, folder: Path) -> dict[str, str]:
    """The chapter's figure files in a folder and what is in them."""
    files = folder.glob(f"{chapter.name[:2]}_*.*")
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


def is_up_to_date(executed: Path, chapter: Chapter, parameters: Mapping) -> bool:
    """True if `executed` came from this chapter and all its figures lie untouched."""
    try:
        kept = json.loads(_record(executed).read_text())
    except (OSError, json.JSONDecodeError):
        return False
    return executed.exists() and kept == _state(chapter, parameters)


def keep(executed: Path, chapter: Chapter, parameters: Mapping) -> None:
    """Note that `executed` and the figures there are belong to this chapter."""
    kept = json.dumps(_state(chapter, parameters), indent=1) + "\n"
    paths.write_atomically(_record(executed), kept)


def _state(chapter: Chapter, parameters: Mapping) -> dict:
    return {
        "fingerprint": fingerprint(chapter, parameters),
        "figures": figures_of(chapter, paths.figures_root() / parameters["preset"]),
    }


def _record(executed: Path) -> Path:
    return executed.with_suffix(".made.json")
