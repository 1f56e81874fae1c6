"""A function of a model and images, taken batch by batch, whatever their number."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pudm_lib.data.pixels import to_model_range
from pudm_lib.machine.paths import headless

# Images (B, C, H, W) in [-1, 1] -> latents (B, c, h, w): the V of eq. 9.
Encoder = Callable[[Tensor], Tensor]


def check_range(images: Tensor) -> None:
    """Raise ValueError unless images are uint8 or floats in [-1, 1]; floats that look
    like [0, 1] are refused as well."""
    if images.dtype == torch.uint8 or images.numel() == 0:
        return
    low, high = images.min().item(), images.max().item()
    # Written as "not inside", so that NaN is refused as well.
    if not (-1.0001 <= low and high <= 1.0001):
        raise ValueError(
            f"images from {low:.3g} to {high:.3g}, must be uint8 or floats in [-1, 1]"
        )
    if low >= 0 and high > 0:
        raise ValueError(
            f"images from {low:.3g} to {high:.3g} have nothing below 0: they look "
            "like [0, 1], but must be uint8 or floats in [-1, 1]"
        )


def check_size(model: nn.Module, x: Tensor) -> None:
    """Raise ValueError where x (B, C, H, W) is not what a diffusers model expects."""
    if x.ndim != 4 or len(x) == 0:
        raise ValueError(f"images of shape {tuple(x.shape)}, must be (N >= 1, C, H, W)")
    config = getattr(model, "config", None)
    side = getattr(config, "sample_size", None)
    channels = getattr(config, "in_channels", None)
    if side is None or channels is None:
        return
    sides = (side, side) if isinstance(side, int) else tuple(side)
    if tuple(x.shape[1:]) != (channels, *sides):
        raise ValueError(
            f"images of {tuple(x.shape[1:])}, but the model takes {(channels, *sides)} "
            "(channels, height, width)"
        )


@torch.no_grad()
def over_batches(
    function: Callable[[Tensor, slice], Tensor],
    model: nn.Module,
    images: Tensor,
    *,
    batch_size: int,
    encode: Encoder | None = None,
    description: str = "score",
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
    if encode is None:
        check_size(model, images)
    check_range(images)  # of the whole set: one batch may happen to have no black
    weight = next(model.parameters())
    parts = []
    bar = tqdm(total=len(images), desc=description, disable=headless())
    with bar:
        for start in range(0, len(images), batch_size):
            where = slice(start, start + batch_size)
            x = images[where].to(weight.device)
            x = to_model_range(x) if x.dtype == torch.uint8 else x
            x = x.to(weight.dtype)
            if encode is not None:
                x = encode(x)
                check_size(model, x)
            parts.append(function(x, where).cpu())
            bar.update(len(x))
    return torch.cat(parts, dim)
