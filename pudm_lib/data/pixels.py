"""What every data set is to the library: labels at once, pixels when asked for, always
uint8 (N, C, H, W), each image decoded once; and the forms that pixels take.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tvf
from tqdm.auto import tqdm

from pudm_lib.machine.paths import headless, one_line

PARTS = ("train", "test")

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
    """

    name: str
    classes: tuple[str, ...]
    labels: dict[str, np.ndarray]
    read: Callable[[str, np.ndarray], Tensor]

    @cached_property
    def native_size(self) -> tuple[int, int]:
        """(shorter side, channels) of the set's first image, for defaults."""
        channels, *sides = self.read("train", np.array([0]))[0].shape
        return min(sides), channels


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


def in_memory(name: str, classes, images, labels) -> ImageSource:
    """A source over uint8 arrays that are already in memory, with their labels: of the
    training part and of the test part; (N, H, W), (N, H, W, 3) or (N, C, H, W > 3)."""
    pixels = {}
    for part, array in zip(PARTS, images, strict=True):
        # STL-10's are a view with its last two axes swapped.
        x = torch.from_numpy(np.ascontiguousarray(array))
        x = x[..., None] if x.ndim == 3 else x
        pixels[part] = x.permute(0, 3, 1, 2) if x.shape[-1] in (1, 3) else x
    return _source(name, classes, labels, lambda part, indices: pixels[part][indices])


def cut_in_two(name: str, classes, images, labels) -> ImageSource:
    """`in_memory`, of all images and labels; the test part as `held_out` draws it."""
    parts = held_out(labels)
    both = ([array[i] for i in parts] for array in (images, labels))
    return in_memory(name, classes, *both)


def in_files(name: str, classes, files, labels) -> ImageSource:
    """`in_memory`, of files instead of arrays, which are opened when asked for."""
    files = dict(zip(PARTS, files, strict=True))
    channels = len(decode(files["train"][0], None))

    def read(part: str, indices: np.ndarray) -> Tensor:
        pictures = [decode(files[part][i], channels) for i in indices]
        if len({picture.shape for picture in pictures}) > 1:
            # Sizes differ within the set: all to the smallest one's shorter side.
            side = min(min(picture.shape[-2:]) for picture in pictures)
            size = {"resolution": side, "channels": channels}
            pictures = [resize(picture[None], **size)[0] for picture in pictures]
        return torch.stack(pictures)

    return _source(name, classes, labels, read)


def _source(name: str, classes, labels, read) -> ImageSource:
    labels = dict(zip(PARTS, map(np.asarray, labels), strict=True))
    return ImageSource(name, tuple(map(str, classes)), labels, read)


def held_out(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train and test indices, the same share of every class, the same every time."""
    generator = np.random.default_rng(HELD_OUT_SEED)
    test = []
    for label in np.unique(labels):
        own = generator.permutation(np.flatnonzero(labels == label))
        test.append(own[: round(HELD_OUT_SHARE * len(own))])
    test = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), test), test


def read_resized(
    source: ImageSource, part: str, indices: np.ndarray, resolution: int, channels: int
) -> Tensor:
    """Images as the experiment wants them: uint8 (n, channels, resolution, resolution).

    In pieces, so that large photographs are not all in memory at their own size.
    """
    if len(indices) == 0:
        return torch.empty(0, channels, resolution, resolution, dtype=torch.uint8)
    pieces = np.array_split(np.asarray(indices), -(-len(indices) // 1000))
    quiet = headless() or len(pieces) < 5
    resized = [
        resize(source.read(part, piece), resolution=resolution, channels=channels)
        for piece in tqdm(pieces, f"read {part} images, thousands", disable=quiet)
    ]
    return torch.cat(resized)


def decode(file: Path, channels: int | None) -> Tensor:
    """A picture as uint8 (channels, H, W); None: 3, and 1 if it is grey."""
    try:
        with Image.open(file) as picture:
            grey = channels == 1 or (channels is None and picture.mode in ("1", "L"))
            return tvf.pil_to_tensor(picture.convert("L" if grey else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataError(
            f"{file} is not a readable image ({one_line(error)}); replace or remove it"
        ) from error


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
    rows = samples.permute(2, 0, 3, 1, 4).reshape(c, p * h, n * w)
    picture = io.BytesIO()
    tvf.to_pil_image(rows).save(picture, format="png")
    return picture.getvalue()


def from_png(png: bytes, points: int, images: int = SHOWN) -> Tensor:
    """The samples that `to_png` put into a picture.

    Raises:
        ValueError: a picture whose sides the numbers do not divide.
    """
    rows = tvf.pil_to_tensor(Image.open(io.BytesIO(png)))
    c, height, width = rows.shape
    if height % points or width % images:
        raise ValueError(
            f"a picture of {height} x {width} pixels does not hold {points} rows of "
            f"{images} images"
        )
    parts = rows.reshape(c, points, height // points, images, width // images)
    return parts.permute(1, 3, 0, 2, 4).contiguous()


# Covariances of more pixels than images mean nothing: larger images are averaged down.
MAX_PIXEL_SIDE = 16


def pixel_features(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) -> float32 (N, D), averaged down to at most 16 x 16 pixels."""
    x = to_model_range(images)
    if x.shape[-1] > MAX_PIXEL_SIDE:
        x = nn.functional.adaptive_avg_pool2d(x, MAX_PIXEL_SIDE)
    return x.flatten(1)
