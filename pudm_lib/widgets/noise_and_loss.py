"""What the widgets of chapters 01 and 03 draw: a noised picture, the loss's slopes.

Each explorer computes once what it needs, and its drawing takes it from there;
`controls.explore` does the rest. The margins of the figures are given: working
them out anew for each picture would take half of its time.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from diffusers import DDPMScheduler
from matplotlib.figure import Figure
from torch import Tensor

from pudm_lib.book import style as plotting
from pudm_lib.diffusion import mixtures as toys
from pudm_lib.diffusion import process as diffusion
from pudm_lib.widgets.controls import Control, explore


def explore_noise(
    x0: Tensor, eps: Tensor, belief: toys.GaussianMixture, num_train_timesteps: int
) -> None:
    """A picture at any noise level of two schedules, and the best guess at it.

    Args:
        x0, eps: (1, side * side), the picture in [-1, 1] and its noise.
        belief: what the guess knows of pictures.
        num_train_timesteps: T of both schedules.
    """
    last, curves = num_train_timesteps - 1, schedules(num_train_timesteps)
    levels = sorted({int(share * last / 40) for share in range(41)})
    explore(
        partial(draw_noise, x0, eps, belief, curves),
        alt=partial(describe_noise, curves),
        t=Control("index t", levels, int(0.25 * last)),
        schedule=Control("schedule", {name: name for name in curves}),
    )


def schedules(num_train_timesteps: int) -> dict[str, Tensor]:
    """alpha_bar_t of DDPM's linear betas and of the cosine schedule, (T,) each."""
    cosine = DDPMScheduler(num_train_timesteps, beta_schedule="squaredcos_cap_v2")
    linear = diffusion.linear_betas(num_train_timesteps)
    return {
        "linear": diffusion.alphas_cumprod_of(linear),
        "cosine": cosine.alphas_cumprod.double(),
    }


def describe_noise(alphas_cumprod: Mapping[str, Tensor], t: int, schedule: str) -> str:
    left = float(alphas_cumprod[schedule][t])
    return (
        f"At index {t} of the {schedule} schedule {left:.2g} of the picture's variance "
        f"is left and the noise has a variance of {1 - left:.2g}."
    )


def draw_noise(
    x0: Tensor,
    eps: Tensor,
    belief: toys.GaussianMixture,
    alphas_cumprod: Mapping[str, Tensor],
    t: int,
    schedule: str,
) -> Figure:
    """x_t, E[x0 | x_t], and where t stands on the two schedules."""
    alpha_bar = alphas_cumprod[schedule]
    x_t = diffusion.add_noise(x0, eps, torch.tensor([t]), alpha_bar)
    guess = belief.posterior_mean(x_t, alpha_bar[t])
    side = round(x0.shape[1] ** 0.5)
    figure = Figure(figsize=(8.4, 2.9), layout="none")
    places = {"left": 0.01, "right": 0.99, "bottom": 0.17, "top": 0.89}
    places |= {"wspace": 0.22, "width_ratios": (1, 1, 1.5)}
    *pictures, curve = figure.subplots(1, 3, gridspec_kw=places)
    shown = ((x_t, f"$x_t$ at index {t}"), (guess, r"best guess $\mathbb{E}[x_0|x_t]$"))
    for ax, (points, title) in zip(pictures, shown, strict=True):
        ax.imshow(points.reshape(side, side), cmap="gray", vmin=-1.3, vmax=1.3)
        ax.set(xticks=[], yticks=[], title=title)
    colours = {"linear": plotting.BLUE, "cosine": plotting.ORANGE}
    for (name, values), style in zip(alphas_cumprod.items(), ("-", "--"), strict=True):
        curve.plot(values, style, color=colours[name], label=name)
    curve.plot(t, alpha_bar[t], "o", ms=9, color=colours[schedule], mec="black")
    curve.set(xlabel="index $t$", ylim=(-0.04, 1.04))
    curve.set_title(rf"$\bar\alpha_t$ = {alpha_bar[t]:.2g} of the variance left")
    curve.legend()
    return figure


