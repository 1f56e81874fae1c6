"""Scores that need no training, side by side: SeDID's and what it is compared with.

All are called score(model, images, *, t, ..., batch_size) and give one number an image,
(N,), from nothing but the model and the image. For each the first guess is that a
generated image has the *smaller* score; which way it really goes is chosen on a
validation split (`rules.choose_rule`).
"""

import torch
from torch import Tensor, nn

from pudm_lib.detection.batched import image_noise, over_batches
from pudm_lib.detection.t_error import (
    ALPHAS_CUMPROD,
    check_t_se,
    move,
    predict_eps,
    t_errors,
    up_and_back,
)
from pudm_lib.diffusion.process import add_noise, denoising_error

# Keeps the noise of scores apart from that of training and sampling.
SCORING = 1_000_033


def sedid(
    model: nn.Module, images: Tensor, *, t: int, step_size: int = 165, batch_size=256
) -> Tensor:
    """The t-error at T_SE = t (Ma et al. 2023, eq. 7)."""
    return t_errors(model, images, step_size, t_se=[t], batch_size=batch_size)[0]


def secmi(
    model: nn.Module, images: Tensor, *, t: int = 100, step_size=10, batch_size=256
) -> Tensor:
    """SecMI (Duan et al. 2023): the t-error with small steps, made to find training
    images. As released it walks up in steps of 10 and compares at 90 for t = 100, which
    is SeDID with another step size."""
    return sedid(model, images, t=t, step_size=step_size, batch_size=batch_size)


def denoising_loss(
    model: nn.Module, images: Tensor, *, t: int = 350, draws=1, seed=0, batch_size=256
) -> Tensor:
    """The training loss at one noise level (Matsumoto et al. 2023), as the mean over
    `draws` noises; the released baseline takes one.

    The noise of an image depends on (seed, draw, its position) alone.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}, must be >= 1")
    _check_level(t)

    def mean_loss(x: Tensor, where: slice) -> Tensor:
        total = torch.zeros(len(x), device=x.device)
        for draw in range(draws):
            eps = image_noise(x, SCORING, seed, draw, first=where.start)
            x_t = add_noise(x, eps, torch.tensor([t]), ALPHAS_CUMPROD)
            total += denoising_error(eps, predict_eps(model, x_t, t))
        return total / draws

    return over_batches(mean_loss, model, images, batch_size, "denoising loss")


def pia(
    model: nn.Module, images: Tensor, *, t: int = 200, batch_size: int = 256
) -> Tensor:
    """PIA (Kong et al. 2023): does the noise found at t = 0 stay the same at t? The
    4-norm of the difference."""
    _check_level(t)

    def change(x: Tensor, where: slice) -> Tensor:
        eps = predict_eps(model, x, 0)
        x_t = add_noise(x, eps, torch.tensor([t]), ALPHAS_CUMPROD)
        return (eps - predict_eps(model, x_t, t)).flatten(1).norm(p=4, dim=1)

    return over_batches(change, model, images, batch_size, "PIA")


def dire(
    model: nn.Module, images: Tensor, *, t: int = 900, step_size=50, batch_size=256
) -> Tensor:
    """DIRE (Wang et al. 2023): all the way up to noise level t and all the way back;
    the mean absolute difference of the pixels. (Their detector is a network trained on
    the map of it; this is the map's mean.)"""
    check_t_se([t], step_size, len(ALPHAS_CUMPROD))

    def reconstruction(x: Tensor, where: slice) -> Tensor:
        eps_0 = predict_eps(model, x, 0)
        # The last step up has been taken back already.
        *_, (_, _, _, x_t) = up_and_back(model, x, eps_0, step_size, t, ALPHAS_CUMPROD)
        for level in range(t - step_size, 0, -step_size):
            eps_hat = predict_eps(model, x_t, level)
            x_t = move(x_t, eps_hat, level, level - step_size, ALPHAS_CUMPROD)
        return (x_t - x).abs().flatten(1).mean(1)

    return over_batches(reconstruction, model, images, batch_size, "DIRE")


def _check_level(t: int) -> None:
    if not 0 <= t < len(ALPHAS_CUMPROD):
        raise ValueError(f"t={t}, must be in 0 .. {len(ALPHAS_CUMPROD) - 1}")
