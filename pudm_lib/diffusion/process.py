"""The forward process, its inversions and the error (Ho et al. 2020; PUDM eqs. 4-8).

Time runs over indices t = 0 .. T-1 as in diffusers; the papers' step t is index t-1.
Schedules are float64; every function here is exact arithmetic, no network in it.
"""

import numpy as np
import torch
from torch import Tensor

from pudm_lib.machine.checks import check


def linear_betas(
    num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Tensor:
    """The noise variances of DDPM, evenly spaced, shape (T,), float64.

    Raises:
        ValueError: T < 1, or the ends are not 0 < beta_start <= beta_end < 1.
    """
    check(1, num_train_timesteps=num_train_timesteps)
    check("(0, 1)", beta_start=beta_start)
    check(f"[{beta_start}, 1)", beta_end=beta_end)
    ends = beta_start, beta_end
    return torch.linspace(*ends, num_train_timesteps, dtype=torch.float64)


def alphas_cumprod_of(betas: Tensor) -> Tensor:
    """alpha_bar_t, the product of (1 - beta) up to and with t (eq. 5), shape (T,)."""
    return torch.cumprod(1 - betas, dim=0)


def at(values: Tensor, t: Tensor | int, like: Tensor) -> Tensor:
    """values[t] in the dtype of `like`, shaped (B, 1, ..., 1) to broadcast with it."""
    picked = values.to(like.device)[t].to(like.dtype)
    return picked.reshape(-1, *[1] * (like.ndim - 1))


def add_noise(
    x0: Tensor, eps: Tensor, t: Tensor | int, alphas_cumprod: Tensor
) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps (eq. 6).

    Args:
        x0, eps: (B, ...), images in [-1, 1] and standard normal noise.
        t: (B,) integers in 0 .. T-1, or one for all.
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
    check(("sum", "mean"), reduction=reduction)
    check("(0, inf)", tau=tau)
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


def vp_alphas_cumprod(
    num_train_timesteps: int, *, b_min: float = 0.1, b_max: float = 20.0
) -> Tensor:
    """alpha_bar of the linear variance-preserving schedule, cut into T equal steps.

    alpha_bar(s) = exp(-integral of b from 0 to s), b(u) = b_min + (b_max - b_min) u,
    at s = 1/T, 2/T, .., 1 (Song et al. 2021, eq. 32). Any T destroys the data equally,
    which makes ELBOs of different T comparable; T = 1000 is close to DDPM's own.

    Returns:
        (T,), float64, falling.
    """
    check(1, num_train_timesteps=num_train_timesteps)
    check("(0, inf)", b_min=b_min)
    check(f"[{b_min}, inf)", b_max=b_max)
    s = torch.arange(1, num_train_timesteps + 1, dtype=torch.float64)
    s = s / num_train_timesteps
    return torch.exp(-(b_min * s + (b_max - b_min) * s.square() / 2))


def step_betas(alphas_cumprod: Tensor) -> Tensor:
    """beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}, (T,), with alpha_bar = 1 before."""
    return 1 - alphas_cumprod / _previous(alphas_cumprod)


def posterior_variances(alphas_cumprod: Tensor) -> Tensor:
    """Variances of q(x_{t-1} | x_t, x0) (Ho et al. eq. 7), (T,); the first is 0."""
    before = 1 - _previous(alphas_cumprod)
    return step_betas(alphas_cumprod) * before / (1 - alphas_cumprod)


def reverse_variances(alphas_cumprod: Tensor, variance: str = "beta") -> Tensor:
    """Variances of the model's p(x_{t-1} | x_t), (T,).

    Args:
        variance: "beta" (diffusers' "fixed_large") or "posterior" ("fixed_small").
            Only with "beta" does the exact denoiser's bound become tight as T grows:
            "posterior" loses 1/2 (1/t - log(1 + 1/t)) at each of the first steps,
            Euler's constant / 2 = 0.289 nats a coordinate for every T. The first
            step's posterior variance is 0, no density at all, so both take beta.
    """
    check(("beta", "posterior"), variance=variance)
    betas = step_betas(alphas_cumprod)
    if variance == "beta":
        return betas
    return torch.cat([betas[:1], posterior_variances(alphas_cumprod)[1:]])


def forward_posterior_mean(
    x_t: Tensor, x0: Tensor, t: int, alphas_cumprod: Tensor
) -> Tensor:
    """The mean of q(x_{t-1} | x_t, x0) (Ho et al. eq. 7)."""
    a, before = alphas_cumprod[t], _previous(alphas_cumprod)[t]
    beta = step_betas(alphas_cumprod)[t]
    from_x0 = before.sqrt() * beta / (1 - a)
    from_x_t = (1 - beta).sqrt() * (1 - before) / (1 - a)
    return from_x0.to(x_t) * x0 + from_x_t.to(x_t) * x_t


def reverse_mean(x_t: Tensor, eps_hat: Tensor, t: int, alphas_cumprod: Tensor):
    """The mean of the model's p(x_{t-1} | x_t) (Ho et al. eq. 11)."""
    beta = step_betas(alphas_cumprod)[t]
    share = beta / (1 - alphas_cumprod[t]).sqrt()
    return (x_t - share.to(x_t) * eps_hat) / (1 - beta).sqrt().to(x_t)


def _previous(alphas_cumprod: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(alphas_cumprod[:1]), alphas_cumprod[:-1]])
