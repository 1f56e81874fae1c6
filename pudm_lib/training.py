"""One training loop for all of PUDM's methods (Algorithm 1 and the baselines).

Images of U and S (and N, for PNU) -> a noise level and noise for each -> the network's
error ell (eq. 8) -> the method's risk (pudm_lib.losses) -> one AdamW step.

All randomness is drawn anew from (seed, stream, step), so a run that was cut off goes
on from its checkpoint to the same weights, bit by bit, on the same number of threads.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm.auto import tqdm

from pudm_lib.augment import AUGMENTATIONS, affine
from pudm_lib.checkpoints import (
    CheckpointError,
    load_tensors,
    save_tensors,
    with_prefix,
    without_prefix,
)
from pudm_lib.data import to_model_range
from pudm_lib.devices import cpu_threads, resolve_device
from pudm_lib.diffusion import (
    add_noise,
    alphas_cumprod_of,
    denoising_error,
    linear_betas,
    random_generator,
)
from pudm_lib.losses import METHODS
from pudm_lib.paths import headless

log = logging.getLogger(__name__)

# What is kept of every step, in this order.
HISTORY = ("loss", "positive", "negative", "ell_unlabeled", "ell_sensitive")

# Streams of randomness: order of the images, and noise, for each of the three sets.
ORDER, NOISE = 0, 1
# A look at the losses makes a GPU wait for them, so it is taken now and then.
LOOK_EVERY = 25


class TrainingError(ValueError):
    """Training that cannot go on: a loss that is not a number."""


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
    steps: int = _setting(1400, "optimiser steps, >= 1")
    batch_unlabeled: int = _setting(48, "U images in a batch, >= 1")
    batch_sensitive: int = _setting(4, "S images in a batch, >= 1")
    batch_normal: int = _setting(4, "N images in a batch (pnu), >= 1")
    batching: str = _setting("stratified", "stratified, or random (released code)")
    augmentation: str = _setting("none", "one of " + ", ".join(AUGMENTATIONS))
    learning_rate: float = _setting(2e-3, "peak of the cosine schedule, > 0")
    warmup_steps: int = _setting(100, "steps of linear warm-up, >= 0")
    weight_decay: float = _setting(0.01, "AdamW's, >= 0")
    ema_decay: float = _setting(0.995, "of the weight average, 0 (off) to < 1")
    num_train_timesteps: int = _setting(1000, "T, >= 1")
    threads: int = _setting(1, "CPU threads; a part of the result, >= 1")
    device: str = _setting("auto", "auto, cpu or cuda")
    precision: str = _setting("auto", "auto, float32 or bfloat16")
    checkpoint_every: int = _setting(200, "steps between checkpoints, >= 1")

    def __post_init__(self):
        words = {
            "method": tuple(METHODS),
            "reduction": ("sum", "mean"),
            "batching": ("stratified", "random"),
            "augmentation": AUGMENTATIONS,
            "device": ("auto", "cpu", "cuda"),
            "precision": ("auto", "float32", "bfloat16"),
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
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}, must be in [0, 1]")
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


@dataclass(frozen=True)
class TrainingImages:
    """What a method may see; uint8 images (n, C, H, W) or float points (n, D)."""

    unlabeled: Tensor
    sensitive: Tensor
    normal: Tensor | None = None


def train(
    model: nn.Module,
    images: TrainingImages,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoint: Path | None = None,
    report: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Train `model` in place and leave the averaged (EMA) weights in it.

    Args:
        model: model(x_t, t).sample predicts the noise; already initialised.
        images: see `TrainingImages`; kept whole on the training device.
        checkpoint: resumed from if it exists, written to as training goes on.
        report: called with the number of steps done, in place of a progress bar.

    Returns:
        history: for each name of `HISTORY` a (steps,) float32 tensor.

    Raises:
        TrainingError: a loss that is not finite, with its step and risk terms.
        CheckpointError: a checkpoint that is damaged or of another model.
    """
    device = resolve_device(settings.device)
    with cpu_threads(settings.threads):
        loop = _Loop(model, images, settings, seed, device)
        if checkpoint is not None and checkpoint.exists():
            loop.resume(checkpoint)
        bar = tqdm(
            total=settings.steps,
            initial=loop.step,
            desc=f"train {settings.method}",
            disable=headless() or report is not None,
        )
        with bar:
            while loop.step < settings.steps:
                loop.advance()
                bar.update()
                last = loop.step == settings.steps
                if last or loop.step % LOOK_EVERY == 0:
                    loop.look(bar)
                    if report is not None:
                        report(loop.step)
                at_checkpoint = loop.step % settings.checkpoint_every == 0
                if checkpoint is not None and at_checkpoint and not last:
                    loop.look(bar)  # a state that is not finite is never kept
                    loop.save(checkpoint)
        loop.average.copy_to(loop.parameters)
    return dict(zip(HISTORY, loop.history.T.cpu(), strict=True))


