"""The Safe Denoiser against closed forms: theorem, estimates, hook, bad arguments."""

import logging
import math

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from scipy.special import logsumexp
from torch import nn

from pudm_lib.diffusion import mixtures as toys
from pudm_lib.diffusion.networks import make_unet
from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas, random_generator
from pudm_lib.diffusion.sampling import SamplingSettings, sample
from pudm_lib.prior.two_sample import energy_test
from pudm_lib.steering import references as reference_denoiser
from pudm_lib.steering import safe_denoiser
from pudm_lib.steering.references import (
    ReferenceDenoiser,
    kernel_posterior,
    principal_projection,
    random_projection,
    reference_level,
)
from pudm_lib.steering.safe_denoiser import TRACED, SafeDenoiser, by_time
from pudm_lib.steering.weights import (
    ConstantWeight,
    KernelWeight,
    PosteriorOdds,
    log_odds,
)

ALPHAS = alphas_cumprod_of(linear_betas())
BETA = 0.3
LINE = (
    toys.GaussianMixture([2, 1], [[-1.0], [0.4]], [0.05, 0.02]),
    toys.GaussianMixture([1, 1], [[1.2], [0.1]], [0.03, 0.04]),
)
WORLDS = {"line": LINE, "plane": toys.pu_toy()}
each_world = pytest.mark.parametrize("world", WORLDS)


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=random_generator(seed), dtype=dtype)


def images(n, seed=0, dtype=torch.float32):
    return gaussian(n, 1, 8, 8, seed=seed, dtype=dtype).clamp(-1, 1)


def exact_hook(world, **options):
    """The hook of which every part is known in closed form."""
    p_safe, p_unsafe = WORLDS[world]
    p_data = toys.pu_mixture(p_safe, p_unsafe, BETA)
    options = {"cap": 1e9, "clip": None} | options
    return (
        p_safe,
        p_data,
        SafeDenoiser(
            safe_denoiser.ExactPosterior(p_unsafe, ALPHAS),
            PosteriorOdds(BETA, safe_denoiser.ExactPosterior(p_data, ALPHAS)),
            **options,
        ),
    )


# -- the kernels, equation 6 --------------------------------------------------------


@pytest.mark.parametrize("most", [2**24, 60])  # one chunk; chunks of three
def test_kernel_posterior_is_the_softmax_mean(most, monkeypatch):
    monkeypatch.setattr(reference_denoiser, "MAX_NUMBERS", most)
    query, keys, values = gaussian(7, 5), gaussian(20, 5, seed=1), gaussian(20, 2, 3)
    found = kernel_posterior(query, keys, values, 0.4)
    logits = -(query[:, None] - keys).square().sum(-1) / (2 * 0.4**2)
    weights = logits.softmax(1)
    expected = torch.einsum("bn,nij->bij", weights, values)
    assert torch.allclose(found.mean, expected, atol=1e-12)
    assert torch.allclose(found.effective, 1 / weights.square().sum(1))
    mean_kernel = logsumexp(logits.numpy(), axis=1) - math.log(20)
    assert torch.allclose(found.log_kernel, torch.from_numpy(mean_kernel))


def test_the_released_kernel_does_not_square():
    found = kernel_posterior(
        gaussian(4, 3),
        gaussian(9, 3, seed=1),
        gaussian(9, 3, seed=2),
        1.3,
        squared=False,
    )
    weights = (
        -torch.cdist(gaussian(4, 3), gaussian(9, 3, seed=1)) / (2 * 1.3**2)
    ).softmax(1)
    assert torch.allclose(found.mean, weights @ gaussian(9, 3, seed=2), atol=1e-10)


@pytest.mark.parametrize("width", [0.0, 0.3])
@pytest.mark.parametrize("t", [0, 40, 400, 999])
def test_references_are_a_mixture_of_gaussians(t, width):
    # An independent closed form, which cannot do without any width.
    references, a = gaussian(12, 2), ALPHAS[t]
    variances = [max(width**2, 1e-14)] * 12
    mixture = toys.GaussianMixture([1.0] * 12, references, variances)
    x_t = a.sqrt() * references[:6] + (1 - a).sqrt() * gaussian(6, 2, seed=1)
    found = ReferenceDenoiser(references, width=width, clip=None)(x_t, t)
    exact = safe_denoiser.ExactPosterior(mixture, ALPHAS)(x_t, t)
    assert torch.allclose(found.mean, exact.mean, atol=1e-6)
    # Its density has the factor of its own, larger variance: log(1 + alpha^2 h^2 / s^2)
    factor = 2 / 2 * torch.log1p(a * width**2 / (1 - a))
    assert torch.allclose(found.log_kernel, exact.log_kernel + factor, atol=1e-6)


