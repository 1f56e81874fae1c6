"""The evidence lower bound of a diffusion model (Ho et al. 2020, eq. 5; PUDM eq. 7).

Two roads to one number: `elbo_terms` adds up exact Kullback-Leibler divergences,
`elbo_monte_carlo` averages log p(x_{0:T}) - log q(x_{1:T} | x0) over drawn paths.
Steps are indices t = 0 .. T-1 as in diffusers; index t takes x_{t+1} to x_t of the
papers. All logarithms are natural, so the ELBO is in nats.

`model` is called as every network of the book, `model(x_t, t).sample`, with a 0-dim t.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pudm_lib.diffusion.process import (
    add_noise,
    forward_posterior_mean,
    posterior_variances,
    reverse_mean,
    reverse_variances,
    step_betas,
)
from pudm_lib.machine.checks import check
from pudm_lib.machine.paths import headless

Model = Callable[[Tensor, Tensor], Any]


def normal_quadrature(nodes: int, *, reach: float = 8.0) -> tuple[Tensor, Tensor]:
    """Evenly spaced eps (nodes, 1) and weights (nodes,) for averages under N(0, 1).

    The trapezoid rule converges faster than any power of the spacing on smooth
    integrands that fall off like exp(-eps^2 / 2).
    """
    check(2, nodes=nodes)
    eps = torch.linspace(-reach, reach, nodes, dtype=torch.float64)
    weights = torch.exp(-eps.square() / 2)
    return eps[:, None], weights / weights.sum()


@dataclass(frozen=True)
class ElboTerms:
    """The ELBO of B points, term by term; each term is >= 0 but the reconstruction.

    Attributes:
        prior: (B,), KL(q(x_T | x0) || p(x_T)), L_T.
        kl: (T-1, B), KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)), L_{t-1}; row i
            belongs to index t = i + 1.
        reconstruction: (B,), -E log p(x0 | x_1), L_0.
    """

    prior: Tensor
    kl: Tensor
    reconstruction: Tensor

    @property
    def elbo(self) -> Tensor:
        """(B,), in nats; a lower bound on the model's log p(x0)."""
        return -(self.prior + self.kl.sum(0) + self.reconstruction)


def elbo_terms(
    model: Model,
    x0: Tensor,
    alphas_cumprod: Tensor,
    *,
    eps: Tensor,
    weights: Tensor | None = None,
    variance: str = "beta",
) -> ElboTerms:
    """The terms of the ELBO at each x0 (Ho et al. eq. 5).

    Args:
        x0: (B, ...).
        alphas_cumprod: (T,), float64, falling in (0, 1).
        eps: (M, ...), the noises at which x_t is looked at, the same for every x0 and
            t: quadrature nodes, or draws of N(0, I).
        weights: (M,) of the nodes, summing to one; None for equal weights.
        variance: see `reverse_variances`.
    """
    _check_schedule(alphas_cumprod)
    if eps.shape[1:] != x0.shape[1:]:
        raise ValueError(
            f"eps {tuple(eps.shape)} does not fit x0 {tuple(x0.shape)}: "
            "must agree after the first axis"
        )
    if weights is None:
        weights = x0.new_full((len(eps),), 1 / len(eps))
    if weights.shape != eps.shape[:1]:
        raise ValueError(f"weights {tuple(weights.shape)}, must be ({len(eps)},)")
    sigmas2 = reverse_variances(alphas_cumprod, variance)
    tildes = posterior_variances(alphas_cumprod)
    x0_wide = x0.expand(len(eps), *x0.shape).flatten(0, 1)  # (M * B, ...)
    eps_wide = eps.repeat_interleave(len(x0), dim=0)
    dims = x0[0].numel()
    terms = []
    for t in _levels(len(alphas_cumprod)):
        x_t = add_noise(x0_wide, eps_wide, t, alphas_cumprod)
        mean = reverse_mean(x_t, _eps_hat(model, x_t, t), t, alphas_cumprod)
        # At the first step the posterior is x0 itself: the same line serves both.
        target = forward_posterior_mean(x_t, x0_wide, t, alphas_cumprod)
        errors = (target - mean).square().flatten(1).sum(1)  # (M * B,)
        expected = weights @ errors.reshape(len(eps), len(x0))  # (B,)
        if t == 0:
            constant = math.log(2 * math.pi * sigmas2[0])
        else:
            ratio = float(tildes[t] / sigmas2[t])
            constant = ratio - 1 - math.log(ratio)
        terms.append(dims / 2 * constant + expected / (2 * float(sigmas2[t])))
    last = float(alphas_cumprod[-1])
    gaps = last * x0.square() - last - math.log(1 - last)
    kl = torch.stack(terms[1:]) if terms[1:] else x0.new_zeros(0, len(x0))
    return ElboTerms(gaps.flatten(1).sum(1) / 2, kl, terms[0])


