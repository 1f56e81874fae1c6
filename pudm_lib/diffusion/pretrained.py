"""Networks that others trained: diffusers' UNet2DModel, alone or in a DDPM pipeline,
from a folder or the model hub. Only safetensors are read: a pickle can run code.
"""

import functools
import hashlib
import json
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
    try:
        kinds = ["*.json", "*.safetensors"]
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=kinds))
    except (OSError, ValueError) as error:
        raise PretrainedError(
            f"pretrained={name!r} is no folder (here, in the project or in PUDM_DATA), "
            f"and the hub did not give it ({one_line(error)})"
        ) from error


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
    unet = folder / "unet" if (folder / "unet").is_dir() else folder
    config = _read(name, unet / "config.json")
    expected = {
        "_class_name": "UNet2DModel",
        "sample_size": resolution,
        "in_channels": channels,
        "out_channels": channels,
        "num_class_embeds": None,
    }
    _compare(name, expected, {key: config.get(key) for key in expected})
    scheduler = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    if (scheduler / "scheduler_config.json").is_file():
        _check_schedule(name, scheduler, num_train_timesteps)
    if not (unet / WEIGHTS).is_file():
        raise PretrainedError(
            f"pretrained={name!r} has no {WEIGHTS} in {unet}; a pickle (.bin) is not "
            "loaded, because it can run code: if you trust it, let diffusers load it "
            "once and save_pretrained(folder)"
        )
    try:
        return UNet2DModel.from_pretrained(unet, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise PretrainedError(
            f"pretrained={name!r} cannot be read from {unet} ({one_line(error)})"
        ) from error


def _check_schedule(name: str, folder: Path, num_train_timesteps: int) -> None:
    config = _read(name, folder / "scheduler_config.json")
    try:
        scheduler = DDPMScheduler.from_config(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise PretrainedError(
            f"pretrained={name!r}: its scheduler is none of the book's "
            f"({one_line(error)})"
        ) from error
    expected = {
        "num_train_timesteps": num_train_timesteps,
        "prediction_type": "epsilon",
    }
    _compare(name, expected, {key: scheduler.config[key] for key in expected})
    ours = linear_betas(num_train_timesteps)
    theirs = scheduler.betas.double()
    if not torch.allclose(theirs, ours, rtol=1e-4):
        raise PretrainedError(
            f"pretrained={name!r} has the noise schedule "
            f"{scheduler.config.beta_schedule} from {theirs[0]:.3g} to "
            f"{theirs[-1]:.3g}, must be the book's, linear from {ours[0]:.3g} to "
            f"{ours[-1]:.3g}"
        )


def _read(name: str, path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PretrainedError(
            f"pretrained={name!r}: {path} cannot be read ({one_line(error)})"
        ) from error


def _compare(name: str, expected: dict[str, Any], found: dict[str, Any]) -> None:
    """Raise, naming both, for what a pretrained model has otherwise than wanted."""
    other = {key: found[key] for key in expected if found[key] != expected[key]}
    if other:
        raise PretrainedError(
            f"pretrained={name!r} has "
            + ", ".join(f"{key}={value!r}" for key, value in other.items())
            + ", but the experiment needs "
            + ", ".join(f"{key}={expected[key]!r}" for key in other)
        )
