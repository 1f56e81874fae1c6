"""Steering a trained model away from a negation set (Safe Denoiser, Kim et al. 2025).

A `SafeDenoiser` is handed to `sampling.sample` as its `denoised_hook`. At every step it
moves the predicted clean images by theorem 3.2 of the paper,

    E_safe[x|x_t] = E_data[x|x_t] + beta*(x_t) (E_data[x|x_t] - E_unsafe[x|x_t])  (4)

where beta* = pi / (1 - pi) are the odds that x_t comes from an unsafe image (5). It is
made of two parts, each of which an exact one can replace: an unsafe denoiser,
`unsafe(x_t, t) -> Posterior`, and a weight, `log_weight(x_t, t, posterior)`.

alpha_t = sqrt(alpha_bar_t) and sigma_t = sqrt(1 - alpha_bar_t) as in the paper.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pudm_lib.data.pixels import to_model_range
from pudm_lib.data.splits import PUSplit
from pudm_lib.diffusion.mixtures import GaussianMixture
from pudm_lib.steering.references import Posterior, ReferenceDenoiser
from pudm_lib.steering.weights import (
    Level,
    LogWeight,
    PosteriorOdds,
    at_time,
    check_strength,
    log_of,
)

log = logging.getLogger(__name__)


def bounded(x: Tensor, clip: float | None) -> Tensor:
    return x if clip is None else x.clamp(-clip, clip)


def check_window(window: tuple[int, int], num_train_timesteps: int) -> None:
    first, last = window
    if not 0 <= first <= last < num_train_timesteps:
        raise ValueError(
            f"window={tuple(window)}, must be (first, last) with 0 <= first <= last <= "
            f"{num_train_timesteps - 1}, the schedule's last t"
        )


@dataclass
class SafeDenoiser:
    """The hook: x0_hat + beta*(x_t) (x0_hat - E_unsafe[x|x_t]) (4).

    Args:
        unsafe: (x_t, t) -> Posterior of the negation set.
        log_weight: (x_t, t, posterior) -> (B,) log beta*(x_t), may be +-inf.
        window: first and last t at which it acts, both included (the paper's critical
            time steps C).
        threshold: of log beta(x_t) (`Posterior.log_kernel`), a number or one for each
            t; below it an image is left alone.
        cap: largest weight, >= 0 and finite.
        clip: bound of the corrected prediction, 1 for images; None for none.

    `trace` gets one record a call: t, images, and over the images the mean of
    "effective" and "weight" and the shares "corrected", "capped", "certain" (pi >= 1)
    and "underflow" (a weight above zero that changes nothing in x0_hat's precision).
    The first step at which all weights underflow is also logged as a warning.

    Raises:
        ValueError: a window outside the schedule, a cap that is negative, infinite.
    """

    unsafe: Callable[[Tensor, int], Posterior]
    log_weight: LogWeight
    window: tuple[int, int] = (0, 999)
    threshold: Level = -math.inf
    cap: float = 1.0
    clip: float | None = 1.0
    num_train_timesteps: int = 1000
    trace: list[dict[str, float]] = field(default_factory=list, repr=False)

    def __post_init__(self):
        check_window(self.window, self.num_train_timesteps)
        check_strength("cap", self.cap)
        self._warned = False

    def __call__(self, x0_hat: Tensor, x_t: Tensor, t: int) -> Tensor:
        if not self.window[0] <= t <= self.window[1]:
            return x0_hat
        unsafe = self.unsafe(x_t, t)
        log_weight = self.log_weight(x_t, t, unsafe)
        dense = unsafe.log_kernel >= at_time(self.threshold, t)
        weight = torch.where(dense, log_weight.exp().clamp(max=self.cap), 0.0)
        lost = dense & (log_weight > -math.inf)
        lost &= weight < torch.finfo(x0_hat.dtype).eps
        self._record(t, unsafe, log_weight, weight, lost)
        w = weight.to(x0_hat).reshape(-1, *[1] * (x0_hat.ndim - 1))
        corrected = x0_hat + w * (x0_hat - unsafe.mean)  # (4)
        return bounded(corrected, self.clip)

    def _record(self, t, unsafe, log_weight, weight, lost) -> None:
        def mean(values: Tensor) -> float:
            return values.double().mean().item()

        self.trace.append(
            {
                "t": t,
                "images": len(weight),
                "effective": mean(unsafe.effective),
                "weight": mean(weight),
                "corrected": mean((weight > 0) & ~lost),
                "capped": mean(log_weight > log_of(self.cap)),
                "certain": mean(log_weight == math.inf),
                "underflow": mean(lost),
            }
        )
        if bool(lost.all()) and not self._warned:
            self._warned = True
            log.warning(
                "t=%d: every weight is above zero but too small to change an image "
                "(largest: exp(%.1f)); of odds this says that all images are safe, of "
                "a density that it needs a larger eta or temperature, or a level",
                t,
                log_weight.max().item(),
            )


# What a trace says of a step besides t and the number of images.
TRACED = ("effective", "weight", "corrected", "capped", "certain", "underflow")


def by_time(trace: list[dict[str, float]]) -> dict[str, list[float]]:
    """A trace of several batches as columns, one row a t, the noisiest first; means
    over images."""
    times = sorted({record["t"] for record in trace}, reverse=True)
    columns = {"t": times}
    for name in TRACED:
        columns[name] = []
        for t in times:
            rows = [r for r in trace if r["t"] == t]
            images = sum(r["images"] for r in rows)
            columns[name].append(sum(r[name] * r["images"] for r in rows) / images)
    return columns


class ExactPosterior:
    """E[x|x_t] and the density of a mixture, called as a set of references is
    (`reference_denoiser.ReferenceDenoiser`): what infinitely many would say."""

    def __init__(self, mixture: GaussianMixture, alphas_cumprod: Tensor):
        self.mixture = mixture
        self.alphas_cumprod = alphas_cumprod.double()

    def __call__(self, x_t: Tensor, t: int) -> Posterior:
        a = self.alphas_cumprod[t].item()
        factor = x_t.shape[1] / 2 * math.log(2 * math.pi * (1 - a))
        return Posterior(
            mean=self.mixture.posterior_mean(x_t, a),
            log_kernel=self.mixture.noised(a).log_prob(x_t) + factor,
            effective=torch.full((len(x_t),), math.inf, dtype=torch.float64),
        )


def odds_hook(
    split: PUSplit,
    *,
    share: float,
    width: float,
    window: tuple[int, int],
    cap: float,
    count: int | None = None,
) -> SafeDenoiser:
    """Theorem 3.2 of the Safe Denoiser with all it needs taken from a split: S to stay
    away from, the weight from S and U.

    Args:
        share: of sensitive images in the posterior odds, in [0, 1): the strength.
        width, window, cap: see `ReferenceDenoiser` and `SafeDenoiser`.
        count: of images of S to use, the first ones, >= 1; None: all.

    Raises:
        ValueError: an argument outside its range; see the parts.
    """
    if count is not None and not 1 <= count <= len(split.x_sensitive):
        raise ValueError(f"count={count}, must be in 1 .. {len(split.x_sensitive)}")
    sensitive = to_model_range(split.x_sensitive[:count])
    unlabeled = to_model_range(split.x_unlabeled)
    everything = ReferenceDenoiser(unlabeled, width=width, density_only=True)
    odds = PosteriorOdds(share, everything)  # beta*(x_t) = pi / (1 - pi)
    unsafe = ReferenceDenoiser(sensitive, width=width)  # E_unsafe[x|x_t]
    return SafeDenoiser(unsafe, odds, window=tuple(window), cap=cap)
