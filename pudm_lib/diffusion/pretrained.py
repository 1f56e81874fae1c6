"""Networks that others trained: diffusers' UNet2DModel, alone or in a DDPM pipeline,
from a folder or the model hub. Only safetensors are read: a pickle can run code.
"""

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors import SafetensorError

from pudm_lib.data.datasets import find_own
from pudm_lib.diffusion.process import linear_betas
from pudm_lib.machine.paths import one_line

WEIGHTS = "diffusion_pytorch_model.safetensors"


class PretrainedError(ValueError):
    """A pretrained model that is absent, damaged or does not fit the experiment."""


@contextmanager
def _refusing(name: str, words: str) -> Iterator[None]:
    """Whatever a library raises inside the block, in one line that names the model."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        reason = one_line(error)
        raise PretrainedError(f"pretrained={name!r} {words} ({reason})") from error


def find_pretrained(name: str) -> Path:
    """The folder of a pretrained model; one of the hub is fetched, once.

    Args:
        name: a folder (absolute, or below PUDM_DATA, the project or the working
            directory), or a name on the hub such as google/ddpm-cifar10-32.

    Raises:
        PretrainedError: neither.
    """
    path = find_own(name)
    if path is not None and path.is_dir():
        return path
    none = "is no folder (here, in the project or in PUDM_DATA)"
    with _refusing(name, f"{none}, and the hub did not give it"):
        kinds = ["*.json", "*.safetensors"]
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=kinds))


def content_stamp(name: str) -> str:
    """A hash of the files that decide a pretrained model."""
    files = (f for f in find_pretrained(name).rglob("*") if f.is_file())
    kept = sorted(f for f in files if f.suffix in (".json", ".safetensors"))
    hashes = [_hash(f, f.stat().st_size, f.stat().st_mtime_ns) for f in kept]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


@functools.cache
def _hash(path: Path, size: int, changed: int) -> str:
    """Of a file's content, read again only if its size or time has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_pretrained(
    name: str, *, resolution: int, channels: int, num_train_timesteps: int
) -> UNet2DModel:
    """A pretrained network for images of this size and this noise schedule.

    Raises:
        PretrainedError: absent or damaged; or made for other images, for another
            schedule or another target than the noise; names both.
    """
    folder = find_pretrained(name)
    # A pipeline has a folder for each part; older ones have all in one.
    unet, scheduler = (
        folder / part if (folder / part).is_dir() else folder
        for part in ("unet", "scheduler")
    )
    with _refusing(name, f"cannot be read from {unet}"):
        config = UNet2DModel.load_config(unet)
    size = {"sample_size": resolution, "num_class_embeds": None}
    size |= {"in_channels": channels, "out_channels": channels}
    _compare(name, config, {"_class_name": "UNet2DModel", **size})
    if (scheduler / "scheduler_config.json").is_file():
        _check_schedule(name, scheduler, num_train_timesteps)
    if not (unet / WEIGHTS).is_file():
        raise PretrainedError(
            f"pretrained={name!r} has no {WEIGHTS} in {unet}; a pickle (.bin) is not "
            "loaded, because it can run code: if you trust it, let diffusers load it "
            "once and save_pretrained(folder)"
        )
    with _refusing(name, f"cannot be read from {unet}"):
        return UNet2DModel.from_pretrained(unet, use_safetensors=True)


def _check_schedule(name: str, folder: Path, num_train_timesteps: int) -> None:
    with _refusing(name, "has a scheduler that is none of the book's"):
        config = DDPMScheduler.load_config(folder)
        if not isinstance(config, dict):  # diffusers would ask its hub for it
            raise ValueError(f"its settings are {config!r}, must be names and values")
        scheduler = DDPMScheduler.from_config(config)
    steps = {"num_train_timesteps": num_train_timesteps}
    _compare(name, scheduler.config, steps | {"prediction_type": "epsilon"})
    ours, theirs = linear_betas(num_train_timesteps), scheduler.betas.double()
    if not torch.allclose(theirs, ours, rtol=1e-4):
        raise PretrainedError(
            f"pretrained={name!r} has the noise schedule "
            f"{scheduler.config.beta_schedule} from {theirs[0]:.3g} to "
            f"{theirs[-1]:.3g}, must be the book's, linear from {ours[0]:.3g} to "
            f"{ours[-1]:.3g}"
        )


def _compare(name: str, config: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise, naming both, for what a pretrained model has otherwise than wanted."""
    other = [key for key, value in expected.items() if config.get(key) != value]
    has, needs = (
        ", ".join(f"{key}={part.get(key)!r}" for key in other)
        for part in (config, expected)
    )
    if other:
        raise PretrainedError(
            f"pretrained={name!r} has {has}, but the experiment needs {needs}"
        )