def test_far_away_images_keep_their_weights():
    # exp(-||.||^2 / (2 sigma^2)) is zero in any float here; its logarithm is not.
    found = ReferenceDenoiser(images(5))(100 * images(3, seed=1), 0)
    assert bool((found.log_kernel < -1e5).all()) and bool(found.mean.isfinite().all())
    assert bool((found.effective >= 1).all())


def test_a_random_projection_keeps_squared_distances_on_average():
    x = images(200)
    projected = random_projection(x, 64, seed=3)(x)
    ratio = projected.square().sum(1).mean() / x.flatten(1).square().sum(1).mean()
    assert ratio.item() == pytest.approx(1, abs=0.1)


def test_principal_components_lose_nothing_of_references_in_their_span():
    spanned = (gaussian(40, 3) @ gaussian(3, 64, seed=1)).reshape(40, 1, 8, 8)
    spanned = spanned / spanned.abs().max()
    x_t = gaussian(5, 1, 8, 8, seed=2)
    whole = ReferenceDenoiser(spanned)
    short = ReferenceDenoiser(spanned, features=principal_projection(spanned, 3))
    assert torch.allclose(whole(x_t, 300).mean, short(x_t, 300).mean, atol=1e-9)
    left_out = whole(x_t, 300).log_kernel - short(x_t, 300).log_kernel
    other = (
        ReferenceDenoiser(spanned[:7]),
        ReferenceDenoiser(spanned[:7], features=short.features),
    )
    assert torch.allclose(
        left_out, other[0](x_t, 300).log_kernel - other[1](x_t, 300).log_kernel
    )  # the same for any references of the span: it cancels in odds


def test_density_alone_is_the_same_density():
    whole, alone = (
        ReferenceDenoiser(images(9)),
        ReferenceDenoiser(images(9), density_only=True),
    )
    found = alone(images(4, seed=1), 300)
    assert torch.equal(found.log_kernel, whole(images(4, seed=1), 300).log_kernel)
    assert found.mean.shape == (4, 0)


def test_features_take_the_place_of_pixels():
    references, x_t = images(9), images(4, seed=1)
    halves = ReferenceDenoiser(references, features=lambda x: x[..., :4].flatten(1))
    alone = ReferenceDenoiser(references[..., :4])
    weights = alone(x_t[..., :4], 300)
    assert torch.allclose(halves(x_t, 300).log_kernel, weights.log_kernel)
    assert torch.allclose(halves(x_t, 300).mean[..., :4], weights.mean, atol=1e-6)


# -- the theorem --------------------------------------------------------------------


@each_world
@pytest.mark.parametrize("t", [5, 100, 400, 700, 999])
def test_theorem(world, t):
    p_safe, p_data, hook = exact_hook(world)
    x0 = p_data.sample(500, random_generator(t))
    x_t = ALPHAS[t].sqrt() * x0 + (1 - ALPHAS[t]).sqrt() * gaussian(*x0.shape, seed=1)
    # beyond odds of 1e6 the right-hand side is a difference of equal numbers
    unsafe = hook.unsafe(x_t, t)
    x_t = x_t[hook.log_weight(x_t, t, unsafe) < math.log(1e6)]
    assert len(x_t) > 250
    found = hook(p_data.posterior_mean(x_t, ALPHAS[t]), x_t, t)
    assert (found - p_safe.posterior_mean(x_t, ALPHAS[t])).abs().max() < 1e-6
    # and it says something: the plain prediction is elsewhere
    if t < 999:
        plain = p_data.posterior_mean(x_t, ALPHAS[t])
        assert (found - plain).abs().max() > 1e-2


