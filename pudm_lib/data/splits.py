"""Positive-unlabeled splits (PUDM section 5.1, Table 1).

From the training part of a set come the unlabeled images U (normal with hidden
sensitive ones), the labelled sensitive S and, when asked for, labelled normal N; the
test images are the held-out normal ones. No image is in two of them.
"""

from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from pudm_lib.data.datasets import GROUPS, open_dataset
from pudm_lib.data.pixels import ImageSource, read_resized

# What `condition` may name besides groups of classes.
CONDITIONS = {"pairs": "0,1;2,3;4,5;6,7;8,9"}


def setting(default, help_text: str, **facts):
    """A field that the command line shows with its help."""
    return field(default=default, metadata={"help": help_text, **facts})


@dataclass(frozen=True)
class DataSettings:
    """Which images an experiment sees. Sizes count images; 0 resolution or channels
    means the set's own."""

    dataset: str = setting(
        "digits", "digits, mnist, cifar10, stl10, celeba, a folder or an .npz"
    )
    normal: str = setting(
        "even", "even, odd, vehicles, animals, or class names with commas"
    )
    num_unlabeled_normal: int = setting(600, ">= 1", least=1)
    num_unlabeled_sensitive: int = setting(60, ">= 0", least=0)
    num_sensitive: int = setting(150, ">= 1", least=1)
    num_normal: int = setting(0, "labelled normal images, for pnu; >= 0", least=0)
    resolution: int = setting(0, "pixels a side; 0: the set's", least=0)
    channels: int = setting(0, "1 or 3; 0: the set's")
    condition: str = setting(
        "none", 'what to ask for: none, pairs, or classes, "0,1;2,3;..."'
    )

    def __post_init__(self):
        for f in fields(self):
            value, least = getattr(self, f.name), f.metadata.get("least")
            if least is not None and value < least:
                raise ValueError(f"{f.name}={value}, must be >= {least}")
        if self.channels not in (0, 1, 3):
            raise ValueError(f"channels={self.channels}, must be 0, 1 or 3")


@dataclass(frozen=True)
class PUSplit:
    """uint8 images (n, C, H, W) and where each came from.

    hidden_labels: (len(x_unlabeled),) bool, True = sensitive. For the judge and
        the reader's eyes only; no training method takes it.
    indices: positions in the set's own training part ("unlabeled", "sensitive",
        "normal") or test part ("test").
    conditions: by the same names, (n,) integers: what each image is asked for by, as a
        caption is; None without a condition.
    """

    x_unlabeled: Tensor
    x_sensitive: Tensor
    x_normal: Tensor
    x_test: Tensor
    hidden_labels: Tensor
    indices: dict[str, np.ndarray]
    conditions: dict[str, Tensor] | None = None

    @property
    def sensitive_share(self) -> float:
        """The true beta: the share of sensitive images in U."""
        return self.hidden_labels.float().mean().item()


def sensitive_classes(source: ImageSource, normal: str) -> np.ndarray:
    """(number of classes,) bool, True for each that is not a normal one.

    Args:
        normal: a group of `GROUPS`, or class names separated by commas.

    Raises:
        ValueError: a class that the set lacks, or no class left on one side.
    """
    wanted = GROUPS.get(normal, [name.strip() for name in normal.split(",")])
    known = [name for name in wanted if name in source.classes]
    unknown = [name for name in wanted if name not in source.classes]
    # A group may name more classes than a set has; a list of the user's may not.
    if not known or (unknown and normal not in GROUPS):
        raise ValueError(
            f"normal={normal!r} names {unknown} but the classes of {source.name!r} are "
            f"{', '.join(source.classes)}"
        )
    if len(known) == len(source.classes):
        raise ValueError(f"normal={normal!r} leaves no sensitive class")
    return np.array([name not in known for name in source.classes])


def sensitive_labels(source: ImageSource, normal: str) -> dict[str, np.ndarray]:
    """{"train": (N,), "test": (M,)} bool, of the images; see `sensitive_classes`."""
    sensitive = sensitive_classes(source, normal)
    return {part: sensitive[labels] for part, labels in source.labels.items()}


