"""beta*(x_t), the weight of the Safe Denoiser's correction (Kim et al. 2025, eqs. 5-7):
a constant, the paper's kernel density, or the odds of theorem 3.2 from U and S.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pudm_lib.steering.hooks import check_strength
from pudm_lib.steering.references import Posterior

Level = float | Callable[[int], float]
LogWeight = Callable[[Tensor, int, Posterior], Tensor]


def at_time(level: Level, t: int) -> float:
    return level(t) if callable(level) else level


def log_of(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


@dataclass(frozen=True)
class ConstantWeight:
    """beta*(x_t) = strength everywhere; 0 changes nothing."""

    strength: float

    def __post_init__(self):
        check_strength(strength=self.strength)

    def __call__(self, x_t: Tensor, t: int, unsafe: Posterior) -> Tensor:
        return torch.full_like(unsafe.log_kernel, log_of(self.strength))


@dataclass(frozen=True)
class KernelWeight:
    """beta*(x_t) = eta beta(x_t), the paper's choice (7), with two changes that make it
    usable where D is large: eta (beta(x_t) / exp(level))^(1 / temperature).

    With D numbers in an image beta(x_t) is about exp(-D/2) even for a noised reference:
    1e-14 at D = 64, zero in any float at D = 3072.

    Args:
        eta: >= 0.
        temperature: > 0; 1: the paper; D: a mean over the numbers of an image.
        level: 0: the paper; `reference_level` gives the log beta(x_t) of noised
            references, where eta is then the weight.
    """

    eta: float
    temperature: float = 1.0
    level: Level = 0.0

    def __post_init__(self):
        check_strength(eta=self.eta)
        check_strength(temperature=self.temperature, positive=True)

    def __call__(self, x_t: Tensor, t: int, unsafe: Posterior) -> Tensor:
        scaled = (unsafe.log_kernel - at_time(self.level, t)) / self.temperature
        return scaled + log_of(self.eta)


@dataclass(frozen=True)
class PosteriorOdds:
    """beta*(x_t) = pi / (1 - pi) with pi = beta p_S,t(x_t) / p_U,t(x_t), both densities
    by kernels: theorem 3.2's own weight, taken from positive and unlabeled images.

    Where the estimate of pi reaches 1 the weight is infinite; `SafeDenoiser` caps it
    and counts these.

    Args:
        beta: assumed share of sensitive images in U, in [0, 1).
        unlabeled: U as a denoiser of its own.
    """

    beta: float
    unlabeled: Callable[[Tensor, int], Posterior]

    def __post_init__(self):
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta={self.beta}, must be in [0, 1)")

    def __call__(self, x_t: Tensor, t: int, unsafe: Posterior) -> Tensor:
        ratio = unsafe.log_kernel - self.unlabeled(x_t, t).log_kernel
        return log_odds(ratio + log_of(self.beta))


def log_odds(log_pi: Tensor) -> Tensor:
    """log(pi / (1 - pi)) from log pi; infinite where pi >= 1."""
    return log_pi - torch.log(-torch.expm1(log_pi.clamp(max=0)))
