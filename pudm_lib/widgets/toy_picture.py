"""A picture of chapter 04's two-dimensional toy, and words for it."""

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pudm_lib.book import style as plotting
from pudm_lib.diffusion import process as diffusion
from pudm_lib.diffusion.sampling import SamplingSettings, sample
from pudm_lib.studies.toy import TRUE_BETA, leaked, toy_images

NUM_POINTS = 600  # drawn from the model for a picture
# Noise levels of the map of ell: about as wide as a blob, so that places tell apart.
LEVELS = torch.linspace(50, 149, 24).long()
EDGE = 2.4


def draw_points(model: nn.Module, seed: int) -> Tensor:
    """Points of the model by DDIM, (NUM_POINTS, 2), always from the same noise: they
    wander as it learns."""
    plan = SamplingSettings(num_samples=NUM_POINTS, sampling_batch=NUM_POINTS)
    return sample(model, plan, shape=(2,), seed=seed, clip=None).double()


@torch.no_grad()
def error_map(model: nn.Module, seed: int) -> tuple[Tensor, Tensor]:
    """ell on a square grid, mean over 24 draws of (t, eps): its axis, (41,), and the
    map, (41, 41), the first coordinate along the rows. All places share the draws."""
    axis = torch.linspace(-EDGE, EDGE, 41, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)
    generator = diffusion.random_generator(seed, 3)
    alphas_cumprod = diffusion.alphas_cumprod_of(diffusion.linear_betas(1000))
    total = torch.zeros(len(places), dtype=torch.float64)
    for t in LEVELS:
        eps = torch.randn(1, 2, dtype=torch.float64, generator=generator)
        eps = eps.expand_as(places)
        x_t = diffusion.add_noise(places, eps, t.expand(len(places)), alphas_cumprod)
        total += diffusion.denoising_error(eps, model(x_t.float(), t).sample)
    return axis, total.reshape(len(axis), -1) / len(LEVELS)


def describe(points: Tensor, beta: float, done: str = "") -> str:
    share = leaked(points).double().mean().item()
    return (
        f"Trained{done} with β = {beta:.3g}: {share:.1%} of {len(points)} points that "
        f"the model draws have leaked; the true share of sensitive data is "
        f"{TRUE_BETA:.3g}."
    )


def draw_toy(model: nn.Module, points: Tensor, beta: float, seed: int) -> Figure:
    """Left: what the model draws. Right: its error ell over the plane, and the line
    ell = 2, beyond which it is worse than the guess of no noise at all."""
    # Not by pyplot, which does not expect figures from two threads.
    figure = Figure(figsize=(8.4, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    out = leaked(points)
    left.plot(*points[~out].T, ".", ms=3, color=plotting.NORMAL, label="normal")
    left.plot(*points[out].T, "x", ms=5, color=plotting.SENSITIVE, label="leaked")
    left.set_title(f"β = {beta:.3g}: {out.double().mean():.1%} leaked")
    axis, ell = error_map(model, seed)
    look = {"cmap": "Greys", "vmin": 0, "vmax": 4, "interpolation": "bilinear"}
    plane = {"origin": "lower", "extent": (-EDGE, EDGE, -EDGE, EDGE)}
    image = right.imshow(ell.T, **look, **plane)
    if ell.min() < 2 < ell.max():
        right.contour(axis, axis, ell.T, [2.0], colors=plotting.GREEN, linewidths=2)
    labels = toy_images(seed).sensitive
    right.plot(*labels.T, "x", ms=3, mew=1, color=plotting.SENSITIVE)
    right.set_title("error $\\ell$; green: $\\ell$ = 2; crosses: $S$")
    figure.colorbar(image, ax=right, label="$\\ell$", extend="max", shrink=0.85)
    plotting.toy_plane((left, right), EDGE)
    left.legend(loc="upper left", fontsize=8, frameon=True, handletextpad=0.2)
    return figure
