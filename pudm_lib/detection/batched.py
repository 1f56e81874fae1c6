"""A function of a model and images, taken batch by batch, whatever their number."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pudm_lib.data.pixels import to_model_range
from pudm_lib.diffusion.process import random_generator
from pudm_lib.machine.paths import headless

# Images (B, C, H, W) in [-1, 1] -> latents (B, c, h, w): the V of eq. 9.
Encoder = Callable[[Tensor], Tensor]


def check_images(images: Tensor) -> None:
    """Raise ValueError unless there are images (N, C, H, W), uint8 or floats in
    [-1, 1]; floats that look like [0, 1] are refused as well, but for images of one
    value, which say nothing of a scale."""
    if images.ndim != 4 or len(images) == 0:
        shape = tuple(images.shape)
        raise ValueError(f"images of shape {shape}, must be (N >= 1, C, H, W)")
    if images.dtype == torch.uint8:
        return
    low, high = images.min().item(), images.max().item()
    found = f"images from {low:.3g} to {high:.3g}"
    wanted = "must be uint8 or floats in [-1, 1]"
    # Written as "not inside", so that NaN is refused as well.
    if not (-1.0001 <= low and high <= 1.0001):
        raise ValueError(f"{found}, {wanted}")
    if 0 <= low < high:
        raise ValueError(f"{found}, nothing below 0: they look like [0, 1], {wanted}")


def check_size(model: nn.Module, x: Tensor) -> None:
    """Raise ValueError where x (B, C, H, W) is not what a diffusers model expects."""
    config = getattr(model, "config", None)
    side = getattr(config, "sample_size", None)
    channels = getattr(config, "in_channels", None)
    if side is None or channels is None:
        return
    found, wanted = tuple(x.shape[1:]), (channels, *np.broadcast_to(side, 2).tolist())
    if found != wanted:
        raise ValueError(
            f"images of {found}, but the model takes {wanted} (channels, height, width)"
        )


def image_noise(x: Tensor, *entropy: int, first: int = 0) -> Tensor:
    """Normal noise like x (B, ...): an image's depends on the integers and its position
    first .. first + B - 1 alone, not on the batch or the device."""
    noise = [
        torch.randn(x.shape[1:], generator=random_generator(*entropy, first + i))
        for i in range(len(x))
    ]
    return torch.stack(noise).to(x)


@torch.no_grad()
def over_batches(
    function: Callable[[Tensor, slice], Tensor],
    model: nn.Module,
    images: Tensor,
    batch_size: int,
    description: str,
    *,
    encode: Encoder | None = None,
    dim: int = 0,
) -> Tensor:
    """function(x, where) over batches of images in the model's range, on its device.

    Whatever the number of images, the device holds one batch.

    Args:
        images: uint8 or floats in [-1, 1], (N, C, H, W).
        function: gets x (B, ...), encoded where `encode` is given, and its slice of N.
        dim: along which the parts are joined.

    Returns:
        On the CPU.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}, must be >= 1")
    check_images(images)  # of the whole set: one batch may happen to have no black
    weight = next(model.parameters())
    parts = []
    starts = range(0, len(images), batch_size)
    for start in tqdm(starts, desc=description, disable=headless()):
        where = slice(start, start + batch_size)
        x = images[where].to(weight.device)
        x = to_model_range(x) if x.dtype == torch.uint8 else x
        x = x.to(weight.dtype)
        x = x if encode is None else encode(x)
        check_size(model, x)
        parts.append(function(x, where).cpu())
    return torch.cat(parts, dim)
