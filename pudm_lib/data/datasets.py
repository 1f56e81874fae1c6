"""Image sets: labels at once, pixels when asked, always as uint8 (N, C, H, W).

Known by name: digits (inside scikit-learn, needs no download), mnist, cifar10, stl10,
celeba through torchvision. Known by path: a folder of one sub-folder per class
(torchvision's ImageFolder), with or without train/ and test/ above the classes; or an
.npz file with `images` (N, H, W) or (N, H, W, 3) uint8 and `labels` (N,).
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets as tv

from pudm_lib.data.pixels import (
    DataError,
    ImageSource,
    decode,
    held_out,
    in_memory,
    reader_of_files,
)
from pudm_lib.machine.paths import data_root, one_line, project_root

NAMES = ("digits", "mnist", "cifar10", "stl10", "celeba")

ANIMALS = "bird cat deer dog frog horse monkey".split()

VEHICLES = "airplane automobile car ship truck".split()

# What `normal` may name besides the classes themselves.
GROUPS = {
    "even": ["0", "2", "4", "6", "8"],
    "odd": ["1", "3", "5", "7", "9"],
    "vehicles": VEHICLES,
    "animals": ANIMALS,
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
    images = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8))
    images = images[:, None]
    train, test = held_out(digits.target)
    return in_memory(
        "digits",
        [str(name) for name in digits.target_names],
        images[train],
        digits.target[train],
        images[test],
        digits.target[test],
    )


def _torchvision(name: str, download: bool) -> ImageSource:
    root = data_root()
    try:
        if name == "mnist":
            train, test = (tv.MNIST(root, p, download=download) for p in (True, False))
            return in_memory(
                name,
                [str(digit) for digit in range(10)],
                train.data[:, None],
                train.targets,
                test.data[:, None],
                test.targets,
            )
        if name == "cifar10":
            train, test = (
                tv.CIFAR10(root, p, download=download) for p in (True, False)
            )
            pixels = [
                torch.from_numpy(p.data).permute(0, 3, 1, 2) for p in (train, test)
            ]
            return in_memory(
                name, train.classes, pixels[0], train.targets, pixels[1], test.targets
            )
        if name == "stl10":
            train, test = (
                tv.STL10(root, p, download=download) for p in ("train", "test")
            )
            # On disk the two spatial axes are swapped; torchvision swaps them back.
            pixels = [
                torch.from_numpy(np.ascontiguousarray(p.data)) for p in (train, test)
            ]
            return in_memory(
                name, train.classes, pixels[0], train.labels, pixels[1], test.labels
            )
        return _celeba(root, download)
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        what, remedy = (
            "read under",
            f"Fetch it with `python -m pudm_lib data fetch {name}`",
        )
        if download:
            what, remedy = "fetched into", "Try again with a network, or copy it there"
        raise DataError(
            f"dataset={name!r} cannot be {what} {root} ({one_line(error)}). {remedy}, "
            "or set PUDM_DATA to the folder that holds it"
        ) from error


def _celeba(root: Path, download: bool) -> ImageSource:
    parts = {
        part: tv.CelebA(root, split, target_type="attr", download=download)
        for part, split in (("train", "train"), ("test", "test"))
    }
    male = parts["train"].attr_names.index("Male")
    files = {
        part: [Path(root, "celeba", "img_align_celeba", file) for file in data.filename]
        for part, data in parts.items()
    }
    labels = {part: data.attr[:, male].numpy() for part, data in parts.items()}
    return ImageSource(
        "celeba", ("female", "male"), labels, reader_of_files(files, 3), 178, 3
    )


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
        parts = {"train": train.samples, "test": test.samples}
    else:
        train = listing(path)
        targets = np.asarray(train.targets)
        parts = {
            part: [train.samples[i] for i in indices]
            for part, indices in zip(("train", "test"), held_out(targets), strict=True)
        }
    files = {part: [Path(file) for file, _ in items] for part, items in parts.items()}
    labels = {part: np.array([y for _, y in items]) for part, items in parts.items()}
    first = decode(files["train"][0], None)
    return ImageSource(
        name,
        tuple(train.classes),
        labels,
        reader_of_files(files, first.shape[0]),
        min(first.shape[-2:]),
        first.shape[0],
    )


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
    pixels = torch.from_numpy(images if images.ndim == 4 else images[..., None])
    pixels = pixels.permute(0, 3, 1, 2)
    classes = arrays.get("class_names", np.arange(labels.max(initial=0) + 1))
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"{path}: `labels` must be 0 .. {len(classes) - 1}, one for each of at "
            f"least one image, not {np.unique(labels).tolist()[:10]}"
        )
    train, test = held_out(labels)
    return in_memory(
        name,
        [str(label) for label in classes],
        pixels[train],
        labels[train],
        pixels[test],
        labels[test],
    )


def data_stamp(dataset: str) -> dict[str, str]:
    """A user's own file or folder counts by its files, their sizes and times."""
    path = find_own(dataset)
    if path is None:
        return {}
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    facts = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return {"files": hashlib.sha256(repr(facts).encode()).hexdigest()}
