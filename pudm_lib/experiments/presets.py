"""Sizes and budgets by preset, data set and normal class.

ci      a few steps on the digits: does every line run
laptop  digits (default) and MNIST at 16 x 16, on one core a model
gpu     MNIST and the other sets with middle-sized networks, about 90 s a model
paper   PUDM's Table 1 and section 5: sizes, network, batches and steps
"""

from typing import Any

PRESETS = ("ci", "laptop", "gpu", "paper")

# PUDM Table 1: unlabeled normal, unlabeled sensitive, labelled sensitive.
PAPER_SIZES = {
    "mnist": (25_000, 2_500, 2_500),
    "cifar10": (20_000, 2_000, 2_000),
    "stl10": (2_000, 200, 200),
    "celeba": (2_000, 200, 200),
}
# Side of the images; expected images of S in a random batch of U and S; steps of all
# epochs (section 5.3).
PAPER_IMAGES = {"mnist": 32, "cifar10": 32, "stl10": 96, "celeba": 256}
PAPER_BATCHES = {
    "mnist": (117, 11),
    "cifar10": (117, 11),
    "stl10": (29, 3),
    "celeba": (15, 1),
}
PAPER_STEPS = {"mnist": 23_500, "cifar10": 18_800, "stl10": 7_500, "celeba": 3_000}

# As many as the 1,797 digits allow; the paper's share of hidden sensitive images.
DIGITS_SIZES = (600, 60, 150)
SIZE_NAMES = ("num_unlabeled_normal", "num_unlabeled_sensitive", "num_sensitive")


def check_preset(preset: str) -> None:
    """Raise ValueError, naming those there are, for a preset that is not one."""
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r}, must be one of {', '.join(PRESETS)}")


def preset_fields(preset: str, dataset: str, normal: str) -> dict[str, Any]:
    """The settings of a preset, flat, by name.

    Raises:
        ValueError: unknown preset.
    """
    check_preset(preset)
    sizes = PAPER_SIZES.get(dataset, DIGITS_SIZES)
    common = {
        "dataset": dataset,
        "normal": normal,
        **dict(zip(SIZE_NAMES, sizes, strict=True)),
    }
    return common | {"ci": _ci, "laptop": _laptop, "gpu": _gpu, "paper": _paper}[
        preset
    ](dataset)


def _ci(dataset: str) -> dict[str, Any]:
    return {
        "resolution": 8,
        "network": "tiny",
        "steps": 20,
        "warmup_steps": 5,
        "batch_unlabeled": 12,
        "batch_sensitive": 4,
        "num_samples": 64,
        "num_inference_steps": 5,
        "compile": "off",  # takes longer than the few steps
    }


def _laptop(dataset: str) -> dict[str, Any]:
    if dataset == "digits":
        return {}
    return {
        "resolution": 16,
        "network": "small",
        "steps": 4000,
        "batch_unlabeled": 64,
        "batch_sensitive": 6,
        "num_samples": 1000,
    }


def _gpu(dataset: str) -> dict[str, Any]:
    return {
        "resolution": 8 if dataset == "digits" else 32,
        "network": "medium",
        "steps": 3000,
        "batch_unlabeled": 236,
        "batch_sensitive": 20,
        "num_samples": 5000,
    }


def _paper(dataset: str) -> dict[str, Any]:
    unlabeled, sensitive = PAPER_BATCHES.get(dataset, (117, 11))
    return {
        "resolution": PAPER_IMAGES.get(dataset, 0),
        "channels": 3,
        "network": "paper",
        "steps": PAPER_STEPS.get(dataset, 18_800),
        "batch_unlabeled": unlabeled,
        "batch_sensitive": sensitive,
        "batching": "random",
        "learning_rate": 1e-4,
        "warmup_steps": 500,
        "ema_decay": 0.0,
        "sampler": "ddpm",
        "num_inference_steps": 1000,
        "num_samples": 5000,
        "checkpoint_every": 1000,
        # Images of 256 x 256 need 64 times the memory of 32 x 32.
        "sampling_batch": 16 if dataset == "celeba" else 256,
    }
