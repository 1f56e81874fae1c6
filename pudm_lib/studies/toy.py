"""Chapter 04's two-dimensional toy: its data, its training, what it leaks, over seeds.

Everything about it is known, so theory can be held against training: PU must lose what
p_U has more than p_N (PUDM eq. 13) and nothing else.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pudm_lib.diffusion import mixtures
from pudm_lib.diffusion.networks import MLPDenoiser
from pudm_lib.diffusion.process import (
    add_noise,
    alphas_cumprod_of,
    denoising_error,
    linear_betas,
    random_generator,
)
from pudm_lib.diffusion.sampling import SamplingSettings, sample
from pudm_lib.training.batches import TrainingImages
from pudm_lib.training.loop import train
from pudm_lib.training.settings import TrainingSettings

TRUE_BETA = 1 / 11
# Seconds of training; tau gives ell of 2 numbers the scale of a 512-pixel image.
USUAL = {"tau": 2 / 512, "learning_rate": 0.01, "ema_decay": 0.999, "device": "cpu"}
USUAL |= {"batch_unlabeled": 256, "batch_sensitive": 64, "batch_normal": 64}
# Half a minute, on five times the data: near what the data can give.
LONG = {"steps": 12_000, "learning_rate": 0.005, "ema_decay": 0.9995}
LONG |= {"batch_unlabeled": 512, "batch_sensitive": 256}
# Few labels in small batches, where the estimated risk falls below zero.
SMALL = {"steps": 3000, "learning_rate": 0.005, "ema_decay": 0.995}
SMALL |= {"batch_unlabeled": 32, "batch_sensitive": 32}
COMPARED = ("unsupervised", "pu_non_negative")
FORMS = ("pu_unbiased", "pu_non_negative", "pu_absolute")


def toy_images(seed: int, unlabeled: int = 4000, labelled: int = 400) -> TrainingImages:
    """Unlabeled points, 1/11 of them sensitive, and labelled ones, by their seed."""
    p_normal, p_sensitive = mixtures.pu_toy()
    p_unlabeled = mixtures.pu_mixture(p_normal, p_sensitive, TRUE_BETA)
    x_unlabeled = p_unlabeled.sample(unlabeled, random_generator(seed, 0))
    x_sensitive = p_sensitive.sample(labelled, random_generator(seed, 1))
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
) -> tuple[MLPDenoiser, dict[str, Tensor]]:
    """A trained MLPDenoiser and its history; the same first weights each time.

    Args:
        images: in place of `toy_images`, points of any number of coordinates.
        report: see `train`; gets the model under way as well, to look at.
        changed: fields of TrainingSettings.
    """
    images = images or toy_images(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MLPDenoiser(images.unlabeled.shape[1], width=64)
    usual = USUAL | {"steps": steps, "warmup_steps": min(100, steps // 4)}
    settings = TrainingSettings(method=method, beta=beta, **usual | changed)
    report = report and partial(report, model)
    history = train(model, images, settings, seed=seed, report=report)
    return model.eval(), history


def sample_toy(model: MLPDenoiser, num_samples: int, seed: int) -> Tensor:
    """(num_samples, D) points of the model by 200 steps of DDIM."""
    plan = SamplingSettings(
        num_samples=num_samples, sampling_batch=1000, num_inference_steps=200
    )
    shape = (model.first.in_features,)
    return sample(model, plan, shape=shape, seed=seed, clip=None).double()


def leaked(points: Tensor) -> Tensor:
    """Where sensitive is more likely than normal under the true densities, (n,)."""
    parts = mixtures.pu_toy()
    return mixtures.sensitive_probability(points, *parts, TRUE_BETA) > 0.5


def judge_toy(points: Tensor) -> dict[str, float]:
    """Shares of the points that have leaked; that lie off the data, where p_U is lower
    than at all but one in a thousand of its own points; that are in the top blob."""
    p_normal, p_sensitive = mixtures.pu_toy()
    p_unlabeled = mixtures.pu_mixture(p_normal, p_sensitive, TRUE_BETA)
    own = p_unlabeled.log_prob(p_unlabeled.sample(200_000, random_generator(0, 0)))
    off = p_unlabeled.log_prob(points) < own.quantile(0.001)
    top = (points - p_normal.means[0]).norm(dim=1) < 0.5
    flags = {"leak": leaked(points), "off": off, "top": top}
    return {name: share.double().mean().item() for name, share in flags.items()}


def measure_leaks(seeds: Sequence[int], num_samples: int) -> dict[str, list[dict]]:
    """method -> `judge_toy` of each seed's model; every seed has data of its own."""
    found: dict[str, list[dict]] = {method: [] for method in COMPARED}
    for seed in seeds:
        images = toy_images(seed, 20_000, 2000)
        for method, rows in found.items():
            options = {"method": method, "seed": seed, "images": images, **LONG}
            model, _ = train_toy(TRUE_BETA, **options)
            rows.append(judge_toy(sample_toy(model, num_samples, seed)))
    return found


@torch.no_grad()
def normal_error(model: nn.Module) -> float:
    """Mean ell on 5,000 normal points that nobody trained on."""
    generator = random_generator(0, 0)
    x0 = mixtures.pu_toy()[0].sample(5000, generator).float()
    t = torch.randint(1000, (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    x_t = add_noise(x0, eps, t, alphas_cumprod_of(linear_betas()))
    return denoising_error(eps, model(x_t, t).sample).mean().item()


def measure_forms(seeds: Sequence[int], labels: int) -> dict[str, list[dict]]:
    """The three forms of the risk with few labels: form -> a row for each seed.

    "below": share of steps with a negative risk. "first": the first of them. "largest":
    largest mean ell of a batch of S. "normal": `normal_error` of the trained model.
    "apart": how far the risk is from the unbiased one's before "first".
    """
    found: dict[str, list[dict]] = {method: [] for method in FORMS}
    for seed in seeds:
        images, unbiased = toy_images(seed, 2000, labels), None
        for method, rows in found.items():
            options = {"method": method, "seed": seed, "images": images, **SMALL}
            model, history = train_toy(TRUE_BETA, **options)
            risk, below = history["negative"], history["negative"] < 0
            unbiased = risk if unbiased is None else unbiased
            first = int(below.int().argmax()) if below.any() else len(risk)
            row = {"below": below.double().mean().item(), "first": first}
            on_s = USUAL["tau"] * history["ell_sensitive"]  # trained on ell / tau
            row |= {"largest": on_s.max().item(), "normal": normal_error(model)}
            gap = (risk - unbiased)[:first].abs()
            rows.append(row | {"apart": gap.max().item() if first else 0.0})
    return found
