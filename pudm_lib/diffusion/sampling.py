"""DDPM and DDIM sampling with one signature (Ho et al. 2020; Song et al. 2021).

Each image's noise depends on (seed, position of the image) alone, so the same seed
gives the same image at any batch size, and two models compare image by image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn
from tqdm.auto import tqdm

from pudm_lib.diffusion.process import eps_from_x0, random_generator, x0_from_eps
from pudm_lib.machine.checks import check_settings, setting
from pudm_lib.machine.devices import resolve_precision, what_fits
from pudm_lib.machine.paths import headless

SCHEDULERS = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler}

# Keeps the noise of sampling apart from all noise of training with the same seed.
SAMPLING = 1_000_003

# (x0_hat, x_t, t) -> x0_hat; and (step, t, x_t, x0_hat) -> nothing.
DenoisedHook = Callable[[Tensor, Tensor, int], Tensor]
StepCallback = Callable[[int, int, Tensor, Tensor], None]


@dataclass(frozen=True)
class SamplingSettings:
    """How images are drawn from a trained model."""

    sampler: str = setting("ddim", "how it steps", SCHEDULERS)
    num_inference_steps: int = setting(25, "steps, up to num_train_timesteps", 1)
    num_samples: int = setting(2000, "images", 2)
    sampling_batch: int = setting(256, "images at once, a bound on memory", 1)
    guidance_scale: float = setting(
        1.0, "0: condition ignored, 1: as trained, above: overstated", "[0, inf)"
    )

    def __post_init__(self):
        check_settings(self)


def make_scheduler(settings: SamplingSettings, num_train_timesteps: int = 1000):
    """diffusers' scheduler with its steps set, beginning at the noisiest level."""
    if settings.num_inference_steps > num_train_timesteps:
        raise ValueError(
            f"num_inference_steps={settings.num_inference_steps}, must be <= "
            f"num_train_timesteps={num_train_timesteps}"
        )
    scheduler = SCHEDULERS[settings.sampler](
        num_train_timesteps=num_train_timesteps,
        timestep_spacing="trailing",
        clip_sample=False,  # `sample` clips, before the hook and not after it
    )
    scheduler.set_timesteps(settings.num_inference_steps)
    # Rounding gives some counts a level -1 after the last.
    scheduler.timesteps = scheduler.timesteps[: settings.num_inference_steps]
    return scheduler


def step_down(scheduler, x_t: Tensor, eps_hat: Tensor, t: int, noise) -> Tensor:
    """x at the level that `scheduler` lists after t; clean after its last one.

    Args:
        noise: a generator for each item, used by DDPM.
    """
    uneven = scheduler.config.num_train_timesteps % scheduler.num_inference_steps
    if not (uneven and isinstance(scheduler, DDIMScheduler)):
        return scheduler.step(eps_hat, t, x_t, generator=noise).prev_sample
    # diffusers' DDIM would go T // steps levels down, which is off its own list where
    # the steps do not divide T.
    below = scheduler.timesteps[scheduler.timesteps < t]
    a_t = scheduler.alphas_cumprod[t]
    a_s = scheduler.alphas_cumprod[below[0]] if len(below) else 1.0
    x0_hat = (x_t - (1 - a_t) ** 0.5 * eps_hat) / a_t**0.5
    return a_s**0.5 * x0_hat + (1 - a_s) ** 0.5 * eps_hat  # Song et al. 2021, eq. 12


@torch.no_grad()
def sample(
    model: nn.Module,
    settings: SamplingSettings,
    *,
    shape: tuple[int, ...],
    seed: int,
    num_train_timesteps: int = 1000,
    conditions: Tensor | None = None,
    precision: str = "float32",
    clip: float | None = 1.0,
    denoised_hook: DenoisedHook | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    """Draw settings.num_samples items.

    Args:
        model: model(x_t, t).sample predicts the noise, or model(x_t, t, c).sample where
            there are conditions. settings.guidance_scale is for who makes the model a
            `guidance.Guided` one.
        shape: of one item: (C, H, W), or (D,) for points.
        conditions: (num_samples,) integers, one for each item.
        precision: what the network computes in: float32, bfloat16, or auto, bfloat16 on
            a GPU that has it. x_t and x0_hat are float32 in any case.
        clip: bound of |x0|, 1 for images; None for data without one.
        denoised_hook: gets the predicted clean items (x0_hat, x_t, t) and returns
            what to use in their place: steering without training acts here.
        callback: called after every step of every batch with (step, t, x_t, x0_hat).

    Returns:
        float32 (num_samples, *shape) on the CPU.

    Raises:
        ValueError: another number of conditions than of items.
        torch.OutOfMemoryError: names the batch and a `sampling_batch` that fits.
    """
    if conditions is not None and len(conditions) != settings.num_samples:
        raise ValueError(
            f"{len(conditions)} conditions for num_samples={settings.num_samples}, "
            "must be one for each"
        )
    device = next(model.parameters()).device
    bfloat16 = resolve_precision(precision, device.type) == "bfloat16"

    @torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
    def predict(*inputs: Tensor) -> Tensor:
        return model(*inputs).sample

    scheduler = make_scheduler(settings, num_train_timesteps)
    alphas_cumprod = scheduler.alphas_cumprod.double()
    batches = torch.arange(settings.num_samples).split(settings.sampling_batch)
    done = []
    # A bar that jumps from nothing to all would tell nothing.
    quiet = headless() or len(batches) == 1
    with tqdm(total=settings.num_samples, desc="sample", disable=quiet) as bar:
        for batch in batches:
            # Drawn on the CPU: the same noise whatever the device.
            noise = [random_generator(SAMPLING, seed, i) for i in batch.tolist()]
            drawn = [torch.randn(shape, generator=g) for g in noise]
            x_t = torch.stack(drawn).to(device)
            c = () if conditions is None else (conditions[batch].to(device),)
            for step, t in enumerate(scheduler.timesteps.tolist()):
                time = torch.full((len(x_t),), t, device=device)
                try:
                    eps_hat = predict(x_t, time, *c)
                except torch.OutOfMemoryError as error:
                    halves = [len(x_t) >> n for n in range(1, len(x_t).bit_length())]
                    tries = {f"sampling_batch={n}": n for n in halves}
                    raise what_fits(
                        error, predict, tries, x_t.shape, device, bool(c)
                    ) from error
                x0_hat = x0_from_eps(x_t, eps_hat, time, alphas_cumprod)
                if clip is not None:
                    x0_hat = x0_hat.clamp(-clip, clip)
                if denoised_hook is not None:
                    x0_hat = denoised_hook(x0_hat, x_t, t)
                # The noise that belongs to the x0 in use, so that both halves of the
                # next x_t speak of the same image.
                eps_hat = eps_from_x0(x_t, x0_hat, time, alphas_cumprod)
                x_t = step_down(scheduler, x_t, eps_hat, t, noise)
                if callback is not None:
                    callback(step, t, x_t, x0_hat)
            done.append(x_t.float().cpu())
            bar.update(len(batch))
    return torch.cat(done)
