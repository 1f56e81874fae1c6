"""What computes: the device, its precision, CPU threads, and library versions.

The number of threads changes the order of sums and so the last bits of every weight; it
belongs to an experiment and is not taken from the machine.
"""

import ctypes
import functools
import os
import platform
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

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


def what_fits(
    error: torch.OutOfMemoryError,
    predict: Callable[..., Any],
    tries: Mapping[str, int],
    shape: Sequence[int],
    device: str | torch.device,
    conditional: bool,
) -> torch.OutOfMemoryError:
    """The error that says what was too large and which setting helps: tried here.

    Args:
        predict: called with zeros for (x_t, t), or for (x_t, t, c) if `conditional`.
        tries: images at once, by the setting that makes them so many, the first first.
        shape: (B, ...) of the images that did not fit.
    """
    # The error holds on to the tensors of the functions it came through.
    traceback.clear_frames(error.__traceback__)
    advice = "a smaller resolution or network is needed"
    for words, images in tries.items():
        torch.cuda.empty_cache()
        x_t = torch.zeros(images, *shape[1:], device=device)
        t = torch.zeros(images, dtype=torch.long, device=device)
        try:
            predict(x_t, t, *([t] if conditional else []))
        except torch.OutOfMemoryError as again:
            traceback.clear_frames(again.__traceback__)
        else:
            advice = f"with {words} they do"
            break
    return torch.OutOfMemoryError(
        f"{shape[0]} images of {'x'.join(map(str, shape[1:]))} at once do not fit in "
        f"the memory of {device}; {advice}"
    )


def environment(device: str = "cpu") -> dict[str, str]:
    """Device and package versions: what a number may depend on, and no more."""
    on_gpu = resolve_device(device) == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    return {"device": name, "python": platform.python_version(), **versions()}
