"""What can be set of a training, with ranges and the book's defaults."""

from dataclasses import dataclass

from pudm_lib.machine.checks import check_settings, setting
from pudm_lib.machine.compiling import COMPILE
from pudm_lib.training.augment import AUGMENTATIONS
from pudm_lib.training.losses import METHODS


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained; the defaults are preset "laptop" on digits."""

    method: str = setting("pu_non_negative", "the objective", METHODS)
    # At 0 it is the unsupervised model; 1 would leave no normal images.
    beta: float = setting(0.1, "share of sensitive images in U", "[0, 1)")
    gamma: float = setting(0.5, "weight of labelled normals in pnu", "[0, 1]")
    tau: float = setting(1.0, "temperature in exp(-ell/tau)", "(0, inf)")
    reduction: str = setting("sum", "over an image's numbers", ("sum", "mean"))
    accumulate: int = setting(1, "pieces of a batch, for the same steps", 1)
    steps: int = setting(1400, "optimiser steps", 1)
    batch_unlabeled: int = setting(48, "U images in a batch", 1)
    batch_sensitive: int = setting(4, "S images in a batch", 1)
    batch_normal: int = setting(4, "N images in a batch (pnu)", 1)
    batching: str = setting(
        "stratified", "random as the released code", ("stratified", "random")
    )
    p_uncond: float = setting(0.1, "share of conditions dropped in training", "[0, 1]")
    augmentation: str = setting("none", "of training images", AUGMENTATIONS)
    learning_rate: float = setting(2e-3, "peak of the cosine schedule", "(0, inf)")
    warmup_steps: int = setting(100, "steps of linear warm-up", 0)
    weight_decay: float = setting(0.01, "AdamW's", "[0, inf)")
    ema_decay: float = setting(0.995, "of the weight average, 0: off", "[0, 1)")
    num_train_timesteps: int = setting(1000, "T", 1)
    threads: int = setting(1, "CPU threads, a part of the result", 1)
    device: str = setting("auto", "what computes", ("auto", "cpu", "cuda"))
    precision: str = setting("auto", "of the network", ("auto", "float32", "bfloat16"))
    compile: str = setting("auto", "torch.compile, auto: on a GPU", COMPILE)
    checkpoint_every: int = setting(200, "steps between checkpoints", 1)

    def __post_init__(self):
        check_settings(self)
