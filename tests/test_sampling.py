"""Samplers against diffusers and against exact denoisers."""

from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import nn

from pudm_lib.diffusion.networks import make_unet
from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas, random_generator
from pudm_lib.diffusion.sampling import SAMPLING, SamplingSettings, sample


class GaussianDenoiser(nn.Module):
    """E[eps | x_t] for data from N(0.2, 0.3^2): the perfect network."""

    def __init__(self, mean=0.2, variance=0.09):
        super().__init__()
        self.mean, self.variance = mean, variance
        self.anchor = nn.Parameter(torch.zeros(1))
        self.alphas_cumprod = alphas_cumprod_of(linear_betas(1000))

    def forward(self, x_t, t):
        a = self.alphas_cumprod[t].float().reshape(-1, *[1] * (x_t.ndim - 1))
        total = a * self.variance + 1 - a
        eps = (1 - a).sqrt() * (x_t - a.sqrt() * self.mean) / total
        return UNet2DOutput(sample=eps)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_perfect_network_gives_back_the_data(sampler):
    settings = SamplingSettings(
        sampler=sampler,
        num_inference_steps=200,
        num_samples=4000,
        sampling_batch=4000,
    )
    x = sample(GaussianDenoiser(), settings, shape=(1,), seed=0, clip=None)
    assert x.mean().item() == pytest.approx(0.2, abs=0.02)
    assert x.std().item() == pytest.approx(0.3, abs=0.02)


# Divisors of 1000 and others; with 61, 103 and 201 steps the rounded grid is too long.
COUNTS = (
    "1 2 3 4 5 6 7 9 11 13 16 17 24 25 31 48 50 61 77 96 100 103 130 150 201 250 333 "
    "400 500 600 1000"
)


