"""What every data set is to the library: labels at once, pixels when asked for, always
uint8 (N, C, H, W), each image decoded once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf
from tqdm.auto import tqdm

from pudm_lib.machine.messages import one_line
from pudm_lib.machine.paths import headless

# Sets without an official test part give up this share, drawn once and for all.
HELD_OUT_SHARE = 0.32
HELD_OUT_SEED = 0


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


def resize(images: Tensor, *, resolution: int, channels: int) -> Tensor:
    """uint8 (N, C, H, W) -> uint8 (N, channels, resolution, resolution), antialiased.

    Pictures that are not square lose the ends of their longer side; none is squeezed.
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


def in_memory(name, classes, train, train_labels, test, test_labels) -> ImageSource:
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


def held_out(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def read_resized(
    source: ImageSource, part: str, indices: np.ndarray, *, resolution: int, channels
) -> Tensor:
    """Images as the experiment wants them: uint8 (n, channels, resolution, resolution).

    In pieces, so that large photographs are not all in memory at their own size.
    """
    if len(indices) == 0:
        return torch.empty(0, channels, resolution, resolution, dtype=torch.uint8)
    pieces = np.array_split(np.asarray(indices), -(-len(indices) // 1000))
    bar = tqdm(
        pieces,
        desc=f"read {part} images, thousands",
        disable=headless() or len(pieces) < 5,
    )
    return torch.cat(
        [
            resize(source.read(part, piece), resolution=resolution, channels=channels)
            for piece in bar
        ]
    )


def reader_of_files(files: dict[str, list[Path]], channels: int):
    def read(part: str, indices: np.ndarray) -> Tensor:
        pictures = [decode(files[part][i], channels) for i in indices]
        if len({picture.shape for picture in pictures}) > 1:
            # Sizes differ within the set: all to the smallest one's shorter side.
            side = min(min(picture.shape[-2:]) for picture in pictures)
            pictures = [
                resize(picture[None], resolution=side, channels=channels)[0]
                for picture in pictures
            ]
        return torch.stack(pictures)

    return read


def decode(file: Path, channels: int | None) -> Tensor:
    try:
        with Image.open(file) as picture:
            if channels is None:
                channels = 1 if picture.mode in ("1", "L") else 3
            pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(
            f"{file} is not a readable image ({one_line(error)}); replace or remove it"
        ) from error
    return torch.from_numpy(pixels.copy().reshape(*pixels.shape[:2], -1)).permute(
        2, 0, 1
    )