def elbo_monte_carlo(
    model: Model,
    x0: Tensor,
    alphas_cumprod: Tensor,
    *,
    paths: int,
    generator: torch.Generator,
    variance: str = "beta",
) -> Tensor:
    """Draws of log p(x_{0:T}) - log q(x_{1:T} | x0) along the forward chain (PUDM
    eqs. 2-4 and 7), (paths, B); their mean is the ELBO, without any algebra."""
    _check_schedule(alphas_cumprod)
    check(1, paths=paths)
    betas = step_betas(alphas_cumprod)
    sigmas2 = reverse_variances(alphas_cumprod, variance)
    x = x0.expand(paths, *x0.shape).flatten(0, 1)  # (paths * B, ...)
    total = x.new_zeros(len(x))
    for t in _levels(len(alphas_cumprod)):
        centre = (1 - betas[t]).sqrt().to(x) * x
        noise = torch.empty_like(x).normal_(generator=generator)
        x_next = centre + betas[t].sqrt().to(x) * noise
        mean = reverse_mean(x_next, _eps_hat(model, x_next, t), t, alphas_cumprod)
        total = total + _log_normal(x, mean, float(sigmas2[t]))
        total = total - _log_normal(x_next, centre, float(betas[t]))
        x = x_next
    total = total + _log_normal(x, torch.zeros_like(x), 1.0)
    return total.reshape(paths, len(x0))


def eps_loss_weights(alphas_cumprod: Tensor, variance: str = "beta") -> Tensor:
    """w_t in L_{t-1} = w_t E||eps - eps_hat||^2 + constant (Ho et al. eq. 12), (T,).

    The simplified loss (Ho et al. eq. 14, PUDM eq. 8) puts 1 in their place.
    """
    _check_schedule(alphas_cumprod)
    betas = step_betas(alphas_cumprod)
    sigmas2 = reverse_variances(alphas_cumprod, variance)
    return betas.square() / (2 * sigmas2 * (1 - betas) * (1 - alphas_cumprod))


def model_density_on_grid(
    model: Model, grid: Tensor, alphas_cumprod: Tensor, *, variance: str = "beta"
) -> Tensor:
    """The model's own marginal p(x0) in 1-D, eq. 1 of PUDM by T integrals on a grid.

    Args:
        grid: (G,), evenly spaced, wide enough for both data and N(0, 1), float64.

    Returns:
        (G,), the density.

    Raises:
        ValueError: the grid is coarser than the narrowest step of the chain.
    """
    _check_schedule(alphas_cumprod)
    sigmas2 = reverse_variances(alphas_cumprod, variance)
    spacing, narrowest = float(grid[1] - grid[0]), float(sigmas2.min().sqrt())
    if spacing > narrowest:
        raise ValueError(
            f"grid spacing {spacing:.4g}, must be <= {narrowest:.4g}, "
            "the smallest standard deviation of a reverse step"
        )
    points = grid[:, None]  # (G, 1)
    density = _log_normal(points, torch.zeros_like(points), 1.0).exp()
    for step in _levels(len(alphas_cumprod)):
        t = len(alphas_cumprod) - 1 - step
        mean = reverse_mean(points, _eps_hat(model, points, t), t, alphas_cumprod)
        squares = (grid - mean).square()  # (G of x_t, G of x_{t-1})
        kernel = torch.exp(-squares / (2 * sigmas2[t]))
        kernel = kernel / (2 * math.pi * sigmas2[t]).sqrt()
        density = (density * spacing) @ kernel
    return density


def _levels(count: int) -> tqdm:
    """0 .. count - 1, with a bar where that takes longer than a second."""
    return tqdm(range(count), "noise levels", delay=1, leave=False, disable=headless())


def _check_schedule(alphas_cumprod: Tensor) -> None:
    ends = (
        alphas_cumprod.new_tensor([1]),
        alphas_cumprod,
        alphas_cumprod.new_tensor([0]),
    )
    if not bool((torch.cat(ends).diff() < 0).all()):
        raise ValueError(
            f"alphas_cumprod from {alphas_cumprod[0]:.6g} to {alphas_cumprod[-1]:.6g}: "
            "must fall at every step and stay in (0, 1)"
        )


def _eps_hat(model: Model, x_t: Tensor, t: int) -> Tensor:
    with torch.no_grad():
        return model(x_t, torch.tensor(t, device=x_t.device)).sample


def _log_normal(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """log N(x; mean, variance I), (B, ...) -> (B,)."""
    squares = (x - mean).square().flatten(1)
    constant = squares.shape[1] * math.log(2 * math.pi * variance)
    return -0.5 * (squares.sum(1) / variance + constant)
