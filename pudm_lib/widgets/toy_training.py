"""Chapter 04's 2-D toy as something to watch: training it, and a picture of its state.

Two known densities in the plane, an MLP, one of PUDM's methods; small enough to be
trained in seconds at any beta.
"""

from collections.abc import Callable
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pudm_lib.book import style as plotting
from pudm_lib.diffusion import mixtures as toys
from pudm_lib.diffusion import process as diffusion
from pudm_lib.diffusion.networks import MLPDenoiser
from pudm_lib.diffusion.sampling import SamplingSettings, sample
from pudm_lib.training.batches import TrainingImages
from pudm_lib.training.loop import train
from pudm_lib.training.settings import TrainingSettings

TRUE_BETA = 1 / 11
NUM_POINTS = 600  # drawn from the model for a picture
# Noise levels of the map of ell: about as wide as a blob, so that places tell apart.
LEVELS = torch.linspace(50, 149, 24).long()
EDGE = 2.4
# Chapter 04's training; tau gives ell of 2 numbers the scale of a 64-pixel image.
USUAL = {"tau": 2 / 64, "learning_rate": 0.01, "device": "cpu"}
USUAL |= {"batch_unlabeled": 128, "batch_sensitive": 32, "batch_normal": 32}


def toy_images(seed: int) -> TrainingImages:
    """2,000 unlabeled points, 1/11 of them sensitive, and 20 labelled ones."""
    p_normal, p_sensitive = toys.pu_toy()
    p_unlabeled = toys.pu_mixture(p_normal, p_sensitive, TRUE_BETA)
    x_unlabeled = p_unlabeled.sample(2000, diffusion.random_generator(seed, 0))
    x_sensitive = p_sensitive.sample(20, diffusion.random_generator(seed, 1))
    return TrainingImages(x_unlabeled.float(), x_sensitive.float())


def train_toy(
    beta: float,
    *,
    method: str,
    steps: int,
    seed: int,
    images: TrainingImages | None = None,
    report: Callable[[nn.Module, int, str], None] | None = None,
    **changed,
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A trained MLPDenoiser and its history; the same first weights each time.

    Args:
        images: in place of `toy_images`.
        report: see `train`; gets the model under way as well, to look at.
        changed: fields of TrainingSettings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MLPDenoiser(2, width=64)
    usual = USUAL | {"steps": steps, "warmup_steps": min(100, steps // 4)}
    settings = TrainingSettings(method=method, beta=beta, **usual | changed)
    images = images or toy_images(seed)
    report = report and partial(report, model)
    history = train(model, images, settings, seed=seed, report=report)
    return model.eval(), history


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


def leaked(points: Tensor) -> Tensor:
    """Where sensitive is more likely than normal under the true densities, (n,)."""
    return toys.sensitive_probability(points, *toys.pu_toy(), TRUE_BETA) > 0.5


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
    right.plot(*labels.T, "x", ms=6, mew=1.5, color=plotting.SENSITIVE)
    right.set_title("error $\\ell$; green: $\\ell$ = 2; crosses: $S$")
    figure.colorbar(image, ax=right, label="$\\ell$", extend="max", shrink=0.85)
    plotting.toy_plane((left, right), EDGE)
    left.legend(loc="upper left", fontsize=8, frameon=True, handletextpad=0.2)
    return figure