class _Loop:
    """The state of a run: weights, their average, the optimiser, the step, history."""

    def __init__(self, model, images, settings, seed, device):
        bfloat16 = settings.precision == "bfloat16" or (
            settings.precision == "auto" and device == "cuda"
        )
        self.accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision="bf16" if bfloat16 else "no"
        )
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.device = self.accelerator.device
        self.parameters = list(self.model.parameters())
        # Not prepared: one step of the schedule is one step of the optimiser.
        self.schedule = get_cosine_schedule_with_warmup(
            optimizer, settings.warmup_steps, settings.steps
        )
        self.average = EMAModel(self.parameters, decay=settings.ema_decay, foreach=True)
        self.alphas_cumprod = alphas_cumprod_of(
            linear_betas(settings.num_train_timesteps)
        ).to(self.device)
        self.sets = _sets_in_use(images, settings, self.device)
        # Each process of a multi-GPU run draws images and noise of its own.
        self.seed = (seed, self.accelerator.process_index)
        self.order = _batch_order(self.sets, settings, self.seed)
        self.settings = settings
        self.history = torch.zeros(settings.steps, len(HISTORY), device=self.device)
        self.step = 0

    def advance(self) -> None:
        """One step of Algorithm 1."""
        settings, step = self.settings, self.step
        x0, eps, t, sizes = self._batch()
        x_t = add_noise(x0, eps, t, self.alphas_cumprod)
        with self.accelerator.autocast():
            eps_hat = self.model(x_t, t).sample
        ell = denoising_error(
            eps, eps_hat.float(), reduction=settings.reduction, tau=settings.tau
        )
        ell_u, ell_s, ell_n = ell.split(sizes)
        risk = METHODS[settings.method](
            ell_u, ell_s, ell_n, beta=settings.beta, gamma=settings.gamma
        )
        self.accelerator.backward(risk.step)
        self.accelerator.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.average.step(self.parameters)
        with torch.no_grad():
            kept = (risk.value, risk.positive, risk.negative, ell_u.mean())
            # Without S in the batch the mean is NaN, which history shows as a gap.
            self.history[step] = torch.stack([*kept, ell_s.mean()])
        self.step += 1

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        """x0, eps, t of the images of U, S and N, in this order, and their counts."""
        settings, parts, sizes = self.settings, [], []
        for name in ("unlabeled", "sensitive", "normal"):
            chosen = self.order(name, self.step)
            sizes.append(len(chosen))
            if not len(chosen):
                continue
            stream = (NOISE, list(self.sets).index(name), self.step)
            generator = random_generator(*self.seed, *stream, device=self.device)
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
            parts.append((x0, eps, t))
        x0, eps, t = (torch.cat(column) for column in zip(*parts, strict=True))
        return x0, eps, t, sizes

    def look(self, bar: tqdm) -> None:
        """Show the latest losses; stop if any of the last steps is not finite."""
        since = max(0, self.step - LOOK_EVERY)
        rows = self.history[since : self.step, :3].cpu()  # loss and its two parts
        bad = ~torch.isfinite(rows).all(dim=1)
        if bad.any():
            first = int(bad.nonzero()[0])
            terms = dict(zip(HISTORY, rows[first].tolist(), strict=False))
            raise TrainingError(
                f"loss is not finite at step {since + first}: "
                + ", ".join(f"{name}={value:g}" for name, value in terms.items())
                + f" (method={self.settings.method}, beta={self.settings.beta}, "
                f"learning_rate={self.settings.learning_rate}); lower the learning "
                "rate or beta"
            )
        means = dict(zip(HISTORY, rows.mean(0).tolist(), strict=False))
        below = (rows[:, 2] < 0).float().mean().item()
        bar.set_postfix(
            {name: f"{value:.3g}" for name, value in means.items()}
            | {"below 0": f"{below:.0%}"},
            refresh=False,
        )

    def save(self, path: Path) -> None:
        if not self.accelerator.is_main_process:
            return
        weights = self.accelerator.unwrap_model(self.model).state_dict()
        moments = {
            f"{index}.{name}": tensor
            for index, state in self.optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        shadows = {str(i): p for i, p in enumerate(self.average.shadow_params)}
        tensors = {
            "history": self.history,
            **with_prefix("model.", weights),
            **with_prefix("average.", shadows),
            **with_prefix("optimizer.", moments),
        }
        facts = {"step": self.step, "ema_steps": self.average.optimization_step}
        save_tensors(path, tensors, facts)

    def resume(self, path: Path) -> None:
        tensors, facts = load_tensors(path)
        log.info("resuming from %s at step %d", path, facts["step"])
        weights = without_prefix("model.", tensors)
        moments = without_prefix("optimizer.", tensors)
        try:
            self.accelerator.unwrap_model(self.model).load_state_dict(weights)
            for i, shadow in enumerate(self.average.shadow_params):
                shadow.copy_(tensors[f"average.{i}"])
            self.history.copy_(tensors["history"])
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"{path} belongs to another model or budget; delete it to start that "
                f"run from its beginning ({' '.join(str(error).split())})"
            ) from error
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in moments.items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.average.optimization_step = facts["ema_steps"]
        self.step = facts["step"]
        # The learning rate is a function of the step alone.
        self.schedule.last_epoch = self.step
        factor = self.schedule.lr_lambdas[0](self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor


def _sets_in_use(images, settings, device) -> dict[str, Tensor]:
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


def _batch_order(sets, settings, seed) -> Callable[[str, int], Tensor]:
    """order(name, step) -> the positions in sets[name] of that step's images."""
    if settings.batching == "stratified":
        sequences = {
            name: _Shuffled(len(x), (*seed, ORDER, i))
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
    sequence = _Shuffled(sum(sizes), (*seed, ORDER))
    batch = sum(getattr(settings, f"batch_{name}") for name in sets)
    starts = dict(zip(sets, torch.tensor([0, *sizes]).cumsum(0).tolist(), strict=False))

    def random_order(name: str, step: int) -> Tensor:
        if name not in sets:
            return torch.empty(0, dtype=torch.long)
        drawn = sequence.take(step * batch, batch) - starts[name]
        return drawn[(drawn >= 0) & (drawn < len(sets[name]))]

    return random_order


class _Shuffled:
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
