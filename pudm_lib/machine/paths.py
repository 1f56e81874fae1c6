"""Where the book's files lie; each place can be moved by an environment variable.

| function      | variable       | default                |
|---------------|----------------|------------------------|
| project_root  | PUDM_ROOT      | the folder of notebooks/ |
| data_root     | PUDM_DATA      | <root>/data            |
| runs_root     | PUDM_RUNS      | <root>/runs            |
| build_root    | PUDM_BUILD     | <root>/build           |
| figures_root  | PUDM_FIGURES   | <build>/figures        |

Notebooks run in different working directories under JupyterLab, papermill and nbval,
so nothing in the book uses a path relative to the working directory.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def project_root() -> Path:
    return Path(os.environ.get("PUDM_ROOT", Path(__file__).resolve().parents[2]))


def _place(variable: str, default: str | Path) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else project_root() / default


def data_root() -> Path:
    return _place("PUDM_DATA", "data")


def runs_root() -> Path:
    return _place("PUDM_RUNS", "runs")


def build_root() -> Path:
    return _place("PUDM_BUILD", "build")


def figures_root() -> Path:
    return _place("PUDM_FIGURES", build_root() / "figures")


def curated_figures_root() -> Path:
    return project_root() / "figures"


def headless() -> bool:
    """True under the batch runner and the tests: no widgets, no progress bars."""
    return bool(os.environ.get("PUDM_HEADLESS"))


def make_folder(path: Path) -> Path:
    """Make a folder with its parents, or say in one line why that cannot be.

    Raises:
        OSError: names the folder and what moves it.
    """
    # Only writing tells: permissions, a full or a read-only disk.
    with _temporary_file(path, "probe"):
        return path


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing: a reader never sees half of it.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full; names it.
    """
    data = content.encode() if isinstance(content, str) else content
    with _temporary_file(path.parent, path.name) as temporary:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes 0600; the umask is not asked twice
        os.replace(temporary, path)


@contextmanager
def _temporary_file(folder: Path, prefix: str) -> Iterator[str]:
    """The path of an empty file in a folder that is made if need be; removed in the end
    if it still has its name, which is unique: two writers of one path cannot mix."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=f"{prefix}.")
        os.close(handle)
        try:
            yield name
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot write in {folder}: {error.strerror or error}. What was there "
            "before is untouched; make room or make it writable, or choose another "
            "folder by PUDM_RUNS, PUDM_FIGURES or PUDM_BUILD, and the same command "
            "goes on"
        ) from error


def remove_leftovers(folder: Path, name: str = "*.safetensors") -> None:
    """Temporary files of killed writers of `name`; for who alone writes it."""
    for old in folder.glob(f"{name}.*"):
        old.unlink()


# Some errors of libraries list every tensor of a model.
LONGEST = 300


def one_line(error: BaseException | str | None) -> str:
    """The message without line breaks, cut where it grows long; the kind of error where
    it has none."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= LONGEST else line[:LONGEST] + " ..."
