"""When a device's memory does not suffice: what would fit, found out by trying."""

import traceback
from collections.abc import Callable, Iterable

import torch


def first_that_fits(
    error: torch.OutOfMemoryError, attempt: Callable[[int], None], sizes: Iterable[int]
) -> int | None:
    """The first of the sizes for which `attempt` does not run out of memory."""
    # The error holds on to the tensors of the functions it came through.
    traceback.clear_frames(error.__traceback__)
    for size in sizes:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            attempt(size)
        except torch.OutOfMemoryError as again:
            traceback.clear_frames(again.__traceback__)
        else:
            return size
    return None
