"""Image sets: labels at once, pixels when asked, always as uint8 (N, C, H, W).

Known by name: digits (inside scikit-learn, needs no download), mnist, cifar10, stl10,
celeba through torchvision. Known by path: a folder of one sub-folder per class
(torchvision's ImageFolder), with or without train/ and test/ above the classes; or an
.npz file with `images` (N, H, W) or (N, H, W, 3) uint8 and `labels` (N,).
"""

import hashlib
from pathlib import Path

import numpy as np
from torchvision import datasets as tv

from pudm_lib.data.known import NAMES
from pudm_lib.data.pixels import (
    DataError,
    ImageSource,
    cut_in_two,
    held_out,
    in_files,
    in_memory,
)
from pudm_lib.machine.paths import data_root, one_line, project_root

# The reader, and what it calls the training and the test part.
TORCHVISION = {
    "mnist": (tv.MNIST, True, False),
    "cifar10": (tv.CIFAR10, True, False),
    "stl10": (tv.STL10, "train", "test"),
}

# What `normal` may name besides the classes themselves.
GROUPS = {
    "even": "0 2 4 6 8".split(),
    "odd": "1 3 5 7 9".split(),
    "vehicles": "airplane automobile car ship truck".split(),
    "animals": "bird cat deer dog frog horse monkey".split(),
}


def open_dataset(name: str, *, download: bool = False) -> ImageSource:
    """Find a data set by name or path; see the module's docstring.

    Args:
        name: one of `NAMES`, or a path (absolute, or below PUDM_DATA or the working
            directory).
        download: let torchvision fetch it into PUDM_DATA when it is not there.

    Raises:
        DataError: unknown, absent, truncated or corrupted; says where it looked and
            the command that fetches it.
    """
    if name == "digits":
        return _digits()
    if name in NAMES:
        return _torchvision(name, download)
    path = find_own(name)
    if path is None:
        places = " and ".join(str(place) for place in _places(name))
        raise DataError(
            f"dataset={name!r} is neither one of {', '.join(NAMES)} nor a folder or "
            f".npz file; looked for {places}"
        )
    return _folder(name, path) if path.is_dir() else _npz(name, path)


def _places(name: str) -> list[Path]:
    # Chapters run in notebooks/, commands mostly in the project's folder.
    places = (Path(name).absolute(), project_root() / name, data_root() / name)
    return list(dict.fromkeys(places))


def find_own(name: str) -> Path | None:
    """The folder or .npz file of the user's own that `name` means, if there is one."""
    if name in NAMES:
        return None
    for path in _places(name):
        if path.is_dir() or (path.is_file() and path.suffix == ".npz"):
            return path
    return None


def _digits() -> ImageSource:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 17 grey levels, 0 .. 16, kept apart on the scale of 0 .. 255.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return cut_in_two("digits", digits.target_names, images, digits.target)


def _torchvision(name: str, download: bool) -> ImageSource:
    root = data_root()
    try:
        if name == "celeba":
            return _celeba(root, download)
        reader, *splits = TORCHVISION[name]
        parts = [reader(root, split, download=download) for split in splits]
        classes = range(10) if name == "mnist" else parts[0].classes
        images = [part.data for part in parts]
        labels = [p.labels if name == "stl10" else p.targets for p in parts]
        return in_memory(name, classes, images, labels)
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        what, remedy = "fetched into", "Try again with a network, or copy it there"
        if not download:
            what = "read under"
            remedy = f"Fetch it with `python -m pudm_lib data fetch {name}`"
        raise DataError(
            f"dataset={name!r} cannot be {what} {root} ({one_line(error)}). {remedy}, "
            "or set PUDM_DATA to the folder that holds it"
        ) from error


def _celeba(root: Path, download: bool) -> ImageSource:
    parts = [tv.CelebA(root, part, download=download) for part in ("train", "test")]
    folder = Path(root, "celeba", "img_align_celeba")
    male = parts[0].attr_names.index("Male")
    files = [[folder / file for file in part.filename] for part in parts]
    labels = [part.attr[:, male] for part in parts]
    return in_files("celeba", ("female", "male"), files, labels)


def _folder(name: str, path: Path) -> ImageSource:
    def listing(folder: Path) -> tv.ImageFolder:
        try:
            return tv.ImageFolder(folder)
        except FileNotFoundError as error:
            raise DataError(
                f"dataset={name!r}: {folder} must hold one sub-folder of images per "
                f"class ({one_line(error)})"
            ) from error

    test_folder = next((path / p for p in ("test", "val") if (path / p).is_dir()), None)
    if (path / "train").is_dir() and test_folder is not None:
        train, test = listing(path / "train"), listing(test_folder)
        if train.classes != test.classes:
            raise DataError(
                f"dataset={name!r}: the classes under train/ ({train.classes}) are not "
                f"those under {test_folder.name}/ ({test.classes})"
            )
        parts = train.samples, test.samples
    else:
        train = listing(path)
        halves = held_out(np.asarray(train.targets))
        parts = [[train.samples[i] for i in indices] for indices in halves]
    files = [[Path(file) for file, _ in part] for part in parts]
    labels = [[label for _, label in part] for part in parts]
    return in_files(name, train.classes, files, labels)


def _npz(name: str, path: Path) -> ImageSource:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        images, labels = arrays["images"], arrays["labels"].astype(int)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise DataError(
            f"dataset={name!r}: {path} must be an .npz file with arrays `images` and "
            f"`labels` ({one_line(error)})"
        ) from error
    except Exception as error:  # zipfile and zlib have exceptions of their own
        raise DataError(f"{path} is damaged ({one_line(error)})") from error
    grey_or_rgb = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not grey_or_rgb or len(images) != len(labels):
        raise DataError(
            f"{path}: `images` must be uint8 (N, H, W) or (N, H, W, 3) with one label "
            f"each, not {images.dtype} {images.shape} with {len(labels)} labels"
        )
    classes = arrays.get("class_names", np.arange(labels.max(initial=0) + 1))
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"{path}: `labels` must be 0 .. {len(classes) - 1}, one for each of at "
            f"least one image, not {np.unique(labels).tolist()[:10]}"
        )
    return cut_in_two(name, classes, images, labels)


def data_stamp(dataset: str) -> dict[str, str]:
    """A user's own file or folder counts by its files, their sizes and times."""
    path = find_own(dataset)
    if path is None:
        return {}
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    facts = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return {"files": hashlib.sha256(repr(facts).encode()).hexdigest()}
