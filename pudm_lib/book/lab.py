"""JupyterLab for a reader (`make lab`) and for an author (`make edit`).

A reader gets copies of the chapters in a folder of his own, so that reading, running
and saving leave the book as it is. An author opens the sources; what a save leaves
there has neither outputs nor marks of the machine. Nothing calls out in either.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from pudm_lib.machine import paths

# Neither news, nor a look for a newer version, nor a list of extensions to install.
OFFLINE = (
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)
# What JupyterLab takes where its user has set nothing: it does not ask whether it may
# call out, lists nothing to install, and leaves the names of files their room.
DEFAULTS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/extensionmanager-extension:plugin": {"enabled": False},
    "@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": False},
}
OWN = ".lab"  # in a reader's folder: what was given to him, and how his windows lie
KEPT = {"kernelspec", "jupytext"}  # of a notebook's metadata
KEPT_IN_CELLS = {"tags", "lines_to_next_cell"}


def refresh_copies(folder: Path) -> list[str]:
    """Put a copy of every chapter into a reader's folder, or a newer one in its place.

    A copy whose cells the reader has changed is never touched: what the book has now
    is put beside it as NAME_new.ipynb, once. Outputs are not counted as changes.

    Returns:
        A line for each chapter that was put beside a changed copy.

    Raises:
        ValueError: the folder lies in the book, where copies would be in git's way.
        OSError: it cannot be written.
    """
    root, folder = paths.project_root().resolve(), folder.expanduser().resolve()
    if folder.is_relative_to(root) and not folder.is_relative_to(paths.build_root()):
        raise ValueError(
            f"the folder for your copies, {folder}, lies in the book; choose one "
            f"outside it or in {paths.build_root()}"
        )
    record = folder / OWN / "given.json"
    before = _read_record(record)
    given, lines = dict(before), []
    for source in _chapters():
        wanted, copy = cells_hash(source), folder / source.name
        found = cells_hash(copy)
        if found in (None, wanted, given.get(copy.name)):
            _give(source, wanted, copy, found, given)
        elif given.get(copy.name) != wanted:
            lines += _put_beside(source, wanted, folder, given)
    if given != before:
        paths.write_atomically(record, json.dumps(given, indent=1))
    return lines


def _chapters() -> list[Path]:
    folder = paths.project_root() / "notebooks"
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise ValueError(f"no chapters NN_name.ipynb in {folder}")
    return found


def _give(source: Path, wanted: str, copy: Path, found: str | None, given: dict):
    if found != wanted:
        paths.write_atomically(copy, source.read_bytes())
    given[copy.name] = wanted


def _put_beside(source: Path, wanted: str, folder: Path, given: dict) -> list[str]:
    for number in count(1):
        new = folder / f"{source.stem}_new{number if number > 1 else ''}.ipynb"
        if given.get(new.name) == wanted:
            return []  # it is there, or the reader has changed or thrown it away
        found = cells_hash(new)
        if found in (None, wanted, given.get(new.name)):
            _give(source, wanted, new, found, given)
            return [f"{source.name} has changes of yours and stays; new: {new.name}"]


def cells_hash(notebook: Path) -> str | None:
    """Of what the cells say, without outputs; None if there is no such file. A file
    that is no notebook has a hash that no chapter has."""
    if not notebook.exists():
        return None
    data = notebook.read_bytes()
    try:
        cells = json.loads(data)["cells"]
        said = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError):
        said = data.hex()
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _read_record(record: Path) -> dict[str, str]:
    """Of a damaged or missing record nothing is believed: every copy that differs
    from the book then counts as changed."""
    try:
        given = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return given if isinstance(given, dict) else {}


def leave_source_clean(model: dict, path: str, **_) -> None:
    """What JupyterLab calls before an author's save: a chapter is kept without outputs,
    counts and marks of the machine it ran on. Other notebooks are let alone."""
    if model["type"] != "notebook" or not path.strip("/").startswith("notebooks/"):
        return
    notebook = model["content"]
    _keep_only(notebook["metadata"], KEPT)
    for cell in notebook["cells"]:
        _keep_only(cell["metadata"], KEPT_IN_CELLS)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None


def _keep_only(metadata: dict, names: set[str]) -> None:
    for name in set(metadata) - names:
        del metadata[name]


def main(arguments: Sequence[str] | None = None) -> int:
    """Becomes JupyterLab, which ends as a child of the shell would; returns 2 where it
    cannot be started."""
    parser = argparse.ArgumentParser(prog="python -m pudm_lib.book.lab")
    parser.add_argument("--read", type=Path, default=None, metavar="FOLDER")
    parser.add_argument("--edit", action="store_true", help="the sources, for authors")
    options, for_lab = parser.parse_known_args(arguments)
    try:
        start = _edit() if options.edit else _read(options.read)
    except (ValueError, OSError) as error:
        print(f"error: {paths.one_line(error)}", file=sys.stderr)
        return 2
    sys.stdout.flush()
    command = [sys.executable, "-m", "jupyterlab", *OFFLINE, *start, *for_lab]
    os.execv(sys.executable, command)


def _read(folder: Path | None) -> list[str]:
    folder = (folder or paths.build_root() / "lab").expanduser().resolve()
    print(*refresh_copies(folder), f"your copies are in {folder}", sep="\n")
    return _start(folder, _chapters()[0].name, folder / OWN)


def _edit() -> list[str]:
    first = f"notebooks/{_chapters()[0].name}"
    hook = f"--ContentsManager.pre_save_hook={__package__}.lab.leave_source_clean"
    return [*_start(paths.project_root(), first, paths.build_root() / "edit"), hook]


def _start(root: Path, first: str, own: Path) -> list[str]:
    """Options that open one notebook of a folder. Defaults and windows are our own:
    those of another JupyterLab would be looked for here and not found."""
    config = own / "config"
    file = config / "labconfig" / "default_setting_overrides.json"
    paths.write_atomically(file, json.dumps(DEFAULTS, indent=1))
    given = os.environ.get("JUPYTER_CONFIG_PATH")
    found = [str(config), *([given] if given else [])]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(found)
    return [
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{first}",
        f"--LabApp.workspaces_dir={own / 'workspaces'}",
    ]


if __name__ == "__main__":
    sys.exit(main())
