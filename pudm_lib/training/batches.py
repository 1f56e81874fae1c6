"""Which images of U, S and N are in the batch of a step: a function of the seed and the
step alone, so that a run can go on from any step."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pudm_lib.data.pixels import to_model_range
from pudm_lib.diffusion.process import random_generator
from pudm_lib.training.augment import affine
from pudm_lib.training.losses import IGNORES
from pudm_lib.training.settings import TrainingSettings

SETS = ("unlabeled", "sensitive", "normal")

# Streams of randomness: the order of the images here, the noise and the conditions
# that are dropped in training.
ORDER, NOISE, DROP = 0, 1, 2


@dataclass(frozen=True)
class TrainingImages:
    """What a method may see; uint8 images (n, C, H, W) or float points (n, D).

    conditions: for a class-conditional model, the (n,) integers that belong to the
        images, by the names of the sets.
    """

    unlabeled: Tensor
    sensitive: Tensor
    normal: Tensor | None = None
    conditions: dict[str, Tensor] | None = None


class Shuffled:
    """Positions 0 .. n-1 in an endless row of shuffled epochs, any stretch of which
    can be had without the ones before."""

    def __init__(self, n: int, seed: tuple[int, ...]):
        @functools.lru_cache(maxsize=1)
        def epoch(number: int) -> Tensor:
            return torch.randperm(n, generator=random_generator(*seed, number))

        self.n, self.epoch = n, epoch

    def take(self, start: int, count: int) -> Tensor:
        first, last = start // self.n, (start + count - 1) // self.n
        row = torch.cat([self.epoch(number) for number in range(first, last + 1)])
        return row[start - first * self.n :][:count]


def batch_order(
    sets: dict[str, Tensor], settings: TrainingSettings, seed: int
) -> Callable[[str, int], Tensor]:
    """order(name, step) -> the positions in sets[name] of that step's images."""
    sizes = {name: getattr(settings, f"batch_{name}") for name in sets}
    if settings.batching == "stratified":
        rows = {
            name: Shuffled(len(x), (seed, ORDER, i))
            for i, (name, x) in enumerate(sets.items())
        }

        def order(name: str, step: int) -> Tensor:
            return rows[name].take(step * sizes[name], sizes[name])

        return order

    # As the released code: one shuffled loader over all, so the number of sensitive
    # images in a batch is left to chance.
    ends = dict(zip(sets, accumulate(len(x) for x in sets.values()), strict=True))
    row, batch = Shuffled(max(ends.values()), (seed, ORDER)), sum(sizes.values())

    def random_order(name: str, step: int) -> Tensor:
        drawn = row.take(step * batch, batch) - (ends[name] - len(sets[name]))
        return drawn[(drawn >= 0) & (drawn < len(sets[name]))]

    return random_order


class Batches:
    """The images of each step with their noise levels, their noise and conditions.

    null: the condition that stands for none; None for a model without conditions.
    sets: the images that the method looks at, by name, on the training device.
    size: images in a batch, of all sets.

    Raises:
        ValueError: no images of a set that the method needs, or not a condition
            0 .. null-1 for each.
    """

    def __init__(
        self, images: TrainingImages, settings: TrainingSettings, seed, device, null
    ):
        self.settings, self.seed, self.device = settings, seed, device
        self.conditions, self.null = images.conditions, null
        self.sets = {}
        for name in SETS:
            if f"batch_{name}" in IGNORES[settings.method]:
                continue
            x = getattr(images, name)
            if x is None or len(x) == 0:
                raise ValueError(
                    f"method={settings.method!r} needs {name} images, but there are "
                    f"none; set num_{name} >= 1"
                )
            self.sets[name] = x.to(device)
            if self.conditions is not None:
                self._check_conditions(name, len(x))
        self.order = batch_order(self.sets, settings, seed)
        self.size = sum(getattr(settings, f"batch_{name}") for name in self.sets)

    def _check_conditions(self, name: str, count: int) -> None:
        found = self.conditions[name]
        low, high = (int(end) for end in found.aminmax())
        if len(found) != count or low < 0 or high >= self.null:
            raise ValueError(
                f"{len(found)} conditions, {low} to {high}, for {count} {name} "
                f"images, must be one for each, in 0 .. {self.null - 1}"
            )

    def at(self, step: int) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[int]]:
        """x0, eps, t, [c] of the images of U, S and N, in this order, and their counts;
        [] for a model without a condition."""
        settings, parts, counts = self.settings, [], dict.fromkeys(SETS, 0)
        for i, name in enumerate(self.sets):
            chosen = self.order(name, step)
            counts[name] = n = len(chosen)
            if not n:
                continue
            generator = random_generator(self.seed, NOISE, i, step, device=self.device)
            x0 = self.sets[name][chosen.to(self.device)]
            x0 = to_model_range(x0) if x0.dtype == torch.uint8 else x0
            if settings.augmentation in ("affine", f"affine_{name}"):
                x0 = affine(x0, generator)
            drawn = {"generator": generator, "device": self.device}
            eps = torch.randn(x0.shape, **drawn)
            t = torch.randint(settings.num_train_timesteps, (n,), **drawn)
            parts.append([x0, eps, t])
            if self.conditions is not None:
                # A share p_uncond of them is replaced by the null class, so that the
                # model learns both halves of guidance.
                dropping = random_generator(self.seed, DROP, i, step)
                dropped = torch.rand(n, generator=dropping) < settings.p_uncond
                c = self.conditions[name][chosen].masked_fill(dropped, self.null)
                parts[-1].append(c.to(self.device))
        x0, eps, t, *c = (torch.cat(column) for column in zip(*parts, strict=True))
        return x0, eps, t, c, list(counts.values())


def batch_pieces(
    batch: int, *, processes: int, rank: int, accumulate: int
) -> list[slice]:
    """The images of a batch that the process `rank` takes, one slice a piece.

    Every so-many-th image and not a run of them: U, S and N lie one behind the other,
    and the pieces are to be alike.

    Raises:
        ValueError: a piece would be empty.
    """
    pieces = processes * accumulate
    if pieces > batch:
        raise ValueError(
            f"accumulate={accumulate} with processes={processes} cuts a batch of "
            f"{batch} images into {pieces} pieces, must be at most {batch}"
        )
    first = rank * accumulate
    return [slice(i, None, pieces) for i in range(first, first + accumulate)]
