"""What computes: the device, its precision, CPU threads, and library versions.

The number of threads changes the order of sums and so the last bits of every weight; it
belongs to an experiment and is not taken from the machine.
"""

import ctypes
import functools
import os
import platform
import traceback
from collections.abc import Callable, Iterable, Iterator
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
    _keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def _keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, for the next step to use.

    A step frees and asks for the same blocks as the one before it. By default glibc
    returns them to the system, which gives them back zeroed, page by page: about a
    fifth of the time of a small network. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold, gib = -1, -3, 2**30  # names of malloc.h
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, gib)
        mallopt(trim_threshold, gib)


def available_cores() -> int:
    """Cores this process may use, which a container can hold below the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Of the libraries that a number may depend on."""
    packages = ("torch", "torchvision", "diffusers", "torchmetrics", "scikit-learn")
    return {package: version(package) for package in packages}


def first_that_fits(
    error: torch.OutOfMemoryError, attempt: Callable[[int], None], sizes: Iterable[int]
) -> int | None:
    """The first of the sizes for which `attempt` does not run out of memory."""
    for size in sizes:
        # The error holds on to the tensors of the functions it came through.
        traceback.clear_frames(error.__traceback__)
        torch.cuda.empty_cache()
        try:
            attempt(size)
            return size
        except torch.OutOfMemoryError as again:
            error = again
    return None


def environment(device: str = "cpu") -> dict[str, str]:
    """Device and package versions: what a number may depend on, and no more."""
    on_gpu = resolve_device(device) == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    return {"device": name, "python": platform.python_version(), **versions()}
