"""Which images of U, S and N are in the batch of a step: a function of the seed and the
step alone, so that a run can go on from any step."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pudm_lib.data.pixels import to_model_range
from pudm_lib.diffusion.process import random_generator
from pudm_lib.training.augment import affine
from pudm_lib.training.settings import TrainingSettings

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


def sets_in_use(
    images: TrainingImages, settings: TrainingSettings, device
) -> dict[str, Tensor]:
    """The image sets that the method looks at, on the training device."""
    wanted = {"unlabeled": images.unlabeled}
    if settings.method != "unsupervised":
        wanted["sensitive"] = images.sensitive
    if settings.method == "pnu":
        wanted["normal"] = images.normal
    for name, x in wanted.items():
        if x is None or len(x) == 0:
            raise ValueError(
                f"method={settings.method!r} needs {name} images, but there are none; "
                f"set num_{name} >= 1"
            )
    return {name: x.to(device) for name, x in wanted.items()}


def check_conditions(
    conditions: dict[str, Tensor], sets: dict[str, Tensor], count: int
) -> None:
    """Raise ValueError unless each image of the sets has a condition 0 .. count-1."""
    for name, x in sets.items():
        found = conditions[name]
        low, high = (int(end) for end in found.aminmax())
        if len(found) != len(x) or low < 0 or high >= count:
            raise ValueError(
                f"{len(found)} conditions, {low} to {high}, for {len(x)} {name} "
                f"images, must be one for each, in 0 .. {count - 1}"
            )


def batch_order(
    sets: dict[str, Tensor], settings: TrainingSettings, seed: int
) -> Callable[[str, int], Tensor]:
    """order(name, step) -> the positions in sets[name] of that step's images."""
    if settings.batching == "stratified":
        sequences = {
            name: Shuffled(len(x), (seed, ORDER, i))
            for i, (name, x) in enumerate(sets.items())
        }

        def order(name: str, step: int) -> Tensor:
            if name not in sequences:
                return torch.empty(0, dtype=torch.long)
            size = getattr(settings, f"batch_{name}")
            return sequences[name].take(step * size, size)

        return order

    # As the released code: one shuffled loader over all, so the number of sensitive
    # images in a batch is left to chance.
    sizes = [len(x) for x in sets.values()]
    sequence = Shuffled(sum(sizes), (seed, ORDER))
    batch = sum(getattr(settings, f"batch_{name}") for name in sets)
    starts = dict(zip(sets, torch.tensor([0, *sizes]).cumsum(0).tolist(), strict=False))

    def random_order(name: str, step: int) -> Tensor:
        if name not in sets:
            return torch.empty(0, dtype=torch.long)
        drawn = sequence.take(step * batch, batch) - starts[name]
        return drawn[(drawn >= 0) & (drawn < len(sets[name]))]

    return random_order


class Batches:
    """The images of each step with their noise levels, their noise and conditions.

    Args:
        null: the condition that stands for none, for a model with conditions.

    sets: the images that the method looks at, by name.
    size: images in a batch, of all sets.
    """

    def __init__(
        self,
        images: TrainingImages,
        settings: TrainingSettings,
        seed: int,
        device: torch.device,
        null: int | None,
    ):
        self.sets = sets_in_use(images, settings, device)
        self.conditions, self.null = images.conditions, null
        if self.conditions is not None:
            check_conditions(self.conditions, self.sets, null)
        self.settings, self.seed, self.device = settings, seed, device
        self.order = batch_order(self.sets, settings, seed)
        self.size = sum(getattr(settings, f"batch_{name}") for name in self.sets)

    def at(self, step: int) -> tuple[Tensor, Tensor, Tensor, list[Tensor], list[int]]:
        """x0, eps, t, [c] of the images of U, S and N, in this order, and their counts;
        [] for a model without a condition."""
        settings, parts, sizes = self.settings, [], []
        for name in ("unlabeled", "sensitive", "normal"):
            chosen = self.order(name, step)
            sizes.append(len(chosen))
            if not len(chosen):
                continue
            stream = (NOISE, list(self.sets).index(name), step)
            generator = random_generator(self.seed, *stream, device=self.device)
            x0 = self.sets[name][chosen.to(self.device)]
            x0 = to_model_range(x0) if x0.dtype == torch.uint8 else x0
            if settings.augmentation in ("affine", f"affine_{name}"):
                x0 = affine(x0, generator)
            eps = torch.randn(x0.shape, generator=generator, device=self.device)
            t = torch.randint(
                settings.num_train_timesteps,
                (len(x0),),
                generator=generator,
                device=self.device,
            )
            parts.append((x0, eps, t, *self._condition(name, chosen, step)))
        x0, eps, t, *c = (torch.cat(column) for column in zip(*parts, strict=True))
        return x0, eps, t, c, sizes

    def _condition(self, name: str, chosen: Tensor, step: int) -> tuple[Tensor, ...]:
        """The conditions of a set's chosen images, a share p_uncond of them replaced by
        the null class, so that the model learns both halves of guidance."""
        if self.conditions is None:
            return ()
        stream = (DROP, list(self.sets).index(name), step)
        draws = torch.rand(len(chosen), generator=random_generator(self.seed, *stream))
        c = self.conditions[name][chosen]
        c = c.masked_fill(draws < self.settings.p_uncond, self.null)
        return (c.to(self.device),)


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


class Shuffled:
    """Positions 0 .. n-1 in an endless row of shuffled epochs, any stretch of which
    can be had without the ones before."""

    def __init__(self, n: int, seed: tuple[int, ...]):
        self.n, self.seed = n, seed
        self.epoch, self.permutation = -1, torch.empty(0, dtype=torch.long)

    def take(self, start: int, count: int) -> Tensor:
        pieces = []
        while count > 0:
            epoch, offset = divmod(start, self.n)
            if epoch != self.epoch:
                generator = random_generator(*self.seed, epoch)
                self.permutation = torch.randperm(self.n, generator=generator)
                self.epoch = epoch
            piece = self.permutation[offset : offset + count]
            pieces.append(piece)
            start, count = start + len(piece), count - len(piece)
        return torch.cat(pieces)
