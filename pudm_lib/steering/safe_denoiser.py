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
from pudm_lib.steering.hooks import Hook, check_strength
from pudm_lib.steering.references import Posterior, ReferenceDenoiser
from pudm_lib.steering.weights import Level, LogWeight, PosteriorOdds, at_time, log_of

log = logging.getLogger(__name__)


@dataclass
class SafeDenoiser(Hook):
    """The hook: x0_hat + beta*(x_t) (x0_hat - E_unsafe[x|x_t]) (4).

    Args:
        unsafe: (x_t, t) -> Posterior of the negation set.
        log_weight: (x_t, t, posterior) -> (B,) log beta*(x_t), may be +-inf.
        window: see `Hook`; the paper's critical time steps C.
        threshold: of log beta(x_t) (`Posterior.log_kernel`), a number or one for each
            t; below it an image is left alone.
        cap: largest weight, >= 0 and finite.

    `trace` gets one record a call: t, images, and over the images the mean of
    "effective" and "weight" and the shares "corrected", "capped", "certain" (pi >= 1)
    and "underflow" (a weight above zero that changes nothing in x0_hat's precision).
    The first step at which all weights underflow is also logged as a warning.

    Raises:
        ValueError: a window outside the schedule, a cap out of its range.
    """

    unsafe: Callable[[Tensor, int], Posterior]
    log_weight: LogWeight
    threshold: Level = -math.inf
    cap: float = 1.0
    trace: list[dict[str, float]] = field(default_factory=list, repr=False)

    def __post_init__(self):
        super().__post_init__()
        check_strength(cap=self.cap)

    def moved(self, x0_hat: Tensor, x_t: Tensor, t: int) -> Tensor:
        unsafe = self.unsafe(x_t, t)
        log_weight = self.log_weight(x_t, t, unsafe)
        dense = unsafe.log_kernel >= at_time(self.threshold, t)
        weight = torch.where(dense, log_weight.exp().clamp(max=self.cap), 0.0)
        too_small = weight < torch.finfo(x0_hat.dtype).eps
        lost = dense & (log_weight > -math.inf) & too_small
        self._record(t, unsafe, log_weight, weight, lost)
        w = weight.to(x0_hat).reshape(-1, *[1] * (x0_hat.ndim - 1))
        return x0_hat + w * (x0_hat - unsafe.mean)  # (4)

    def _record(self, t, unsafe, log_weight, weight, lost) -> None:
        seen = {
            "effective": unsafe.effective,
            "weight": weight,
            "corrected": (weight > 0) & ~lost,
            "capped": log_weight > log_of(self.cap),
            "certain": log_weight == math.inf,
            "underflow": lost,
        }
        means = {name: values.double().mean().item() for name, values in seen.items()}
        if means["underflow"] == 1 and all(r["underflow"] < 1 for r in self.trace):
            log.warning(
                "t=%d: every weight is above zero but too small to change an image "
                "(largest: exp(%.1f)); of odds this says that all images are safe, of "
                "a density that it needs a larger eta or temperature, or a level",
                t,
                log_weight.max().item(),
            )
        self.trace.append({"t": t, "images": len(weight)} | means)


# What a trace says of a step besides t and the number of images.
TRACED = ("effective", "weight", "corrected", "capped", "certain", "underflow")


def by_time(trace: list[dict[str, float]]) -> dict[str, list[float]]:
    """The means over images of several batches as columns, the noisiest t first."""
    times = sorted({record["t"] for record in trace}, reverse=True)
    columns = {"t": times} | {name: [] for name in TRACED}
    for t in times:
        rows = [r for r in trace if r["t"] == t]
        images = sum(r["images"] for r in rows)
        for name in TRACED:
            columns[name].append(sum(r[name] * r["images"] for r in rows) / images)
    return columns


class ExactPosterior:
    """E[x|x_t] and the density of a mixture, called as a set of references is
    (`ReferenceDenoiser`): what infinitely many would say."""

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
