"""What computes: the device, its precision, CPU threads, and library versions.

The number of threads changes the order of sums and so the last bits of every weight; it
belongs to an experiment and is not taken from the machine.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

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


def resolve_precision(precision: str, device: str) -> str:
    """ "auto" is bfloat16 where the device computes in it, float32 elsewhere."""
    if precision != "auto":
        return precision
    # Older GPUs only emulate bfloat16, which is slower than float32.
    gains = device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)
    return "bfloat16" if gains else "float32"


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


def versions() -> dict[str, str]:
    """Of the libraries that a number may depend on."""
    packages = ("torch", "torchvision", "diffusers", "torchmetrics", "scikit-learn")
    return {package: version(package) for package in packages}