@each_world
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_exact_hook_samples_the_safe_law(world, sampler):
    p_safe, p_data, hook = exact_hook(world)
    settings = SamplingSettings(
        sampler=sampler, num_inference_steps=250, num_samples=400, sampling_batch=400
    )
    model = toys.ExactDenoiser(p_data, ALPHAS)
    dims = p_safe.means.shape[1]
    truth = p_safe.sample(400, random_generator(7))

    def p_value(denoised_hook):
        drawn = sample(
            model,
            settings,
            shape=(dims,),
            seed=0,
            clip=None,
            denoised_hook=denoised_hook,
        )
        return energy_test(drawn, truth, random_generator(8))[1]

    assert p_value(hook) > 0.05
    assert p_value(None) <= 0.002  # the least that 499 shuffles can give


@pytest.mark.parametrize("t", [100, 500])
def test_estimates_come_closer_with_more_references(t):
    _, p_data, exact = exact_hook("plane")
    _, p_unsafe = WORLDS["plane"]
    x0 = p_data.sample(300, random_generator(0))
    x_t = ALPHAS[t].sqrt() * x0 + (1 - ALPHAS[t]).sqrt() * gaussian(300, 2, seed=1)
    truth = exact.unsafe(x_t, t)

    def error(n):
        references = p_unsafe.sample(n, random_generator(1, n))
        found = ReferenceDenoiser(references, clip=None)(x_t, t)
        near = truth.log_kernel > truth.log_kernel.quantile(0.5)
        return (found.mean - truth.mean)[near].square().mean().sqrt().item()

    assert error(4000) < 0.5 * error(40)


# -- the weights --------------------------------------------------------------------


def test_log_odds():
    pi = torch.tensor([1e-12, 0.2, 0.5, 0.999], dtype=torch.float64)
    assert torch.allclose(log_odds(pi.log()).exp(), pi / (1 - pi))
    assert log_odds(torch.tensor([0.0, 0.3])).tolist() == [math.inf, math.inf]


def test_weights_are_their_formulas():
    unsafe = ReferenceDenoiser(images(20))
    x_t = images(6, seed=1)
    posterior = unsafe(x_t, 900)
    kernel = posterior.log_kernel.exp()
    constant = ConstantWeight(0.7)(x_t, 900, posterior).exp()
    assert torch.allclose(constant, torch.full((6,), 0.7, dtype=torch.float64))
    paper = KernelWeight(1e3)(x_t, 900, posterior).exp()
    assert torch.allclose(paper, 1e3 * kernel)
    scaled = KernelWeight(2.0, temperature=64, level=-3.0)(x_t, 900, posterior).exp()
    assert torch.allclose(scaled, 2 * (kernel * math.exp(3)) ** (1 / 64))
    unlabeled = ReferenceDenoiser(images(30, seed=2))
    pi = 0.1 * kernel / unlabeled(x_t, 900).log_kernel.exp()
    odds = PosteriorOdds(0.1, unlabeled)(x_t, 900, posterior).exp()
    assert torch.allclose(odds, pi / (1 - pi))


@pytest.mark.parametrize("weight", [ConstantWeight(0.0), KernelWeight(0.0)])
def test_strength_zero_changes_nothing(weight):
    hook = SafeDenoiser(ReferenceDenoiser(images(9)), weight)
    x0_hat = images(4, seed=1)
    assert torch.equal(hook(x0_hat, x0_hat, 500), x0_hat)
    assert hook.trace[0]["corrected"] == 0 and hook.trace[0]["underflow"] == 0


@pytest.mark.parametrize("width", [0.0, 1.0])
@pytest.mark.parametrize("t", [40, 160, 480])
def test_a_levelled_kernel_has_weight_eta_at_noised_references(width, t):
    references = gaussian(400, 2, dtype=torch.float32).clamp(-1, 1)
    level = reference_level(references, 0.5, width=width)
    weight = KernelWeight(0.1, level=level)
    unsafe = ReferenceDenoiser(references[::2], width=width)
    a = unsafe.alphas_cumprod[t].item()
    noise = gaussian(200, 2, seed=7, dtype=torch.float32)
    x_t = a**0.5 * references[1::2] + (1 - a) ** 0.5 * noise
    median = weight(x_t, t, unsafe(x_t, t)).median().exp().item()
    assert 0.1 / 2.5 < median < 0.1 * 2.5


def test_a_trace_of_nothing_has_its_columns():
    assert by_time([]) == {"t": []} | {name: [] for name in TRACED}


