"""What can be set of a training, with ranges and the book's defaults."""

import math
from dataclasses import dataclass, field, fields

from pudm_lib.machine.compiling import COMPILE
from pudm_lib.training.augment import AUGMENTATIONS
from pudm_lib.training.losses import METHODS


def _setting(default, help_text: str):
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained; the defaults are preset "laptop" on digits."""

    method: str = _setting("pu_non_negative", "one of " + ", ".join(METHODS))
    beta: float = _setting(0.1, "share of sensitive images in U, 0 <= beta < 1")
    gamma: float = _setting(0.5, "weight of labelled normals in pnu, 0 to 1")
    tau: float = _setting(1.0, "temperature in exp(-ell/tau), > 0")
    reduction: str = _setting("sum", "sum (paper) or mean over an image's numbers")
    accumulate: int = _setting(1, "pieces of a batch, one after another, >= 1")
    steps: int = _setting(1400, "optimiser steps, >= 1")
    batch_unlabeled: int = _setting(48, "U images in a batch, >= 1")
    batch_sensitive: int = _setting(4, "S images in a batch, >= 1")
    batch_normal: int = _setting(4, "N images in a batch (pnu), >= 1")
    batching: str = _setting("stratified", "stratified, or random (released code)")
    p_uncond: float = _setting(0.1, "share of conditions dropped in training, 0 to 1")
    augmentation: str = _setting("none", "one of " + ", ".join(AUGMENTATIONS))
    learning_rate: float = _setting(2e-3, "peak of the cosine schedule, > 0")
    warmup_steps: int = _setting(100, "steps of linear warm-up, >= 0")
    weight_decay: float = _setting(0.01, "AdamW's, >= 0")
    ema_decay: float = _setting(0.995, "of the weight average, 0 (off) to < 1")
    num_train_timesteps: int = _setting(1000, "T, >= 1")
    threads: int = _setting(1, "CPU threads; a part of the result, >= 1")
    device: str = _setting("auto", "auto, cpu or cuda")
    precision: str = _setting("auto", "auto, float32 or bfloat16")
    compile: str = _setting("auto", "auto (on a GPU), on or off: torch.compile")
    checkpoint_every: int = _setting(200, "steps between checkpoints, >= 1")

    def __post_init__(self):
        words = {
            "method": tuple(METHODS),
            "reduction": ("sum", "mean"),
            "batching": ("stratified", "random"),
            "augmentation": AUGMENTATIONS,
            "device": ("auto", "cpu", "cuda"),
            "precision": ("auto", "float32", "bfloat16"),
            "compile": COMPILE,
        }
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}, must be one of "
                    + ", ".join(allowed)
                )
        # Written as "not inside", so that NaN is refused as well.
        if not 0 <= self.beta < 1:
            raise ValueError(
                f"beta={self.beta}, must be in [0, 1): 0 is the unsupervised model, "
                "1 would leave no normal images"
            )
        for name in ("gamma", "p_uncond"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}, must be in [0, 1]")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay}, must be in [0, 1)")
        for name in ("tau", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}, must be > 0")
        for name, least in (("warmup_steps", 0), ("weight_decay", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}={getattr(self, name)}, must be >= {least}")
        for f in fields(self):
            counts_from_one = f.type is int and f.name != "warmup_steps"
            if counts_from_one and getattr(self, f.name) < 1:
                raise ValueError(f"{f.name}={getattr(self, f.name)}, must be >= 1")
