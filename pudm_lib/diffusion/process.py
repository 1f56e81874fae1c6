"""The forward process, its inversions and the error (Ho et al. 2020; PUDM eqs. 4-8).

Time runs over indices t = 0 .. T-1 as in diffusers; the papers' step t is index t-1.
Schedules are float64; every function here is exact arithmetic, no network in it.
"""

import numpy as np
import torch
from torch import Tensor


def linear_betas(
    num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Tensor:
    """The noise variances of DDPM, evenly spaced, shape (T,), float64.

    Raises:
        ValueError: T < 1, or the ends are not 0 < beta_start <= beta_end < 1.
    """
    if num_train_timesteps < 1:
        raise ValueError(f"num_train_timesteps={num_train_timesteps}, must be >= 1")
    if not 0 < beta_start <= beta_end < 1:
        raise ValueError(
            f"beta_start={beta_start}, beta_end={beta_end}: "
            "must satisfy 0 < beta_start <= beta_end < 1"
        )
    return torch.linspace(
        beta_start, beta_end, num_train_timesteps, dtype=torch.float64
    )


def alphas_cumprod_of(betas: Tensor) -> Tensor:
    """alpha_bar_t, the product of (1 - beta) up to and with t (eq. 5), shape (T,)."""
    return torch.cumprod(1 - betas, dim=0)


def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values[t] in the dtype of `like`, shaped (B, 1, ..., 1) to broadcast with it."""
    picked = values.to(like.device)[t].to(like.dtype)
    return picked.reshape(-1, *[1] * (like.ndim - 1))


def add_noise(x0: Tensor, eps: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps (eq. 6).

    Args:
        x0, eps: (B, ...), images in [-1, 1] and standard normal noise.
        t: (B,) integers in 0 .. T-1.
        alphas_cumprod: (T,).
    """
    a = at(alphas_cumprod, t, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def x0_from_eps(x_t: Tensor, eps: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Equation (6) solved for x0: the clean image that x_t and the noise imply."""
    a = at(alphas_cumprod, t, x_t)
    return (x_t - (1 - a).sqrt() * eps) / a.sqrt()


def eps_from_x0(x_t: Tensor, x0: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Equation (6) solved for eps: the noise that x_t and the clean image imply."""
    a = at(alphas_cumprod, t, x_t)
    return (x_t - a.sqrt() * x0) / (1 - a).sqrt()


def denoising_error(
    eps: Tensor, eps_hat: Tensor, *, reduction: str = "sum", tau: float = 1.0
) -> Tensor:
    """ell(x) of one draw of (t, eps): ||eps - eps_hat||^2 / tau, per image (eq. 8).

    A mean over the D numbers of an image in place of the sum is the same as tau = D:
    the temperature is the one knob behind both.

    Args:
        eps, eps_hat: (B, ...).
        reduction: "sum" (the paper) or "mean" over everything but the batch.
        tau: temperature of p(y=0|x) = exp(-ell / tau), > 0.

    Returns:
        (B,), each >= 0.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction={reduction!r}, must be 'sum' or 'mean'")
    if not tau > 0:
        raise ValueError(f"tau={tau}, must be > 0")
    squares = (eps - eps_hat).square().flatten(1)  # (B, ...) -> (B, D)
    return (squares.sum(1) if reduction == "sum" else squares.mean(1)) / tau


def random_generator(
    *entropy: int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """A generator that depends on all of the integers given, and on nothing else.

    Training draws with (seed, stream, step) and sampling with (seed, stream, image):
    the randomness of any step or image can be had without the ones before it. That is
    what makes an interrupted run resume exactly, and an image the same in any batch.
    """
    # NumPy takes (5,) and (5, 0) for one seed; their length tells them apart.
    sequence = np.random.SeedSequence((len(entropy), *entropy))
    state = sequence.generate_state(1, np.uint64)[0]
    # torch takes seeds up to 2**63 - 1 on every device.
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))
