"""What is kept, and under which name.

Weights and training states are safetensors with a JSON header: no pickle, so that a
checkpoint from elsewhere can carry numbers and nothing that runs. The name of a file is
a hash of all that decides what is in it, the version of each stage included. Whoever
changes what a stage computes raises its version; tests/test_versions.py says which.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pudm_lib.machine.paths import write_atomically

VERSION = {
    "data": 1,  # which images are in U, S, N and the test set, and their pixels
    "training": 1,  # batches, noise, networks, losses, optimiser: the weights
    "sampling": 2,  # the samples of given weights
    "guidance": 1,  # the samples of given weights, where there is a condition
    "judge": 1,  # the judge's weights and what it calls sensitive
    "measures": 1,  # the numbers of given samples and a given judge
    "estimates": 1,  # the estimates of beta of given images
    "detection": 1,  # the scores and outcomes of detectors of given images and weights
}


def stages(*names: str) -> dict[str, int]:
    """The versions of some stages, for a key."""
    return {name: VERSION[name] for name in names}


class CheckpointError(ValueError):
    """A checkpoint that is truncated, damaged or of another model."""


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and JSON-able facts as one file, whole or not at all."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    header = {"facts": json.dumps(facts)}
    write_atomically(path, safetensors.torch.save(tensors, metadata=header))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote.

    Raises:
        CheckpointError: truncated or damaged; names the file and the way out.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts
    except (SafetensorError, TypeError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is truncated or damaged ({error}); delete it to start that run "
            "from its beginning"
        ) from error


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with `prefix`, under the rest of their name."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def short_hash(parts: dict) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def plain(value: Any) -> Any:
    """Tensors, arrays, tuples and NumPy numbers as JSON's lists and numbers."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        # Six digits are what a figure can show; JSON has no NaN or infinity.
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
