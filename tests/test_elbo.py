"""The ELBO: terms against the definition, diffusers and torch.distributions."""

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from torch.distributions import Normal, kl_divergence

from pudm_lib.diffusion import elbo, process
from pudm_lib.diffusion.mixtures import ExactDenoiser, GaussianMixture
from pudm_lib.diffusion.networks import MLPDenoiser
from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas, random_generator

WORLD = GaussianMixture([3, 5, 2], [[-1.1], [0.2], [1.2]], [0.02, 0.09, 0.01])
EPS, WEIGHTS = elbo.normal_quadrature(97)
QUADRATURE = {"eps": EPS, "weights": WEIGHTS}
X = torch.linspace(-3, 3, 121, dtype=torch.float64)[:, None]
CHOICES = ("beta", "posterior")


def normal(*shape: int, seed: int) -> torch.Tensor:
    generator = random_generator(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def network(dims: int, num_steps: int) -> MLPDenoiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLPDenoiser(dims, width=8, num_train_timesteps=num_steps).double()


def average_gap(model, alphas, variance="beta") -> float:
    log_p = WORLD.log_prob(X)
    terms = elbo.elbo_terms(model, X, alphas, variance=variance, **QUADRATURE)
    return ((log_p - terms.elbo) * log_p.exp()).sum().item() * 0.05


def test_schedules_of_all_lengths_are_cuts_of_one():
    fine, coarse = process.vp_alphas_cumprod(100), process.vp_alphas_cumprod(10)
    assert torch.allclose(fine[9::10], coarse)
    assert coarse[-1].item() == pytest.approx(math.exp(-10.05))
    ddpm = alphas_cumprod_of(linear_betas())
    assert torch.allclose(process.vp_alphas_cumprod(1000), ddpm, atol=1e-3)


@pytest.mark.parametrize(
    ("choice", "theirs"), [("beta", "fixed_large"), ("posterior", "fixed_small")]
)
def test_reverse_step_is_that_of_diffusers(choice, theirs):
    scheduler = DDPMScheduler(variance_type=theirs, clip_sample=False)
    alphas = alphas_cumprod_of(linear_betas())
    # Its own tables are float32, which costs 1 - alpha_bar three digits at t = 1.
    scheduler.alphas_cumprod, scheduler.betas = alphas, process.step_betas(alphas)
    x_t, eps_hat = normal(4, 1, 2, 2, seed=0), normal(4, 1, 2, 2, seed=1)
    for t in (1, 300, 999):
        step = scheduler.step(eps_hat, t, x_t, generator=random_generator(2))
        noise = normal(*x_t.shape, seed=2)
        sigma = process.reverse_variances(alphas, choice)[t].sqrt()
        ours = process.reverse_mean(x_t, eps_hat, t, alphas) + sigma * noise
        assert torch.allclose(ours, step.prev_sample, atol=1e-9)


def test_forward_posterior_is_bayes_rule():
    """q(x_{t-1}|x_t, x0) q(x_t|x0) = q(x_t|x_{t-1}) q(x_{t-1}|x0), as log densities."""
    alphas = process.vp_alphas_cumprod(20)
    betas, tildes = process.step_betas(alphas), process.posterior_variances(alphas)
    x0, before, x_t = (normal(9, 1, seed=seed) for seed in range(3))
    for t in (1, 10, 19):
        mean = process.forward_posterior_mean(x_t, x0, t, alphas)
        left = Normal(mean, tildes[t].sqrt()).log_prob(before)
        a, b = alphas[t], alphas[t - 1]
        left = left + Normal(a.sqrt() * x0, (1 - a).sqrt()).log_prob(x_t)
        step = Normal((1 - betas[t]).sqrt() * before, betas[t].sqrt())
        right = Normal(b.sqrt() * x0, (1 - b).sqrt()).log_prob(before)
        assert torch.allclose(left, step.log_prob(x_t) + right, atol=1e-9)


@pytest.mark.parametrize("variance", CHOICES)
def test_terms_of_a_network_on_images_are_torchs_kl(variance):
    x0, eps = normal(3, 1, 2, 2, seed=3), normal(2, 1, 2, 2, seed=4)
    net = network(4, 6)

    def model(x_t, t):
        return SimpleNamespace(sample=net(x_t.flatten(1), t).sample.reshape(x_t.shape))

    alphas = process.vp_alphas_cumprod(6)
    terms = elbo.elbo_terms(model, x0, alphas, eps=eps, variance=variance)
    assert terms.kl.shape == (5, 3)
    sigmas = process.reverse_variances(alphas, variance).sqrt()
    tildes = process.posterior_variances(alphas).sqrt()
    for t in range(6):
        total = 0.0
        for one in eps:
            x_t = alphas[t].sqrt() * x0 + (1 - alphas[t]).sqrt() * one
            with torch.no_grad():
                eps_hat = model(x_t, torch.tensor(t)).sample
            p = Normal(process.reverse_mean(x_t, eps_hat, t, alphas), sigmas[t])
            if t == 0:
                part = -p.log_prob(x0)
            else:
                mean = process.forward_posterior_mean(x_t, x0, t, alphas)
                part = kl_divergence(Normal(mean, tildes[t]), p)
            total = total + part.flatten(1).sum(1) / len(eps)
        found = terms.reconstruction if t == 0 else terms.kl[t - 1]
        assert torch.allclose(found, total, atol=1e-8)
    last = Normal(alphas[-1].sqrt() * x0, (1 - alphas[-1]).sqrt())
    prior = kl_divergence(last, Normal(0.0, 1.0)).flatten(1).sum(1)
    assert torch.allclose(terms.prior, prior, atol=1e-9)


@pytest.mark.parametrize("variance", CHOICES)
@pytest.mark.parametrize("num_steps", [1, 10, 100])
def test_sum_of_terms_is_the_monte_carlo_mean(num_steps, variance):
    alphas = process.vp_alphas_cumprod(num_steps)
    x0 = torch.tensor([[0.2], [-0.5], [1.5]], dtype=torch.float64)
    net = network(1, num_steps)
    for model in (ExactDenoiser(WORLD, alphas), net):
        terms = elbo.elbo_terms(model, x0, alphas, variance=variance, **QUADRATURE)
        draws = elbo.elbo_monte_carlo(
            model,
            x0,
            alphas,
            paths=1000,
            variance=variance,
            generator=random_generator(4, num_steps),
        )
        assert draws.shape == (1000, 3)
        z = (draws.mean(0) - terms.elbo) / (draws.std(0) / 1000**0.5)
        assert z.abs().max() < 5


def test_bound_is_exact_where_the_reverse_chain_is():
    """For N(0, 1) data the true reverse step is Gaussian with variance beta."""
    standard = GaussianMixture([1.0], [[0.0]], [1.0])
    for num_steps in (1, 7, 50):
        alphas = process.vp_alphas_cumprod(num_steps)
        model = ExactDenoiser(standard, alphas)
        terms = elbo.elbo_terms(model, X, alphas, **QUADRATURE)
        assert torch.allclose(terms.elbo, standard.log_prob(X), atol=1e-9)


def test_average_gap_is_positive_and_falls_with_the_number_of_steps():
    gaps = {choice: [] for choice in CHOICES}
    for num_steps in (10, 30, 100):
        alphas = process.vp_alphas_cumprod(num_steps)
        for choice in CHOICES:
            gaps[choice].append(
                average_gap(ExactDenoiser(WORLD, alphas), alphas, choice)
            )
    for found in gaps.values():
        assert found[0] > found[1] > found[2] > 0
    assert gaps["beta"][2] < 0.2 * gaps["beta"][0]
    # The small variance cannot get below half of Euler's constant.
    assert gaps["posterior"][2] > 0.2886


def test_exact_denoiser_has_the_best_bound_on_average():
    alphas = process.vp_alphas_cumprod(30)
    blurred = GaussianMixture([1.0], [[0.01]], [0.75])
    silent = lambda x_t, t: SimpleNamespace(sample=torch.zeros_like(x_t))  # noqa: E731
    best = average_gap(ExactDenoiser(WORLD, alphas), alphas)
    assert best < average_gap(ExactDenoiser(blurred, alphas), alphas)
    assert best < average_gap(silent, alphas)


@pytest.mark.parametrize("variance", CHOICES)
def test_model_density_integrates_to_one_and_lies_above_the_elbo(variance):
    alphas = process.vp_alphas_cumprod(20)
    model = ExactDenoiser(WORLD, alphas)
    grid = torch.linspace(-6, 6, 601, dtype=torch.float64)
    density = elbo.model_density_on_grid(model, grid, alphas, variance=variance)
    assert density.sum().item() * 0.02 == pytest.approx(1, abs=1e-6)
    inside = grid.abs() < 2
    terms = elbo.elbo_terms(
        model, grid[inside, None], alphas, variance=variance, **QUADRATURE
    )
    assert (density[inside].log() - terms.elbo).min() > -1e-8


@pytest.mark.parametrize("variance", CHOICES)
def test_weights_turn_noise_errors_into_kl_terms(variance):
    alphas = process.vp_alphas_cumprod(12)
    w = elbo.eps_loss_weights(alphas, variance)
    x0 = torch.tensor([[0.7]], dtype=torch.float64)
    terms = elbo.elbo_terms(
        ExactDenoiser(WORLD, alphas), x0, alphas, variance=variance, **QUADRATURE
    )
    sigmas2 = process.reverse_variances(alphas, variance)
    for t in range(12):
        x_t = alphas[t].sqrt() * x0 + (1 - alphas[t]).sqrt() * EPS
        error = WEIGHTS @ (EPS - WORLD.eps(x_t, alphas[t])).square()[:, 0]
        if t == 0:
            constant = 0.5 * torch.log(2 * math.pi * sigmas2[0])
            found = terms.reconstruction[0]
        else:
            ratio = process.posterior_variances(alphas)[t] / sigmas2[t]
            constant = 0.5 * (ratio - 1 - ratio.log())
            found = terms.kl[t - 1, 0]
        assert (w[t] * error + constant).item() == pytest.approx(found.item(), abs=1e-9)


def test_quadrature_gives_the_moments_of_the_normal():
    for power, moment in ((0, 1), (1, 0), (2, 1), (4, 3), (6, 15)):
        found = (WEIGHTS @ EPS[:, 0] ** power).item()
        assert found == pytest.approx(moment, abs=1e-8)


ALPHAS = process.vp_alphas_cumprod(5)
MODEL = ExactDenoiser(WORLD, ALPHAS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: process.vp_alphas_cumprod(0), "num_train_timesteps=0"),
        (lambda: process.vp_alphas_cumprod(5, b_min=0.0), r"b_min=0\.0"),
        (lambda: process.vp_alphas_cumprod(5, b_min=3.0, b_max=2.0), r"b_max=2\.0"),
        (lambda: process.reverse_variances(ALPHAS, "small"), "variance='small'"),
        (lambda: elbo.normal_quadrature(1), "nodes=1"),
        (
            lambda: elbo.elbo_terms(MODEL, X, ALPHAS, eps=torch.zeros(3, 2)),
            r"eps \(3, 2\) does not fit x0 \(121, 1\)",
        ),
        (
            lambda: elbo.elbo_terms(MODEL, X, ALPHAS, eps=EPS, weights=torch.ones(3)),
            r"weights \(3,\), must be \(97,\)",
        ),
        (lambda: elbo.elbo_terms(MODEL, X, ALPHAS.flip(0), eps=EPS), "must fall"),
        (lambda: elbo.elbo_terms(MODEL, X, 0 * ALPHAS, eps=EPS), "must fall"),
        (
            lambda: elbo.elbo_monte_carlo(
                MODEL, X, ALPHAS, paths=0, generator=random_generator(0)
            ),
            "paths=0",
        ),
        (
            lambda: elbo.model_density_on_grid(MODEL, torch.linspace(-6, 6, 7), ALPHAS),
            "grid spacing 2",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("hidden", ["1", ""])
def test_a_long_sum_has_a_bar_for_who_waits(monkeypatch, hidden):
    bars = []
    monkeypatch.setenv("PUDM_HEADLESS", hidden)
    monkeypatch.setattr(elbo, "tqdm", lambda i, _, **bar: bars.append(bar) or i)
    model = ExactDenoiser(WORLD, ALPHAS)
    elbo.elbo_terms(model, X, ALPHAS, **QUADRATURE)
    options = {"paths": 2, "generator": random_generator(0)}
    elbo.elbo_monte_carlo(model, X, ALPHAS, **options)
    assert [bar["disable"] for bar in bars] == [bool(hidden)] * 2
