"""Exact toy worlds: Gaussian mixtures whose noised densities, posterior means and
scores are known in closed form (Ho et al. 2020, eq. 4; Efron 2011 for Tweedie).

A mixture stays a mixture when noise is added, so nothing here is learned or estimated.
Everything is float64, on the CPU. `alpha_bar` is a number or a (B,) tensor, one value
a point.
"""

import math
from collections.abc import Iterator
from types import SimpleNamespace

import torch
from torch import Tensor

from pudm_lib.machine.checks import check


class GaussianMixture:
    """sum_k weights_k N(means_k, diag variances_k) on points of D coordinates.

    Args:
        weights: (K,), > 0; divided by their sum.
        means: (K, D).
        variances: (K,) or (K, D), > 0; one number is shared by a component's axes.

    Raises:
        ValueError: shapes that disagree, a weight or a variance that is not > 0.

    >>> pair = GaussianMixture([1, 1], [[-1.0], [1.0]], [0.1, 0.1])
    >>> pair.posterior_mean(torch.zeros(1, 1), 0.5).item()
    0.0
    """

    def __init__(self, weights, means, variances):
        weights, means, variances = (
            torch.as_tensor(part, dtype=torch.float64)
            for part in (weights, means, variances)
        )
        one_each = means.shape[:1]
        fitting = weights.shape == one_each and variances.shape in (
            one_each,
            means.shape,
        )
        if means.ndim != 2 or not fitting:
            raise ValueError(
                f"weights {tuple(weights.shape)}, means {tuple(means.shape)} and "
                f"variances {tuple(variances.shape)}: must be (K,), (K, D) and (K,) or "
                "(K, D)"
            )
        for name, part in (("weights", weights), ("variances", variances)):
            if not bool((part > 0).all() & part.isfinite().all()):
                raise ValueError(f"{name}={part.tolist()}, must all be > 0 and finite")
        self.weights, self.means = weights / weights.sum(), means
        self.variances = variances.reshape(len(means), -1).expand_as(means)

    def __repr__(self) -> str:
        return f"GaussianMixture(K={len(self.weights)}, D={self.means.shape[1]})"

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n independent points, (n, D)."""
        k = self.weights.multinomial(n, replacement=True, generator=generator)  # (n,)
        noise = torch.empty_like(self.means[k]).normal_(generator=generator)
        return self.means[k] + self.variances[k].sqrt() * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), (B, D) -> (B,)."""
        return self._log_joint(x, self.means, self.variances).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """P(component k | x), (B, D) -> (B, K)."""
        return self._log_joint(x, self.means, self.variances).softmax(1)

    def noised(self, alpha_bar: float) -> "GaussianMixture":
        """The mixture that x_t follows when x0 follows this one (eq. 6 of PUDM)."""
        means, variances, a = self._noised_parts(alpha_bar)
        if len(a) != 1:
            raise ValueError(f"alpha_bar of shape {(len(a),)}, must be one number")
        return GaussianMixture(self.weights, means[0], variances[0])

    def posterior_mean(self, x_t: Tensor, alpha_bar: float | Tensor) -> Tensor:
        """E[x0 | x_t], (B, D): the denoised point with the least squared error."""
        shares, means, variances, a = self._given(x_t, alpha_bar)
        gain = a.sqrt() * self.variances / variances  # (1 or B, K, D)
        return (shares * (self.means + gain * (x_t[:, None] - means))).sum(1)

    def score(self, x_t: Tensor, alpha_bar: float | Tensor) -> Tensor:
        """The gradient of log p(x_t), (B, D)."""
        shares, means, variances, _ = self._given(x_t, alpha_bar)
        return (shares * ((means - x_t[:, None]) / variances)).sum(1)

    def eps(self, x_t: Tensor, alpha_bar: float | Tensor) -> Tensor:
        """E[eps | x_t], (B, D): what a perfect noise predictor returns."""
        shares, means, variances, a = self._given(x_t, alpha_bar)
        gain = (1 - a).sqrt() / variances  # (1 or B, K, D)
        return (shares * (gain * (x_t[:, None] - means))).sum(1)

    def _noised_parts(self, alpha_bar: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means and variances of x_t's components, (1 or B, K, D), and alpha_bar."""
        a = torch.as_tensor(alpha_bar, dtype=torch.float64).reshape(-1, 1, 1)
        if not bool(((a > 0) & (a <= 1)).all()):
            raise ValueError(f"alpha_bar={alpha_bar}, must be in (0, 1]")
        return a.sqrt() * self.means, a * self.variances + (1 - a), a

    def _log_joint(self, x: Tensor, means: Tensor, variances: Tensor) -> Tensor:
        """log weights_k + log N(x; component k), (B, D) -> (B, K)."""
        if x.ndim != 2 or x.shape[1] != self.means.shape[1]:
            raise ValueError(
                f"points of shape {tuple(x.shape)}, must be (B, {self.means.shape[1]})"
            )
        squares = (x[:, None] - means).square() / variances
        logs = (2 * math.pi * variances).log()
        return self.weights.log() - 0.5 * (squares + logs).sum(-1)

    def _given(self, x_t: Tensor, alpha_bar: float | Tensor) -> tuple[Tensor, ...]:
        """P(component k | x_t), (B, K, 1), and what `_noised_parts` returns."""
        means, variances, a = self._noised_parts(alpha_bar)
        shares = self._log_joint(x_t, means, variances).softmax(1)
        return shares[..., None], means, variances, a


class ExactDenoiser:
    """The perfect noise predictor of a mixture, called as every network of the book:
    `model(x_t, t).sample`, with x_t (B, D) and t indices of `alphas_cumprod`."""

    def __init__(self, mixture: GaussianMixture, alphas_cumprod: Tensor):
        self.mixture = mixture
        self.alphas_cumprod = alphas_cumprod.double()

    def __call__(self, x_t: Tensor, t: int | Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=self.mixture.eps(x_t, self.alphas_cumprod[t]))

    def parameters(self) -> Iterator[Tensor]:
        """What `sampling.sample` asks a network for its device."""
        yield self.alphas_cumprod


def pu_mixture(
    p_normal: GaussianMixture, p_sensitive: GaussianMixture, beta: float
) -> GaussianMixture:
    """p_U = beta p_S + (1 - beta) p_N (PUDM eq. 13); p_N's components come first.

    Raises:
        ValueError: beta outside (0, 1), or mixtures of different D.
    """
    check("(0, 1)", beta=beta)
    d_normal, d_sensitive = p_normal.means.shape[1], p_sensitive.means.shape[1]
    if d_normal != d_sensitive:
        raise ValueError(f"p_normal has D={d_normal}, p_sensitive D={d_sensitive}")
    return GaussianMixture(
        torch.cat([(1 - beta) * p_normal.weights, beta * p_sensitive.weights]),
        torch.cat([p_normal.means, p_sensitive.means]),
        torch.cat([p_normal.variances, p_sensitive.variances]),
    )


def sensitive_probability(
    x: Tensor, p_normal: GaussianMixture, p_sensitive: GaussianMixture, beta: float
) -> Tensor:
    """P(y=1 | x) = beta p_S(x) / p_U(x), (B, D) -> (B,): Bayes' own classifier.

    Its mean over samples of a model is a leak rate; > 1/2 marks the sensitive region.
    """
    shares = pu_mixture(p_normal, p_sensitive, beta).responsibilities(x)
    return shares[:, len(p_normal.weights) :].sum(1)


def pu_toy() -> tuple[GaussianMixture, GaussianMixture]:
    """(p_normal, p_sensitive) in 2-D: five normal blobs on a ring, and two sensitive
    ones, of which one stands apart in the middle and one overlaps a normal blob."""
    angles = torch.arange(5, dtype=torch.float64) * (2 * math.pi / 5) + math.pi / 2
    ring = 1.5 * torch.stack([angles.cos(), angles.sin()], dim=1)  # (5, 2)
    p_normal = GaussianMixture([1.0] * 5, ring, [0.03] * 5)
    p_sensitive = GaussianMixture([1, 1], [[0.0, 0.0], [0.35, 1.55]], [0.03, 0.02])
    return p_normal, p_sensitive
