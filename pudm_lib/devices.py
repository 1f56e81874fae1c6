"""Which device computes, and on how many CPU threads.

The number of threads changes the order of sums and so the last bits of every weight; it
belongs to an experiment and is not taken from the machine.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def resolve_device(device: str) -> str:
    """ "auto" is the GPU where there is one.

    Raises:
        ValueError: cuda asked for on a machine without it.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("device='cuda' but torch sees no CUDA device; use auto or cpu")
    return ("cuda" if available else "cpu") if device == "auto" else device


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Compute on this many threads inside the block, on as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def available_cores() -> int:
    """Cores this process may use, which a container can hold below the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
