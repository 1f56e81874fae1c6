"""Image sets: labels at once, pixels when asked, always as uint8 (N, C, H, W).

Known by name: digits (inside scikit-learn, needs no download), mnist, cifar10, stl10,
celeba through torchvision. Known by path: a folder of one sub-folder per class
(torchvision's ImageFolder), with or without train/ and test/ above the classes; or an
.npz file with `images` (N, H, W) or (N, H, W, 3) uint8 and `labels` (N,).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision import datasets as tv
from torchvision.transforms.v2 import functional as tvf
from tqdm.auto import tqdm

from pudm_lib.paths import data_root, headless

log = logging.getLogger(__name__)

NAMES = ("digits", "mnist", "cifar10", "stl10", "celeba")

# Sets without an official test part give up this share, drawn once and for all.
HELD_OUT_SHARE = 0.32
HELD_OUT_SEED = 0

ANIMALS = "bird cat deer dog frog horse monkey".split()
VEHICLES = "airplane automobile car ship truck".split()
# What `normal` may name besides the classes themselves.
GROUPS = {
    "even": ["0", "2", "4", "6", "8"],
    "odd": ["1", "3", "5", "7", "9"],
    "vehicles": VEHICLES,
    "animals": ANIMALS,
}


class DataError(ValueError):
    """A data set that is not there or cannot be read; says what to do."""


@dataclass(frozen=True)
class ImageSource:
    """A data set whose pixels are read only for the images asked for.

    name: as the user gave it.
    classes: names, by label.
    labels: {"train": (N,), "test": (M,)} integers.
    read: (part, indices) -> uint8 (n, C, H, W) at the set's own size.
    native_resolution, native_channels: of the set's own images, for defaults.
    """

    name: str
    classes: tuple[str, ...]
    labels: dict[str, np.ndarray]
    read: Callable[[str, np.ndarray], Tensor]
    native_resolution: int
    native_channels: int


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
    for path in (Path(name), data_root() / name):
        if path.is_dir():
            return _folder(name, path)
        if path.is_file() and path.suffix == ".npz":
            return _npz(name, path)
    raise DataError(
        f"dataset={name!r} is neither one of {', '.join(NAMES)} nor a folder or .npz "
        f"file; looked for {Path(name).absolute()} and {data_root() / name}"
    )


def resize(images: Tensor, *, resolution: int, channels: int) -> Tensor:
    """uint8 (N, C, H, W) -> uint8 (N, channels, resolution, resolution), antialiased.

    The shorter side is cropped to nothing: other aspect ratios are cropped in the
    middle, never squeezed.
    """
    height, width = images.shape[-2:]
    if height != width:
        images = tvf.center_crop(images, [min(height, width)] * 2)
    if images.shape[-1] != resolution:
        images = tvf.resize(images, [resolution, resolution], antialias=True)
    if images.shape[1] == channels:
        return images.contiguous()
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    # On uint8 torchvision truncates: grey 90 would become 89.
    return tvf.rgb_to_grayscale(images.float()).round().to(torch.uint8)


def _in_memory(name, classes, train, train_labels, test, test_labels) -> ImageSource:
    """A source over uint8 tensors (N, C, H, W) that are already in memory."""
    images = {"train": train, "test": test}
    labels = {"train": np.asarray(train_labels), "test": np.asarray(test_labels)}
    return ImageSource(
        name=name,
        classes=tuple(classes),
        labels=labels,
        read=lambda part, indices: images[part][torch.as_tensor(indices)],
        native_resolution=min(train.shape[-2:]),
        native_channels=train.shape[1],
    )


def _held_out(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train and test indices, the same share of every class, the same every time."""
    generator = np.random.default_rng(HELD_OUT_SEED)
    test = [
        generator.permutation(np.flatnonzero(labels == label))[
            : round(HELD_OUT_SHARE * (labels == label).sum())
        ]
        for label in np.unique(labels)
    ]
    test = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), test), test


def _digits() -> ImageSource:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 17 grey levels, 0 .. 16, kept apart on the scale of 0 .. 255.
    images = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8))
    images = images[:, None]
    train, test = _held_out(digits.target)
    return _in_memory(
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
            return _in_memory(
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
            return _in_memory(
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
            return _in_memory(
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
            f"dataset={name!r} cannot be {what} {root} ({_one_line(error)}). {remedy}, "
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
        "celeba", ("female", "male"), labels, _reader_of_files(files, 3), 178, 3
    )


def _folder(name: str, path: Path) -> ImageSource:
    def listing(folder: Path) -> tv.ImageFolder:
        try:
            return tv.ImageFolder(folder)
        except FileNotFoundError as error:
            raise DataError(
                f"dataset={name!r}: {folder} must hold one sub-folder of images per "
                f"class ({_one_line(error)})"
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
            for part, indices in zip(("train", "test"), _held_out(targets), strict=True)
        }
    files = {part: [Path(file) for file, _ in items] for part, items in parts.items()}
    labels = {part: np.array([y for _, y in items]) for part, items in parts.items()}
    first = _decode(files["train"][0], None)
    return ImageSource(
        name,
        tuple(train.classes),
        labels,
        _reader_of_files(files, first.shape[0]),
        min(first.shape[-2:]),
        first.shape[0],
    )


def _reader_of_files(files: dict[str, list[Path]], channels: int):
    def read(part: str, indices: np.ndarray) -> Tensor:
        pictures = []
        for i in tqdm(
            indices,
            desc=f"decode {part} images",
            disable=headless() or len(indices) < 1000,
        ):
            picture = _decode(files[part][i], channels)
            if pictures and picture.shape != pictures[0].shape:
                # Sizes differ within the set: bring them to the first one's, cropped.
                side = min(pictures[0].shape[-2:])
                pictures[0] = resize(
                    pictures[0][None], resolution=side, channels=channels
                )[0]
                picture = resize(picture[None], resolution=side, channels=channels)[0]
            pictures.append(picture)
        return torch.stack(pictures)

    return read


def _decode(file: Path, channels: int | None) -> Tensor:
    try:
        with Image.open(file) as picture:
            if channels is None:
                channels = 1 if picture.mode in ("1", "L") else 3
            pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(
            f"{file} is not a readable image ({_one_line(error)}); replace or remove it"
        ) from error
    return torch.from_numpy(pixels.copy().reshape(*pixels.shape[:2], -1)).permute(
        2, 0, 1
    )


def _npz(name: str, path: Path) -> ImageSource:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        images, labels = arrays["images"], arrays["labels"].astype(int)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise DataError(
            f"dataset={name!r}: {path} must be an .npz file with arrays `images` and "
            f"`labels` ({_one_line(error)})"
        ) from error
    except Exception as error:  # zipfile and zlib have exceptions of their own
        raise DataError(f"{path} is damaged ({_one_line(error)})") from error
    if (
        images.dtype != np.uint8
        or images.ndim not in (3, 4)
        or len(images) != len(labels)
    ):
        raise DataError(
            f"{path}: `images` must be uint8 (N, H, W) or (N, H, W, 3) with one label "
            f"each, not {images.dtype} {images.shape} with {len(labels)} labels"
        )
    pixels = torch.from_numpy(images if images.ndim == 4 else images[..., None])
    pixels = pixels.permute(0, 3, 1, 2)
    classes = arrays.get("class_names", np.arange(labels.max() + 1))
    train, test = _held_out(labels)
    return _in_memory(
        name,
        [str(label) for label in classes],
        pixels[train],
        labels[train],
        pixels[test],
        labels[test],
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