def test_reference_level_is_between_its_quantiles():
    references = images(40)
    low, high = (reference_level(references, q)(600) for q in (0.0, 1.0))
    middle = reference_level(references, 0.5)
    assert low < middle(600) < high
    assert middle(600) == reference_level(references, 0.5)(600)
    # a noised reference is far denser than pure noise far from all of them
    assert ReferenceDenoiser(references)(3 + images(1), 600).log_kernel < low


# -- the hook -----------------------------------------------------------------------


def odds_hook(dtype=torch.float32, **options):
    sensitive, unlabeled = images(30, 1, dtype), images(50, 2, dtype)
    return SafeDenoiser(
        ReferenceDenoiser(sensitive),
        PosteriorOdds(0.3, ReferenceDenoiser(unlabeled)),
        **options,
    )


@pytest.mark.parametrize("t", [20, 300, 900])
def test_batched_equals_one_by_one_in_float32(t):
    hook, x_t, x0_hat = odds_hook(), gaussian(16, 1, 8, 8).float(), images(16, 4)
    together = hook(x0_hat, x_t, t)
    alone = [hook(x0_hat[i : i + 1], x_t[i : i + 1], t) for i in range(16)]
    assert (together - torch.cat(alone)).abs().max() <= 1e-5
    assert not torch.equal(together, x0_hat)


class InDouble(nn.Module):
    """A network that computes in float64 whatever it is given."""

    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, x_t, t):
        return UNet2DOutput(sample=self.network(x_t.double(), t).sample)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_whole_trajectories_batched_and_one_by_one_in_float64(sampler):
    torch.manual_seed(0)
    model = InDouble(make_unet("tiny", resolution=8, channels=1)).eval()
    hook = odds_hook(torch.float64)

    def drawn(batch, denoised_hook=hook):
        settings = SamplingSettings(
            sampler=sampler, num_inference_steps=10, num_samples=6, sampling_batch=batch
        )
        return sample(
            model, settings, shape=(1, 8, 8), seed=3, denoised_hook=denoised_hook
        )

    assert (drawn(6) - drawn(1)).abs().max() <= 1e-6  # samples leave as float32
    assert (drawn(6) - drawn(6, None)).abs().max() > 1e-3
    assert {record["images"] for record in hook.trace} == {1, 6}


def test_window_threshold_and_cap():
    references = ReferenceDenoiser(images(9))
    x0_hat, x_t = images(4, seed=1), gaussian(4, 1, 8, 8).float()
    hook = SafeDenoiser(references, ConstantWeight(0.5), window=(100, 200), clip=None)
    for t in (99, 201):
        assert torch.equal(hook(x0_hat, x_t, t), x0_hat)
    assert hook.trace == []
    expected = x0_hat + 0.5 * (x0_hat - references(x_t, 100).mean)
    for t in (100, 200):
        expected = x0_hat + 0.5 * (x0_hat - references(x_t, t).mean)
        assert torch.allclose(hook(x0_hat, x_t, t), expected)
    assert [record["t"] for record in hook.trace] == [100, 200]

    middle = references(x_t, 150).log_kernel.median().item()
    for threshold in (middle, lambda t: middle):
        some = SafeDenoiser(references, ConstantWeight(0.5), threshold=threshold)
        moved = (some(x0_hat, x_t, 150) != x0_hat).flatten(1).any(1)
        assert torch.equal(moved, references(x_t, 150).log_kernel >= middle)
        assert some.trace[0]["corrected"] == moved.double().mean()

    capped = SafeDenoiser(references, ConstantWeight(3.0), cap=0.5, clip=None)
    expected = x0_hat + 0.5 * (x0_hat - references(x_t, 200).mean)
    assert torch.allclose(capped(x0_hat, x_t, 200), expected)
    assert capped.trace[0]["capped"] == 1 and capped.trace[0]["weight"] == 0.5


def test_certain_images_are_counted_and_capped():
    same = ReferenceDenoiser(images(9))
    hook = SafeDenoiser(
        same,
        PosteriorOdds(
            0.9,
            lambda x_t, t: same(x_t, t)._replace(
                log_kernel=same(x_t, t).log_kernel - 1
            ),
        ),
        cap=2.0,
    )
    hook(images(4, seed=1), images(4, seed=1), 300)  # pi = 0.9 e > 1
    assert hook.trace[0]["certain"] == 1 and hook.trace[0]["weight"] == 2