ELLS = (0.1, 0.3, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 44, 64)
# D = 3072 with the same error a pixel as 64 pixels; the sum; the mean over 64 pixels.
TAUS = (64 / 3072, 0.1, 0.3, 1, 3, 8, 20, 64)
# (ell, tau) -> method -> the push of one labelled image, in units of the pull of one
# unlabeled image: chapter 03's equation (8), which has the function.
Pushes = Callable[[Tensor, float], Mapping[str, Tensor]]


def explore_loss(pushes: Pushes, *, alive_slope: float) -> None:
    """exp(-ell/tau) and the push of one labelled image at any ell and temperature.

    Args:
        pushes: of three methods.
        alive_slope: a push below this counts as asleep.
    """
    explore(
        partial(draw_loss, pushes, alive_slope),
        alt=partial(describe_loss, pushes, alive_slope),
        ell=Control("error ℓ", ELLS, 6),
        tau=Control("temperature τ", TAUS, 1),
    )


def push_label(method: str) -> str:
    return {"pu_absolute": "PU"}.get(method, plotting.METHOD_LABELS[method])


def describe_loss(pushes: Pushes, alive_slope: float, ell: float, tau: float) -> str:
    at = pushes(torch.tensor(ell, dtype=torch.float64), tau)
    words = [
        f"{push_label(m)} {p:.2g} ({'alive' if p > alive_slope else 'asleep'})"
        for m, p in at.items()
    ]
    return (
        f"ℓ = {ell:.3g}, τ = {tau:.3g}: p(normal) = {np.exp(-ell / tau):.2g}. "
        f"Push of one labelled image: {', '.join(words)}."
    )


def draw_loss(pushes: Pushes, alive_slope: float, ell: float, tau: float) -> Figure:
    """Left: the probability over ell. Right: the three pushes, asleep where grey."""
    figure = Figure(figsize=(8.4, 3.4), layout="none")
    places = {"left": 0.07, "right": 0.985, "bottom": 0.15, "top": 0.91, "wspace": 0.2}
    left, right = figure.subplots(1, 2, gridspec_kw=places)
    line = torch.logspace(-1.3, 2, 200, dtype=torch.float64)
    place = torch.tensor(ell, dtype=torch.float64)
    normal = np.exp(-ell / tau)
    left.semilogx(line, torch.exp(-line / tau), color=plotting.NORMAL)
    left.plot(ell, normal, "o", ms=9, color=plotting.NORMAL, mec="black")
    left.set(xlabel="$\\ell$", ylim=(-0.04, 1.04))
    left.set_ylabel("$p(y=0|x) = e^{-\\ell/\\tau}$")
    left.set_title(f"ℓ = {ell:.3g}, τ = {tau:.3g}: normal at {normal:.2g}")
    right.axhspan(1e-6, alive_slope, color="0.92")
    right.text(0.06, alive_slope / 5, "asleep", color="0.35")
    curves, points = (pushes(x, tau) for x in (line, place))
    for (method, curve), style in zip(curves.items(), ("-", "--", "-."), strict=True):
        colour, curve = plotting.METHOD_COLOURS[method], curve.clamp(1e-6, 1e6)
        right.loglog(line, curve, style, color=colour, label=push_label(method))
        at = points[method].clamp(1e-6, 1e6)
        right.plot(ell, at, "o", ms=8, color=colour, mec="black", clip_on=False)
    awake = sum(bool(p > alive_slope) for p in points.values())
    right.set(xlabel="$\\ell$", ylim=(1e-6, 1e4), ylabel="push of one labelled image")
    right.set_title(f"{awake} of 3 pushes alive")
    right.legend(loc="upper right", fontsize=8)
    for ax in (left, right):
        ax.minorticks_off()
    return figure