def condition_groups(condition: str) -> list[list[str]]:
    """The classes behind each condition: "0,1;2,3" -> [["0", "1"], ["2", "3"]].

    Args:
        condition: a name of `CONDITIONS`; or class names, separated by commas, in
            groups, separated by semicolons; or "none", which has no groups.
    """
    if condition == "none":
        return []
    groups = CONDITIONS.get(condition, condition).split(";")
    return [[name.strip() for name in group.split(",")] for group in groups]


def condition_labels(source: ImageSource, condition: str) -> dict[str, np.ndarray]:
    """{"train": (N,), "test": (M,)} integers, the group that an image's class is in.

    Raises:
        ValueError: not every class of the set in exactly one group.
    """
    groups = condition_groups(condition)
    named = [name for group in groups for name in group]
    if sorted(named) != sorted(source.classes):
        raise ValueError(
            f"condition={condition!r} must be none, or {', '.join(CONDITIONS)} for "
            "digits, or name each class once, with commas inside a group and "
            f"semicolons between groups; the classes of {source.name!r} are "
            f"{', '.join(source.classes)}"
        )
    group_of = {name: i for i, group in enumerate(groups) for name in group}
    of_class = np.array([group_of[name] for name in source.classes])
    return {part: of_class[labels] for part, labels in source.labels.items()}


def image_size(settings: DataSettings, source: ImageSource) -> tuple[int, int]:
    """(resolution, channels) of the experiment's images."""
    resolution, channels = source.native_size
    return settings.resolution or resolution, settings.channels or channels


def draw_indices(
    settings: DataSettings, source: ImageSource, seed: int
) -> dict[str, np.ndarray]:
    """Which images go where; U is in random order, normal and sensitive mixed.

    Raises:
        ValueError: sizes larger than the set holds, with the counts there are.
    """
    sensitive = sensitive_labels(source, settings.normal)
    generator = np.random.default_rng(seed)
    normal_pool, sensitive_pool = (
        generator.permutation(np.flatnonzero(sensitive["train"] == side))
        for side in (False, True)
    )
    a, b = settings.num_unlabeled_normal, settings.num_unlabeled_sensitive
    too_few_normal = a + settings.num_normal > len(normal_pool)
    if too_few_normal or b + settings.num_sensitive > len(sensitive_pool):
        raise ValueError(
            f"{settings.dataset!r} with normal={settings.normal!r} holds "
            f"{len(normal_pool)} normal and {len(sensitive_pool)} sensitive training "
            f"images, but num_unlabeled_normal={a} + num_normal={settings.num_normal} "
            f"and num_unlabeled_sensitive={b} + num_sensitive={settings.num_sensitive} "
            "are asked for"
        )
    unlabeled = np.concatenate([normal_pool[:a], sensitive_pool[:b]])
    return {
        "unlabeled": generator.permutation(unlabeled),
        "sensitive": sensitive_pool[b : b + settings.num_sensitive],
        "normal": normal_pool[a : a + settings.num_normal],
        "test": np.flatnonzero(~sensitive["test"]),
    }


def make_split(settings: DataSettings, seed: int, *, download=False) -> PUSplit:
    """Draw the split of one seed and decode its images, each once."""
    source = open_dataset(settings.dataset, download=download)
    indices = draw_indices(settings, source, seed)
    size = image_size(settings, source)
    part = {name: "test" if name == "test" else "train" for name in indices}
    images = {
        f"x_{name}": read_resized(source, part[name], chosen, *size)
        for name, chosen in indices.items()
    }
    sensitive = torch.from_numpy(sensitive_labels(source, settings.normal)["train"])
    hidden = sensitive[indices["unlabeled"]]
    conditions = None
    if settings.condition != "none":
        labels = condition_labels(source, settings.condition)
        conditions = {
            name: torch.from_numpy(labels[part[name]][chosen])
            for name, chosen in indices.items()
        }
    return PUSplit(
        **images, hidden_labels=hidden, indices=indices, conditions=conditions
    )