def test_underflow_is_reported(caplog):
    # The paper's weight as it stands, in 3,072 dimensions.
    references = ReferenceDenoiser(gaussian(5, 3, 32, 32).clamp(-1, 1).float())
    hook = SafeDenoiser(references, KernelWeight(1e4))
    x_t = gaussian(2, 3, 32, 32, seed=1).float()
    x0_hat = x_t.clamp(-1, 1)
    with caplog.at_level(logging.WARNING):
        for t in (500, 480):
            assert torch.equal(hook(x0_hat, x_t, t), x0_hat)
    assert [record["underflow"] for record in hook.trace] == [1, 1]
    assert [record["corrected"] for record in hook.trace] == [0, 0]
    (message,) = [record.getMessage() for record in caplog.records]
    assert "t=500: every weight is above zero but too small" in message
    # A mean over the numbers of an image instead: it acts, and nothing is reported.
    warm = SafeDenoiser(references, KernelWeight(1.0, temperature=3072))
    assert not torch.equal(warm(x0_hat, x_t, 500), x0_hat)
    assert warm.trace[0]["underflow"] == 0


def test_by_time_averages_over_images():
    hook = SafeDenoiser(ReferenceDenoiser(images(9)), ConstantWeight(0.5))
    for n, t in ((3, 20), (1, 20), (2, 700)):
        hook(images(n), gaussian(n, 1, 8, 8).float(), t)
    columns = by_time(hook.trace)
    assert columns["t"] == [700, 20] and columns["weight"] == [0.5, 0.5]
    a, b = (record["effective"] for record in hook.trace[:2])
    assert columns["effective"][1] == pytest.approx((3 * a + b) / 4)


# -- bad arguments ------------------------------------------------------------------

NAN = images(3).clone()
NAN[1, 0, 2, 2] = math.nan
GOOD = ReferenceDenoiser(images(3))


def hook_with(**options):
    return SafeDenoiser(GOOD, ConstantWeight(1.0), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ReferenceDenoiser(images(3)[:0]), r"shape \(0, 1, 8, 8\), must be"),
        (lambda: ReferenceDenoiser(torch.zeros(3)), r"shape \(3,\), must be \(N, "),
        (lambda: ReferenceDenoiser(images(3), width=-1.0), r"width=-1\.0, must be"),
        (lambda: GOOD(torch.zeros(2, 1, 4, 4), 5), r"\(1, 8, 8\).*\(1, 4, 4\)"),
        (lambda: ReferenceDenoiser(images(3) * 255), r"reach 255, must be in \[-1"),
        (
            lambda: ReferenceDenoiser(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)),
            "torch.uint8, must be floats",
        ),
        (lambda: ReferenceDenoiser(NAN), "NaN or infinity"),
        (lambda: hook_with(window=(0, 1000)), r"window=\(0, 1000\), must be .* 999"),
        (lambda: hook_with(window=(-1, 10)), r"window=\(-1, 10\)"),
        (lambda: hook_with(window=(20, 10)), r"window=\(20, 10\)"),
        (lambda: hook_with(window=(0, 100), num_train_timesteps=50), "<= 49"),
        (lambda: hook_with(cap=math.inf), "cap=inf, must be finite and >= 0"),
        (lambda: ConstantWeight(-1.0), r"strength=-1\.0, must be finite and >= 0"),
        (lambda: ConstantWeight(math.nan), "strength=nan"),
        (lambda: KernelWeight(math.inf), "eta=inf, must be finite and >= 0"),
        (lambda: KernelWeight(-0.1), r"eta=-0\.1"),
        (lambda: KernelWeight(1.0, temperature=0.0), r"temperature=0\.0"),
        (lambda: PosteriorOdds(1.0, GOOD), r"beta=1\.0, must be in \[0, 1\)"),
        (lambda: reference_level(images(9), 1.5), r"quantile=1\.5, must be in"),
        (lambda: reference_level(images(1), 0.5), "1 references, must be >= 2"),
        (lambda: principal_projection(images(9), 65), r"dims=65, must be in 1 \.\. 64"),
        (lambda: energy_test(images(1), images(1), None), "1 and 1 points"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
