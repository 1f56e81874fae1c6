"""Mixtures against SciPy, numerical integration and automatic differentiation."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from pudm_lib.diffusion import mixtures as toys
from pudm_lib.diffusion.process import (
    add_noise,
    alphas_cumprod_of,
    linear_betas,
    random_generator,
)

LINE = toys.GaussianMixture([3, 5, 2], [[-1.1], [0.2], [1.2]], [0.02, 0.09, 0.01])
PLANE = toys.GaussianMixture(
    [1, 2], [[0.0, 1.0], [-1.0, 0.5]], [[0.1, 0.3], [0.05, 0.2]]
)
LEVELS = [0.999, 0.7, 0.2, 1e-3]


def points(n: int, dims: int, seed: int = 0) -> torch.Tensor:
    generator = random_generator(seed)
    return 1.5 * torch.randn(n, dims, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("alpha_bar", [1.0, *LEVELS])
@pytest.mark.parametrize("mixture", [LINE, PLANE])
def test_log_prob_is_scipys(mixture, alpha_bar):
    noised = mixture.noised(alpha_bar)
    x = points(50, mixture.means.shape[1])
    expected = np.zeros(50)
    for weight, mean, variance in zip(
        mixture.weights, mixture.means, mixture.variances, strict=True
    ):
        covariance = np.diag(alpha_bar * variance.numpy() + 1 - alpha_bar)
        component = multivariate_normal(alpha_bar**0.5 * mean.numpy(), covariance)
        expected += float(weight) * component.pdf(x.numpy())
    assert np.allclose(noised.log_prob(x).exp(), expected, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("alpha_bar", LEVELS)
def test_posterior_mean_is_the_integral(alpha_bar):
    for x_t in (-2.0, -0.4, 0.0, 0.9):

        def joint(x0, power, x_t=x_t):
            prior = LINE.log_prob(torch.tensor([[x0]], dtype=torch.float64)).item()
            square = (x_t - alpha_bar**0.5 * x0) ** 2 / (2 * (1 - alpha_bar))
            return x0**power * np.exp(prior - square)

        # The integrand may be a needle, and tiny: point at it, no absolute tolerance.
        found = LINE.posterior_mean(
            torch.tensor([[x_t]], dtype=torch.float64), alpha_bar
        ).item()
        options = {"points": [found], "limit": 300, "epsabs": 0, "epsrel": 1e-10}
        parts = [quad(joint, -4, 4, args=(power,), **options)[0] for power in (0, 1)]
        assert found == pytest.approx(parts[1] / parts[0], abs=1e-8)


@pytest.mark.parametrize("alpha_bar", [1.0, *LEVELS])
@pytest.mark.parametrize("mixture", [LINE, PLANE])
def test_score_is_the_gradient_of_log_prob(mixture, alpha_bar):
    x = points(50, mixture.means.shape[1]).requires_grad_()
    (gradient,) = torch.autograd.grad(mixture.noised(alpha_bar).log_prob(x).sum(), x)
    assert torch.allclose(mixture.score(x.detach(), alpha_bar), gradient, atol=1e-9)


@settings(max_examples=50)
@given(alpha_bar=st.floats(1e-4, 0.9999), seed=st.integers(0, 10**6))
def test_tweedie_and_the_split_of_x_t(alpha_bar, seed):
    x_t = points(20, 2, seed)
    mean, eps = PLANE.posterior_mean(x_t, alpha_bar), PLANE.eps(x_t, alpha_bar)
    split = alpha_bar**0.5 * mean + (1 - alpha_bar) ** 0.5 * eps
    assert torch.allclose(split, x_t, atol=1e-10)
    tweedie = (x_t + (1 - alpha_bar) * PLANE.score(x_t, alpha_bar)) / alpha_bar**0.5
    assert torch.allclose(tweedie, mean, atol=1e-8)


def test_one_alpha_bar_a_point_is_the_same_as_one_at_a_time():
    x, levels = points(4, 2), torch.tensor(LEVELS)
    for function in (PLANE.posterior_mean, PLANE.score, PLANE.eps):
        together = function(x, levels)
        for i in range(4):
            alone = function(x[i : i + 1], levels[i].item())
            assert torch.allclose(together[i : i + 1], alone, atol=1e-6)


def test_sample_has_the_mixtures_moments_and_is_reproducible():
    x = PLANE.sample(40_000, random_generator(0))
    mean = (PLANE.weights[:, None] * PLANE.means).sum(0)
    second = (PLANE.weights[:, None] * (PLANE.variances + PLANE.means**2)).sum(0)
    standard_error = (second - mean**2).sqrt() / 200
    assert bool(((x.mean(0) - mean).abs() < 5 * standard_error).all())
    assert torch.allclose(x.var(0), second - mean**2, rtol=0.05)
    assert torch.equal(x[:10], PLANE.sample(40_000, random_generator(0))[:10])


def test_noised_samples_follow_the_noised_mixture():
    x0 = LINE.sample(40_000, random_generator(1))
    alphas = alphas_cumprod_of(linear_betas())
    eps = points(40_000, 1, seed=2) / 1.5
    x_t = add_noise(x0, eps, torch.full((40_000,), 300), alphas)
    noised = LINE.noised(alphas[300])
    # A mean of log densities against its integral: any difference shows.
    grid = torch.linspace(-6, 6, 2001, dtype=torch.float64)[:, None]
    log_p = noised.log_prob(grid)
    expected = (log_p.exp() * log_p).sum() * (grid[1, 0] - grid[0, 0])
    draws = noised.log_prob(x_t)
    assert (draws.mean() - expected).abs() < 5 * draws.std() / 200


def test_exact_denoiser_is_called_as_a_network_is():
    alphas = alphas_cumprod_of(linear_betas(10))
    model, x_t = toys.ExactDenoiser(LINE, alphas), points(3, 1)
    t = torch.tensor([0, 4, 9])
    assert torch.equal(model(x_t, t).sample, LINE.eps(x_t, alphas[t]))
    assert torch.equal(model(x_t, 4).sample, LINE.eps(x_t, alphas[4]))
    assert torch.equal(model(x_t, torch.tensor(4)).sample, LINE.eps(x_t, alphas[4]))


def test_no_noise_keeps_the_point():
    x = points(5, 2)
    assert torch.allclose(PLANE.posterior_mean(x, 1.0), x)


@settings(max_examples=30)
@given(beta=st.floats(0.01, 0.99), seed=st.integers(0, 10**6))
def test_pu_mixture_is_equation_13(beta, seed):
    p_normal, p_sensitive = toys.pu_toy()
    x = points(20, 2, seed)
    p_u = toys.pu_mixture(p_normal, p_sensitive, beta).log_prob(x).exp()
    normal, sensitive = p_normal.log_prob(x).exp(), p_sensitive.log_prob(x).exp()
    assert torch.allclose(p_u, beta * sensitive + (1 - beta) * normal)
    bayes = beta * sensitive / p_u
    found = toys.sensitive_probability(x, p_normal, p_sensitive, beta)
    assert torch.allclose(found, bayes)


def test_share_of_sensitive_points_is_beta():
    p_normal, p_sensitive = toys.pu_toy()
    x = toys.pu_mixture(p_normal, p_sensitive, 0.1).sample(20_000, random_generator(0))
    shares = toys.sensitive_probability(x, p_normal, p_sensitive, 0.1)
    assert (shares.mean() - 0.1).abs() < 5 * shares.std() / 20_000**0.5
    assert torch.allclose(
        toys.pu_mixture(p_normal, p_sensitive, 0.1).responsibilities(x[:9]).sum(1),
        torch.ones(9, dtype=torch.float64),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: toys.GaussianMixture([1], [[0.0], [1.0]], [1, 1]), "weights"),
        (lambda: toys.GaussianMixture([1, 1], [0.0, 1.0], [1, 1]), "means"),
        (lambda: toys.GaussianMixture([1], [[0.0]], [1, 2]), "variances"),
        (lambda: toys.GaussianMixture([1], [[0.0]], [0.0]), r"variances=\[0\.0\]"),
        (lambda: toys.GaussianMixture([-1], [[0.0]], [1.0]), r"weights=\[-1\.0\]"),
        (lambda: LINE.log_prob(torch.zeros(3)), r"\(3,\), must be \(B, 1\)"),
        (lambda: LINE.log_prob(torch.zeros(3, 2)), r"\(3, 2\), must be \(B, 1\)"),
        (lambda: LINE.noised(0.0), r"alpha_bar=0\.0"),
        (lambda: LINE.noised(1.5), r"alpha_bar=1\.5"),
        (lambda: LINE.noised(torch.tensor([0.5, 0.6])), "one number"),
        (lambda: toys.pu_mixture(PLANE, PLANE, 0.0), r"beta=0\.0"),
        (lambda: toys.pu_mixture(PLANE, PLANE, 1.0), r"beta=1\.0"),
        (lambda: toys.pu_mixture(PLANE, LINE, 0.5), "D=2.*D=1"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_doctests():
    results = doctest.testmod(toys)
    assert results.attempted > 0
    assert results.failed == 0
