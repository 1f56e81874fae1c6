"""What the Safe Denoiser is compared with; all are hooks of `sampling.sample`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pudm_lib.diffusion.networks import MLPDenoiser
from pudm_lib.diffusion.process import add_noise, random_generator
from pudm_lib.diffusion.sampling import DenoisedHook
from pudm_lib.steering.hooks import ALPHAS_CUMPROD, Hook, bounded, check_strength
from pudm_lib.steering.references import check_references, kernel_posterior
from pudm_lib.training.losses import METHODS


@dataclass
class SparseRepellency(Hook):
    """SPELL (Kirchhof et al. 2024, arXiv 2410.06025): push a prediction out of a ball
    about each reference,

        x0_hat + strength sum_n relu(radius / ||x0_hat - x_n|| - 1) (x0_hat - x_n).

    Args:
        references: (N, ...) floats in [-clip, clip].
        radius: > 0; strength 1 puts a prediction in one ball onto its edge, more
            overshoots.
    """

    references: Tensor
    radius: float
    strength: float = 1.6

    def __post_init__(self):
        super().__post_init__()
        check_references(self.references, self.clip)
        check_strength(strength=self.strength)
        check_strength(radius=self.radius, positive=True)

    def moved(self, x0_hat: Tensor, x_t: Tensor, t: int) -> Tensor:
        x = x0_hat.double().flatten(1)
        references = self.references.to(x).flatten(1)
        distances = torch.cdist(x, references).clamp(min=1e-12)  # (B, N)
        push = (self.radius / distances - 1).clamp(min=0)
        # sum_n push_n (x - x_n) without a (B, N, D) tensor.
        moved = x + self.strength * (push.sum(1, keepdim=True) * x - push @ references)
        return moved.reshape_as(x0_hat).to(x0_hat)


@dataclass
class RandomDirection:
    """A control: another hook's correction, its length kept and its direction turned
    at random, so that only the direction can explain a difference. The turn is one
    orthogonal map a step for all images: a shuffle of the numbers, with random signs.
    """

    hook: DenoisedHook
    seed: int = 0
    clip: float | None = 1.0

    def __call__(self, x0_hat: Tensor, x_t: Tensor, t: int) -> Tensor:
        correction = (self.hook(x0_hat, x_t, t) - x0_hat).flatten(1)
        generator = random_generator(self.seed, t)
        order = torch.randperm(correction.shape[1], generator=generator)
        signs = torch.randint(2, order.shape, generator=generator) * 2 - 1
        turned = correction[:, order.to(x0_hat.device)] * signs.to(x0_hat)
        return bounded(x0_hat + turned.reshape_as(x0_hat), self.clip)


@dataclass
class ReleasedCode(Hook):
    """What the Safe Denoiser's released code computes, which is not the paper's (6-7):
    x0_hat - scale E with E = sum_n k_n x_n / (sum_n k_n + 1e-8) and an *un-squared*
    kernel k_n = exp(-||x0_hat - x_n|| / (2 sigma^2)) on the prediction: no alpha_t or
    sigma_t, no weight beta(x_t).

    Args:
        references: (N, ...) floats in [-clip, clip].
        sigma: > 0; 3.15 with a scale of 0.33 in its settings for Stable Diffusion 1.4.
    """

    references: Tensor
    sigma: float = 3.15
    scale: float = 0.33
    window: tuple[int, int] = field(default=(780, 999), kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        check_references(self.references, self.clip)
        check_strength(scale=self.scale)
        check_strength(sigma=self.sigma, positive=True)

    def moved(self, x0_hat: Tensor, x_t: Tensor, t: int) -> Tensor:
        x_n = self.references.to(x0_hat)
        found = kernel_posterior(x0_hat, x_n, x_n, self.sigma, squared=False)
        total = found.log_kernel.exp() * len(x_n)
        share = (total / (total + 1e-8)).to(x0_hat)
        share = share.reshape(-1, *[1] * (x0_hat.ndim - 1))
        return x0_hat - self.scale * share * found.mean


@dataclass
class ClassifierGuidance(Hook):
    """x0_hat + scale sigma_t^2 / alpha_t grad log P(normal|x_t) (Dhariwal and Nichol
    2021, by Tweedie's formula). At scale 1 and with the true P(normal|x_t) this *is*
    the Safe Denoiser's theorem: p_safe,t is p_t P(normal|x_t) up to a constant.

    Args:
        ell: (x_t, t) -> (B,), -log P(normal|x_t), differentiable in x_t.
    """

    ell: Callable[[Tensor, int], Tensor]
    scale: float = 1.0
    alphas_cumprod: Tensor = ALPHAS_CUMPROD

    def __post_init__(self):
        self.num_train_timesteps = len(self.alphas_cumprod)
        super().__post_init__()
        check_strength(scale=self.scale)

    def moved(self, x0_hat: Tensor, x_t: Tensor, t: int) -> Tensor:
        a = self.alphas_cumprod[t].item()
        with torch.enable_grad():
            at = x_t.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.ell(at, t).sum(), at)
        return x0_hat - self.scale * (1 - a) / math.sqrt(a) * gradient.to(x0_hat)


class PUClassifier(nn.Module):
    """ell(x_t, t) = -log P(normal|x_t) by a small network, >= 0; (B, ...) -> (B,)."""

    def __init__(self, dims: int):
        super().__init__()
        self.network = MLPDenoiser(dims, outputs=1)

    def forward(self, x_t: Tensor, t: int | Tensor) -> Tensor:
        time = torch.as_tensor(t, device=x_t.device).reshape(-1)
        logit = self.network(x_t.flatten(1), time).sample[:, 0]
        return nn.functional.softplus(logit)


def train_pu_classifier(
    x_unlabeled: Tensor,
    x_sensitive: Tensor,
    *,
    beta: float,
    steps: int = 600,
    batch: int = 128,
    seed: int = 0,
) -> PUClassifier:
    """A classifier of noised images from U and S alone: PUDM's non-negative risk (eq.
    19) with the classifier's ell in place of the denoising error.

    Args:
        x_unlabeled, x_sensitive: (n, ...) floats.
        beta: assumed share of sensitive images in U.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PUClassifier(math.prod(x_unlabeled.shape[1:]))
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    generator = random_generator(seed, 1)

    def noised_ell(images: Tensor) -> Tensor:
        x0 = images[torch.randint(len(images), (batch,), generator=generator)]
        t = torch.randint(len(ALPHAS_CUMPROD), (batch,), generator=generator)
        eps = torch.randn(x0.shape, generator=generator)
        return model(add_noise(x0, eps, t, ALPHAS_CUMPROD), t)

    for _ in range(steps):
        ell_u, ell_s = noised_ell(x_unlabeled), noised_ell(x_sensitive)
        risk = METHODS["pu_non_negative"](ell_u, ell_s, ell_u[:0], beta=beta)
        optimiser.zero_grad()
        risk.step.backward()
        optimiser.step()
    return model.eval()
