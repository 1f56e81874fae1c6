"""The baselines of steering: each against its formula written out, and one by one."""

import math

import pytest
import torch

from pudm_lib.diffusion import mixtures as toys
from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas, random_generator
from pudm_lib.steering.baselines import (
    ClassifierGuidance,
    PUClassifier,
    RandomDirection,
    ReleasedCode,
    SparseRepellency,
    train_pu_classifier,
)
from pudm_lib.steering.references import ReferenceDenoiser
from pudm_lib.steering.safe_denoiser import SafeDenoiser
from pudm_lib.steering.weights import ConstantWeight

ALPHAS = alphas_cumprod_of(linear_betas())


def images(n, seed=0):
    generator = random_generator(seed)
    return torch.randn(n, 1, 8, 8, generator=generator).clamp(-1, 1)


def noise(n):
    return torch.randn(n, 1, 8, 8, generator=random_generator(9))


REFERENCES = images(12, 5)
SAFE = SafeDenoiser(ReferenceDenoiser(REFERENCES), ConstantWeight(0.4), clip=None)
torch.manual_seed(0)
HOOKS = {
    "sparse": SparseRepellency(REFERENCES, radius=12.0),
    "random": RandomDirection(SAFE),
    "released": ReleasedCode(REFERENCES),
    "classifier": ClassifierGuidance(PUClassifier(64)),
}


@pytest.mark.parametrize("name", HOOKS)
def test_batched_equals_one_by_one(name):
    x0_hat, x_t = images(5), noise(5)
    together = HOOKS[name](x0_hat, x_t, 800)
    alone = [HOOKS[name](x0_hat[i : i + 1], x_t[i : i + 1], 800) for i in range(5)]
    assert (together - torch.cat(alone)).abs().max() <= 1e-5
    assert not torch.equal(together, x0_hat) and together.dtype == x0_hat.dtype


@pytest.mark.parametrize(
    "hook",
    [
        SparseRepellency(REFERENCES, radius=12.0, window=(0, 500)),
        SparseRepellency(REFERENCES, radius=12.0, strength=0.0),
        SparseRepellency(REFERENCES, radius=1e-3),
        ReleasedCode(REFERENCES, scale=0.0),
        ReleasedCode(REFERENCES, window=(0, 500)),
        ClassifierGuidance(PUClassifier(64), scale=0.0),
        ClassifierGuidance(PUClassifier(64), window=(0, 500)),
    ],
)
def test_out_of_its_window_radius_or_strength_nothing_changes(hook):
    x0_hat = images(5)
    assert torch.allclose(hook(x0_hat, noise(5), 800), x0_hat, atol=1e-6)


def test_sparse_repellency_is_its_sum():
    hook = SparseRepellency(REFERENCES, radius=9.0, strength=1.3, clip=None)
    x0_hat = images(3)
    expected = x0_hat.clone()
    for i, x in enumerate(x0_hat):
        for z in REFERENCES:
            push = max(0.0, 9.0 / (x - z).norm().item() - 1)
            expected[i] += 1.3 * push * (x - z)
    assert torch.allclose(hook(x0_hat, noise(3), 500), expected, atol=1e-4)


def test_sparse_repellency_of_strength_one_puts_a_point_on_the_edge():
    ball = SparseRepellency(torch.zeros(1, 2), radius=0.5, strength=1.0)
    moved = ball(torch.tensor([[0.3, 0.0], [0.0, 0.7]]), torch.zeros(2, 2), 0)
    assert torch.allclose(moved, torch.tensor([[0.5, 0.0], [0.0, 0.7]]))


def test_a_random_direction_keeps_the_length_and_loses_the_direction():
    x0_hat, x_t = images(6), noise(6)
    control = RandomDirection(SAFE, clip=None)
    true = (SAFE(x0_hat, x_t, 500) - x0_hat).flatten(1)
    turned = (control(x0_hat, x_t, 500) - x0_hat).flatten(1)
    assert torch.allclose(turned.norm(dim=1), true.norm(dim=1), rtol=1e-4)
    assert torch.cosine_similarity(turned, true).abs().max() < 0.5
    assert not torch.allclose(control(x0_hat, x_t, 480), control(x0_hat, x_t, 500))


def test_the_released_code_is_its_formula():
    hook = ReleasedCode(REFERENCES, sigma=1.3, scale=0.5, clip=None)
    x0_hat = images(3)
    kernels = torch.exp(
        -torch.cdist(x0_hat.flatten(1), REFERENCES.flatten(1)) / (2 * 1.3**2)
    )
    mean = kernels @ REFERENCES.flatten(1) / (kernels.sum(1, keepdim=True) + 1e-8)
    expected = x0_hat - 0.5 * mean.reshape_as(x0_hat)
    assert torch.allclose(hook(x0_hat, noise(3), 900), expected, atol=1e-5)


@pytest.mark.parametrize("t", [50, 300, 900])
def test_guidance_by_the_true_classifier_is_the_theorem(t):
    p_safe, p_unsafe = toys.pu_toy()
    p_data = toys.pu_mixture(p_safe, p_unsafe, 0.3)

    def ell(x_t, t):  # -log P(safe|x_t)
        a = ALPHAS[t].item()
        safe = p_safe.noised(a).log_prob(x_t) + math.log(0.7)
        return p_data.noised(a).log_prob(x_t) - safe

    x0 = p_data.sample(200, random_generator(0))
    x_t = ALPHAS[t].sqrt() * x0 + (1 - ALPHAS[t]).sqrt() * torch.randn(
        200, 2, dtype=torch.float64, generator=random_generator(1)
    )
    guided = ClassifierGuidance(ell, clip=None)(
        p_data.posterior_mean(x_t, ALPHAS[t]), x_t, t
    )
    assert (guided - p_safe.posterior_mean(x_t, ALPHAS[t])).abs().max() < 1e-6


def test_pu_classifier_learns_what_is_sensitive_from_u_and_s():
    p_normal, p_sensitive = toys.pu_toy()
    p_unlabeled = toys.pu_mixture(p_normal, p_sensitive, 0.2)
    model = train_pu_classifier(
        p_unlabeled.sample(1000, random_generator(0)).float(),
        p_sensitive.sample(200, random_generator(1)).float(),
        beta=0.2,
        steps=500,
        batch=256,
    )
    x = p_unlabeled.sample(2000, random_generator(2))
    truth = toys.sensitive_probability(x, p_normal, p_sensitive, 0.2)
    with torch.no_grad():
        found = 1 - torch.exp(-model(x.float(), 5))
    right = ((found > 0.5) == (truth > 0.5)).double().mean()
    assert right > 0.9 > (truth < 0.5).double().mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SparseRepellency(REFERENCES, radius=0.0), r"radius=0\.0"),
        (lambda: SparseRepellency(REFERENCES, 1.0, strength=-1.0), r"strength=-1\.0"),
        (lambda: SparseRepellency(REFERENCES, 1.0, window=(5, 1000)), "window="),
        (lambda: SparseRepellency(REFERENCES[:0], 1.0), r"shape \(0, 1, 8, 8\)"),
        (lambda: ReleasedCode(REFERENCES * 9), r"must be in \[-1"),
        (lambda: ReleasedCode(REFERENCES, sigma=math.inf), "sigma=inf"),
        (lambda: ReleasedCode(REFERENCES, scale=math.nan), "scale=nan"),
        (lambda: ClassifierGuidance(PUClassifier(4), scale=math.inf), "scale=inf"),
        (lambda: ClassifierGuidance(PUClassifier(4), window=(9, 1)), "window="),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