@pytest.mark.parametrize("steps", [int(count) for count in COUNTS.split()])
def test_any_number_of_steps_is_exact_on_its_own_levels(steps):
    """The samplers are linear in N(0, 0.5^2)'s denoiser: what they give is known."""
    a, v, levels = alphas_cumprod_of(linear_betas(1000)).tolist(), 0.25, []

    def drawn(sampler):
        levels.clear()
        return sample(
            GaussianDenoiser(0.0, v),
            SamplingSettings(sampler, steps, num_samples=2),
            shape=(2000,),
            seed=0,
            clip=None,
            callback=lambda step, t, *_: levels.append(t),
        )

    ddpm, ddim = drawn("ddpm"), drawn("ddim")
    even = [1000 * (steps - i) / steps - 1 for i in range(steps)]
    assert len(levels) == steps and levels[0] == 999 and levels[-1] >= 0
    assert all(abs(t - e) <= 0.5 for t, e in zip(levels, even, strict=True))
    factor, variance = 1.0, 1.0
    for t, s in zip(levels, [*levels[1:], None], strict=True):
        a_t, a_s = a[t], 1.0 if s is None else a[s]
        x0, eps, total = a_t**0.5 * v, (1 - a_t) ** 0.5, a_t * v + 1 - a_t
        factor *= (a_s**0.5 * x0 + (1 - a_s) ** 0.5 * eps) / total
        noise = (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)  # the posterior's variance
        kept = (1 - a_s - noise) ** 0.5
        variance = variance * ((a_s**0.5 * x0 + kept * eps) / total) ** 2 + noise
    noise = [random_generator(SAMPLING, 0, i) for i in range(2)]
    x_t = torch.stack([torch.randn(2000, generator=g) for g in noise])
    torch.testing.assert_close(ddim, x_t * factor, rtol=1e-3, atol=1e-4)
    # 4,000 numbers: four standard errors.
    assert ddpm.std().item() == pytest.approx(variance**0.5, rel=4 / 8000**0.5)
    # Both are methods of first order: what is lacking falls as 1 / steps.
    assert steps * (0.5 - factor) == pytest.approx(1.5, abs=0.2) or steps < 13
    assert 0 < steps * (0.5 - variance**0.5) < 4.1


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_same_seed_same_image_at_any_batch_size(sampler):
    torch.manual_seed(0)
    model = make_unet("tiny", resolution=8, channels=1).eval()

    def drawn(batch, count=5):
        settings = SamplingSettings(
            sampler=sampler,
            num_inference_steps=4,
            num_samples=count,
            sampling_batch=batch,
        )
        return sample(model, settings, shape=(1, 8, 8), seed=3)

    torch.testing.assert_close(drawn(5), drawn(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(drawn(5)[:3], drawn(5, 3), rtol=0, atol=1e-4)


def test_ddim_equals_diffusers_with_the_clipped_prediction():
    torch.manual_seed(0)
    model = make_unet("tiny", resolution=8, channels=1).eval()
    settings = SamplingSettings(num_inference_steps=8, num_samples=3)
    ours = sample(model, settings, shape=(1, 8, 8), seed=1)
    scheduler = DDIMScheduler(timestep_spacing="trailing", clip_sample=True)
    scheduler.set_timesteps(8)
    noise = [random_generator(SAMPLING, 1, i) for i in range(3)]
    x = torch.stack([torch.randn(1, 8, 8, generator=g) for g in noise])
    with torch.no_grad():
        for t in scheduler.timesteps:
            eps_hat = model(x, t).sample
            x = scheduler.step(eps_hat, t, x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-4)


def test_the_hook_replaces_the_prediction_and_the_callback_sees_it():
    seen = []
    settings = SamplingSettings(num_inference_steps=5, num_samples=4)
    x = sample(
        GaussianDenoiser(),
        settings,
        shape=(1,),
        seed=0,
        denoised_hook=lambda x0_hat, x_t, t: torch.full_like(x0_hat, 0.7),
        callback=lambda step, t, x_t, x0_hat: seen.append((step, t, x0_hat.mean())),
    )
    torch.testing.assert_close(x, torch.full_like(x, 0.7))
    assert [step for step, _, _ in seen] == [0, 1, 2, 3, 4]
    assert seen[0][1] == 999
    assert all(mean == pytest.approx(0.7) for _, _, mean in seen)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="sampler='euler', must be one of ddim, ddpm"):
        SamplingSettings(sampler="euler")
    with pytest.raises(ValueError, match="num_inference_steps=0, must be >= 1"):
        SamplingSettings(num_inference_steps=0)
    with pytest.raises(ValueError, match="must be <= num_train_timesteps=1000"):
        sample(
            GaussianDenoiser(),
            SamplingSettings(num_inference_steps=2000),
            shape=(1,),
            seed=0,
        )


def test_too_many_images_for_memory_are_told_how_many_fit():
    class Narrow(torch.nn.Linear):
        def forward(self, x_t, t):
            if len(x_t) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return UNet2DOutput(sample=super().forward(x_t))

    settings = SamplingSettings(num_samples=12, num_inference_steps=2)
    with pytest.raises(
        torch.OutOfMemoryError, match=r"^12 images of 2 .*batch=3 they do"
    ):
        sample(Narrow(2, 2), settings, shape=(2,), seed=0)
    few = replace(settings, sampling_batch=3)
    assert sample(Narrow(2, 2), few, shape=(2,), seed=0).shape == (12, 2)


def test_half_precision_is_the_networks_alone():
    torch.manual_seed(0)
    model = make_unet("tiny", resolution=8, channels=1).eval()
    settings = SamplingSettings("ddim", 5, 6)
    seen = []

    def look(step, t, x_t, x0_hat):
        seen.extend([x_t.dtype, x0_hat.dtype])

    shape = {"shape": (1, 8, 8), "seed": 0}
    whole = sample(model, settings, **shape)
    half = sample(model, settings, **shape, precision="bfloat16", callback=look)
    assert set(seen) == {torch.float32}
    difference = (whole - half).abs().mean()
    assert 0 < difference < 0.02, "8 bits of the noise it predicts"
    auto = sample(model, settings, **shape, precision="auto")
    assert torch.equal(auto, whole), "a CPU's is float32"
