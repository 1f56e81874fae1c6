"""What every data set is to the library: labels at once, pixels when asked for, always
uint8 (N, C, H, W), each image decoded once; and the forms that pixels take.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tvf
from tqdm.auto import tqdm

from pudm_lib.machine.paths import headless, one_line

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


def to_model_range(images: Tensor) -> Tensor:
    """uint8 0 .. 255 -> float32 -1 .. 1."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Float -1 .. 1 -> uint8, rounded to the nearest level; outside is clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_display(images) -> np.ndarray:
    """uint8 (B, C, H, W) -> (B, H, W) or (B, H, W, 3) for imshow."""
    images = np.asarray(images)
    return images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)


SHOWN = 64  # samples of each point on a sheet that is kept as a picture


def to_png(samples: Tensor) -> bytes:
    """uint8 (P, N, C, H, W), C = 1 or 3 -> a picture of P rows of N images, pixel by
    pixel, from which `from_png` gets them back."""
    p, n, c, h, w = samples.shape
    rows = samples.permute(0, 3, 1, 4, 2).reshape(p * h, n * w, c).numpy()
    picture = io.BytesIO()
    Image.fromarray(rows[..., 0] if c == 1 else rows).save(picture, format="png")
    return picture.getvalue()


def from_png(png: bytes, points: int, images: int = SHOWN) -> Tensor:
    """The samples that `to_png` put into a picture.

    Raises:
        ValueError: a picture whose sides the numbers do not divide.
    """
    rows = np.asarray(Image.open(io.BytesIO(png)))
    rows = rows.reshape(*rows.shape[:2], -1)
    if rows.shape[0] % points or rows.shape[1] % images:
        raise ValueError(
            f"a picture of {rows.shape[0]} x {rows.shape[1]} pixels does not hold "
            f"{points} rows of {images} images"
        )
    h, w = rows.shape[0] // points, rows.shape[1] // images
    parts = torch.from_numpy(rows.copy()).reshape(points, h, images, w, -1)
    return parts.permute(0, 2, 4, 1, 3).contiguous()


# Covariances of more pixels than images mean nothing: larger images are averaged down.
MAX_PIXEL_SIDE = 16


def pixel_features(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> float32 (N, D), averaged down to at most 16 x 16 pixels."""
    x = to_model_range(images)
    if x.shape[-1] > MAX_PIXEL_SIDE:
        x = nn.functional.adaptive_avg_pool2d(x, MAX_PIXEL_SIDE)
    return x.flatten(1)
