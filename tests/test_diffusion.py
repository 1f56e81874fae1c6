"""pudm_lib.diffusion.process against diffusers' DDPMScheduler, and its inversions."""

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from pudm_lib.diffusion import process as diffusion

SCHEDULER = DDPMScheduler(num_train_timesteps=1000)
ALPHAS = diffusion.alphas_cumprod_of(diffusion.linear_betas())


def normal(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    generator = diffusion.random_generator(seed)
    return torch.randn(shape, dtype=dtype, generator=generator)


def test_schedule_is_that_of_diffusers():
    assert torch.allclose(
        diffusion.linear_betas().float(), SCHEDULER.betas, rtol=1e-5, atol=0
    )
    # diffusers multiplies 1,000 numbers in float32.
    assert torch.allclose(
        ALPHAS.float(), SCHEDULER.alphas_cumprod, rtol=1e-4, atol=1e-7
    )
    assert ALPHAS.dtype == torch.float64


@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (5, 3, 4, 4), (5, 2)])
def test_add_noise_and_its_inversion_are_those_of_diffusers(shape):
    x0, eps = normal(*shape, seed=1).float(), normal(*shape, seed=2).float()
    t = torch.tensor([0, 1, 250, 750, 999])
    x_t = diffusion.add_noise(x0, eps, t, ALPHAS)
    assert x_t.dtype == torch.float32
    assert torch.allclose(x_t, SCHEDULER.add_noise(x0, eps, t), atol=2e-5)
    unclipped = DDPMScheduler(num_train_timesteps=1000, clip_sample=False)
    for i, index in enumerate(t.tolist()):
        one = slice(i, i + 1)
        theirs = unclipped.step(eps[one], index, x_t[one]).pred_original_sample
        ours = diffusion.x0_from_eps(x_t[one], eps[one], t[one], ALPHAS)
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@settings(max_examples=40)
@given(
    num_steps=st.integers(1, 1000),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_round_trips(num_steps, share, seed):
    alphas = diffusion.alphas_cumprod_of(diffusion.linear_betas(num_steps))
    t = torch.full((3,), round(share * (num_steps - 1)))
    x0, eps = normal(3, 2, 2, seed=seed), normal(3, 2, 2, seed=seed + 1)
    x_t = diffusion.add_noise(x0, eps, t, alphas)
    assert torch.allclose(diffusion.x0_from_eps(x_t, eps, t, alphas), x0, atol=1e-10)
    assert torch.allclose(diffusion.eps_from_x0(x_t, x0, t, alphas), eps, atol=1e-10)


@settings(max_examples=30)
@given(
    start=st.floats(1e-6, 0.5), rise=st.floats(0, 0.4), num_steps=st.integers(2, 300)
)
def test_alphas_cumprod_falls_and_stays_in_range(start, rise, num_steps):
    betas = diffusion.linear_betas(num_steps, start, start + rise)
    alphas = diffusion.alphas_cumprod_of(betas)
    assert alphas.shape == (num_steps,)
    assert bool((alphas > 0).all() & (alphas < 1).all())
    assert bool((alphas.diff() < 0).all())


def test_at_keeps_dtype_and_broadcasts():
    like = torch.zeros(2, 1, 4, 4, dtype=torch.float32)
    picked = diffusion.at(ALPHAS, torch.tensor([0, 999]), like)
    assert picked.shape == (2, 1, 1, 1)
    assert picked.dtype == torch.float32
    assert picked.flatten()[1].item() == pytest.approx(ALPHAS[999].item())


def test_denoising_error_by_hand():
    eps = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    eps_hat = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])
    assert diffusion.denoising_error(eps, eps_hat).tolist() == [5.0, 25.0]
    mean = diffusion.denoising_error(eps, eps_hat, reduction="mean")
    assert mean.tolist() == [2.5, 12.5]
    cooler = diffusion.denoising_error(eps, eps_hat, tau=2.0)
    assert torch.equal(cooler, mean)  # D = 2: tau = D is the mean


def test_random_generator_depends_on_every_integer_and_on_nothing_else():
    def draw(*entropy):
        return torch.randn(64, generator=diffusion.random_generator(*entropy))

    torch.manual_seed(1)
    first = draw(0, 1, 2)
    torch.manual_seed(2)
    assert torch.equal(first, draw(0, 1, 2))
    others = [draw(0, 1, 3), draw(0, 2, 1), draw(1, 1, 2), draw(0, 1), draw(2, 1, 0)]
    for other in others:
        assert not torch.equal(first, other)
        assert torch.corrcoef(torch.stack([first, other]))[0, 1].abs() < 0.5


def test_neighbouring_generators_are_uncorrelated():
    draws = torch.stack(
        [
            torch.randn(4000, generator=diffusion.random_generator(0, i))
            for i in range(20)
        ]
    )
    off_diagonal = torch.corrcoef(draws) - torch.eye(20)
    # 190 pairs with a standard error of 1 / sqrt(4000) each; five of them.
    assert off_diagonal.abs().max() < 5 / 4000**0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diffusion.linear_betas(0), "num_train_timesteps=0"),
        (lambda: diffusion.linear_betas(10, 0.0), r"beta_start=0\.0"),
        (lambda: diffusion.linear_betas(10, 0.1, 0.05), r"beta_end=0\.05"),
        (lambda: diffusion.linear_betas(10, 0.1, 1.0), r"beta_end=1\.0"),
        (lambda: _error(reduction="max"), "reduction='max'"),
        (lambda: _error(tau=0.0), r"tau=0\.0"),
        (lambda: _error(tau=float("nan")), "tau=nan"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _error(**options):
    return diffusion.denoising_error(torch.zeros(1, 2), torch.zeros(1, 2), **options)
