"""Conditions: the loss (eq. 20), dropping, guidance (eqs. 8 and 9), bad arguments."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import nn

from pudm_lib.data.pixels import to_model_range
from pudm_lib.diffusion import mixtures as toys
from pudm_lib.diffusion.networks import make_unet, null_class
from pudm_lib.diffusion.process import (
    alphas_cumprod_of,
    linear_betas,
    random_generator,
    x0_from_eps,
)
from pudm_lib.diffusion.sampling import SamplingSettings, sample
from pudm_lib.steering import safe_denoiser
from pudm_lib.steering.guidance import Guided
from pudm_lib.steering.safe_denoiser import SafeDenoiser
from pudm_lib.steering.weights import PosteriorOdds
from pudm_lib.training.batches import NOISE, TrainingImages, batch_order
from pudm_lib.training.loop import train
from pudm_lib.training.settings import TrainingSettings

ALPHAS = alphas_cumprod_of(linear_betas())
SHORT = TrainingSettings(
    steps=12,
    warmup_steps=4,
    batch_unlabeled=6,
    batch_sensitive=2,
    checkpoint_every=5,
    device="cpu",
)


def gaussian(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=random_generator(seed), dtype=dtype)


def unet(num_conditions=3):
    torch.manual_seed(3)
    return make_unet(
        "tiny", resolution=8, channels=1, num_conditions=num_conditions
    ).eval()


def images():
    generator = random_generator(7)
    u = torch.randint(256, (20, 1, 8, 8), generator=generator, dtype=torch.uint8)
    conditions = {"unlabeled": torch.arange(20) % 3, "sensitive": torch.arange(9) % 2}
    return TrainingImages(u, 255 - u[:9], conditions=conditions)


def literal_risk(model, settings, seed):
    """The non-negative risk (19) with eps_theta(x_t, c, t) (20), image by image."""
    sets = {"unlabeled": images().unlabeled, "sensitive": images().sensitive}
    order = batch_order(sets, settings, seed)
    means = {}
    for i, name in enumerate(sets):
        chosen = order(name, 0)
        generator = random_generator(seed, NOISE, i, 0)
        eps = torch.randn((len(chosen), 1, 8, 8), generator=generator).double()
        t = torch.randint(1000, (len(chosen),), generator=generator)
        x0 = to_model_range(sets[name][chosen]).double()
        ells = []
        for k, j in enumerate(chosen.tolist()):
            c = images().conditions[name][j : j + 1]
            a = ALPHAS[t[k]]
            x_t = a.sqrt() * x0[k : k + 1] + (1 - a).sqrt() * eps[k : k + 1]
            eps_hat = model(x_t, t[k : k + 1], c).sample
            ells.append((eps[k] - eps_hat[0]).square().sum())
        means[name] = torch.stack(ells)
    ell_u, ell_s = means["unlabeled"], means["sensitive"]
    negative = ell_u.mean() - settings.beta * ell_s.mean()
    positive = settings.beta * -torch.log(-torch.expm1(-ell_s)).mean()
    return positive + negative.clamp(min=0)


def test_the_conditional_risk_is_a_literal_loop_in_float64():
    settings = replace(SHORT, steps=1, p_uncond=0.0)
    history = train(unet(), images(), settings, seed=1)
    with torch.no_grad():
        expected = literal_risk(unet().double(), settings, seed=1)
    assert history["loss"][0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_condition_that_says_nothing_gives_the_unconditional_risk():
    silent, plain = unet(), unet(0)
    nn.init.zeros_(silent.class_embedding.weight)
    plain.load_state_dict(silent.state_dict(), strict=False)
    without = replace(images(), conditions=None)
    first = train(silent, images(), SHORT, seed=1)
    second = train(plain, without, SHORT, seed=1)
    assert first["loss"][0] == second["loss"][0]
    # One condition for all, never dropped: its row of the embedding is a bias, which
    # learns, so that from the second step on the two are different networks.
    assert first["loss"][-1] != second["loss"][-1]


class Recorder(nn.Module):
    """Predicts nothing and keeps what it was asked."""

    config = SimpleNamespace(num_class_embeds=5)

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))
        self.asked = []

    def forward(self, x_t, t, c):
        self.asked.append((x_t[:, 0].round().long(), c))
        return UNet2DOutput(sample=self.factor * x_t)


@pytest.mark.parametrize("p_uncond", [0.0, 0.1, 1.0])
def test_conditions_stay_with_their_images_and_a_share_is_dropped(p_uncond):
    """Points that are their own condition, hardly noised at T = 1."""
    of_u, of_s = torch.arange(40) % 4, torch.arange(8) % 4
    points = TrainingImages(
        of_u[:, None].float(),
        of_s[:, None].float(),
        conditions={"unlabeled": of_u, "sensitive": of_s},
    )
    settings = replace(SHORT, steps=400, num_train_timesteps=1, p_uncond=p_uncond)
    model = Recorder()
    train(model, points, settings, seed=0)
    said, asked = (torch.cat(column) for column in zip(*model.asked, strict=True))
    kept = asked != 4
    assert torch.equal(said[kept], asked[kept])
    share = 1 - kept.float().mean().item()  # of 3200: a standard error of 0.005 at 0.1
    assert share == pytest.approx(p_uncond, abs=0.02 if 0 < p_uncond < 1 else 0)


def test_dropping_has_noise_of_its_own():
    """U's images, noise and times are the same whatever is dropped."""
    seen = []
    for p_uncond in (0.0, 1.0):
        model = Recorder()
        points = TrainingImages(
            gaussian(40, 2),
            gaussian(8, 2),
            conditions={n: torch.zeros(k).long() for n, k in SIZES},
        )
        train(model, points, replace(SHORT, steps=3, p_uncond=p_uncond), seed=0)
        seen.append(torch.cat([said for said, _ in model.asked]))
    assert torch.equal(*seen)


SIZES = (("unlabeled", 40), ("sensitive", 8))


class Stop(Exception):
    pass


def test_an_interrupted_conditional_run_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("pudm_lib.training.loop.LOOK_EVERY", 1)
    whole, resumed = unet(), unet()
    train(whole, images(), SHORT, seed=1)
    path = tmp_path / "checkpoint.safetensors"

    def stop_at_8(step, losses):
        if step == 8:
            raise Stop

    with pytest.raises(Stop):
        train(unet(), images(), SHORT, seed=1, checkpoint=path, report=stop_at_8)
    train(resumed, images(), SHORT, seed=1, checkpoint=path)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def two_passes(model, x_t, t, c):
    """E_data[x|x_t] and E_data[x|x_t, c], one image and one label at a time."""
    null = null_class(model)

    def mean(i, label):
        label = torch.tensor([label])
        eps_hat = model(x_t[i : i + 1], t[i : i + 1], label).sample
        x0 = x0_from_eps(x_t[i : i + 1], eps_hat, t[i : i + 1], ALPHAS)
        return x0.clamp(-1, 1)

    return [
        torch.cat([mean(i, label) for i, label in enumerate(labels)])
        for labels in ([null] * len(c), c.tolist(), [0] * len(c))
    ]


def guided_x0(model, scale, x_t, t, c, **options):
    eps_hat = Guided(model, scale, **options)(x_t, t, c).sample
    return x0_from_eps(x_t, eps_hat, t, ALPHAS)


def half(x0_hat, x_t, t):
    """A hook that is easy to follow."""
    return x0_hat / 2 + t * x_t / 1e4


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.0, 0.7, 1.0, 3.0])
def test_guidance_is_a_literal_two_pass_computation(scale):
    model = unet().double()
    x_t, c = gaussian(6, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0, 3])
    t = torch.full((6,), 500)
    e, e_c, e_minus = two_passes(model, x_t, t, c)

    def off(expected, **options):
        return (guided_x0(model, scale, x_t, t, c, **options) - expected).abs().max()

    assert off(e + scale * (e_c - e)) < 1e-12
    assert off(half(e, x_t, 500) + scale * (e_c - e), safe=half) < 1e-12  # (8)
    nine = e + scale * (e_c - e) - 0.4 * (e_minus - e)
    assert off(nine, negative=0, mu=0.4) < 1e-12  # (9)
    assert (e_c[-1] - e[-1]).abs().max() == 0, "the null class guides nowhere"
    # A hook for each condition, of which each image gets its own; the null class none.
    hooks = [lambda x, x_t, t, k=k: x + k * half(x, x_t, t) for k in (1, 2, 3)]
    moves = torch.tensor([1, 3, 2, 2, 1, 0])[:, None, None, None]
    given = e + scale * (e_c - e) + moves * half(e_c, x_t, 500)
    assert off(given, safe_given=hooks) < 1e-12


class ExactGiven:
    """The perfect network of two mixtures, one a condition, each half of the data."""

    config = SimpleNamespace(num_class_embeds=3)

    def __init__(self, mixtures):
        self.networks = [toys.ExactDenoiser(m, ALPHAS) for m in mixtures]
        both = toys.pu_mixture(*mixtures, 0.5)
        self.networks.append(toys.ExactDenoiser(both, ALPHAS))

    def __call__(self, x_t, t, c):
        of_each = torch.stack([network(x_t, t).sample for network in self.networks])
        return UNet2DOutput(sample=of_each[c, torch.arange(len(c))])


def exact_hook(p_safe, p_unsafe):
    p_data = toys.pu_mixture(p_safe, p_unsafe, 0.3)
    odds = PosteriorOdds(0.3, safe_denoiser.ExactPosterior(p_data, ALPHAS))
    unsafe = safe_denoiser.ExactPosterior(p_unsafe, ALPHAS)
    return SafeDenoiser(unsafe, odds, cap=1e9, clip=None)


@pytest.mark.parametrize("t", [100, 300, 700])
def test_the_theorem_given_c_is_exact_at_scale_1_and_equation_8_at_scale_0(t):
    safe = [toys.GaussianMixture([1], [[m]], [0.05]) for m in (-1.0, 0.6)]
    unsafe = [toys.GaussianMixture([1], [[m]], [0.04]) for m in (-0.3, 1.5)]
    worlds = list(zip(safe, unsafe, strict=True))
    model = ExactGiven([toys.pu_mixture(s, u, 0.3) for s, u in worlds])
    hooks = [exact_hook(*world) for world in worlds]
    everything = exact_hook(toys.pu_mixture(*safe, 0.5), toys.pu_mixture(*unsafe, 0.5))
    x_t = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64)[:, None]
    times = torch.full((61,), t)

    def x0(scale, c, **options):
        guided = Guided(model, scale, clip=None, **options)
        eps_hat = guided(x_t, times, torch.full((61,), c)).sample
        return x0_from_eps(x_t, eps_hat, times, ALPHAS)

    for c in (0, 1):
        truth = safe[c].posterior_mean(x_t, ALPHAS[t])
        assert (x0(1.0, c, safe_given=hooks) - truth).abs().max() < 1e-6
        assert (x0(1.0, c, safe=everything) - truth).abs().max() > 1e-2
    truth = toys.pu_mixture(*safe, 0.5).posterior_mean(x_t, ALPHAS[t])
    assert (x0(0.0, 0, safe=everything) - truth).abs().max() < 1e-6


@torch.no_grad()
def test_scale_0_ignores_the_condition_and_scale_1_is_the_model_as_trained():
    model, settings = unet(), SamplingSettings(num_inference_steps=5, num_samples=6)
    c, null = torch.arange(6) % 3, torch.full((6,), null_class(model))

    def drawn(model, conditions):
        return sample(model, settings, shape=(1, 8, 8), seed=0, conditions=conditions)

    by_class, by_none = drawn(model, c), drawn(model, null)
    assert (drawn(Guided(model, 0.0), c) - by_none).abs().max() < 1e-3
    assert (drawn(Guided(model, 1.0), c) - by_class).abs().max() < 1e-3
    assert (by_class - by_none).abs().max() > 0.1


def test_the_safe_hook_sees_the_unguided_mean():
    model, seen = unet(), []

    def keep(x0_hat, x_t, t):
        seen.append(x0_hat)
        return x0_hat

    x_t, t = gaussian(4, 1, 8, 8), torch.full((4,), 500)
    with torch.no_grad():
        for c in (torch.zeros(4).long(), torch.arange(4) % 3):
            Guided(model, 3.0, safe=keep)(x_t, t, c)
    assert torch.equal(*seen)


@torch.no_grad()
def test_mixed_conditions_batched_equal_one_by_one_in_float32():
    model = unet()
    guided = Guided(model, 3.0, safe=half, safe_given=[half] * 3)
    x_t, c = gaussian(12, 1, 8, 8), torch.arange(12) % 4
    t = torch.full((12,), 500)
    together = guided(x_t, t, c).sample
    alone = [guided(*(v[i : i + 1] for v in (x_t, t, c))).sample for i in range(12)]
    assert (together - torch.cat(alone)).abs().max() <= 1e-5


class InDouble(nn.Module):
    """A conditional network that computes in float64 whatever it is given."""

    def __init__(self):
        super().__init__()
        self.network = unet().double()
        self.config = self.network.config

    def forward(self, x_t, t, c):
        return UNet2DOutput(sample=self.network(x_t.double(), t, c).sample)


def test_whole_trajectories_with_mixed_conditions_one_by_one_in_float64():
    guided = Guided(InDouble(), 2.0, safe=half, safe_given=[half] * 3)

    def drawn(batch):
        settings = SamplingSettings(
            num_inference_steps=10, num_samples=6, sampling_batch=batch
        )
        return sample(
            guided, settings, shape=(1, 8, 8), seed=3, conditions=torch.arange(6) % 3
        )

    assert (drawn(6) - drawn(1)).abs().max() <= 1e-6  # samples leave as float32


def test_bad_conditions_are_refused():
    model, settings = unet(), SamplingSettings(num_inference_steps=2, num_samples=4)

    def drawn(conditions):
        guided = Guided(model, 1.0)
        sample(guided, settings, shape=(1, 8, 8), seed=0, conditions=conditions)

    with pytest.raises(ValueError, match="3 conditions for num_samples=4"):
        drawn(torch.arange(3))
    with pytest.raises(ValueError, match=r"conditions \[0, 4\], must be in 0 .. 2, or"):
        drawn(torch.tensor([0, 4, 0, 0]))
    with pytest.raises(ValueError, match="UNet2DModel takes no condition"):
        Guided(unet(0), 1.0)
    for wrong in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"guidance_scale=.*, must be finite"):
            Guided(model, wrong)
        with pytest.raises(ValueError, match=r"mu=.*, must be finite"):
            Guided(model, 1.0, mu=wrong)
    with pytest.raises(ValueError, match=r"negative=3, must be in 0 .. 2"):
        Guided(model, 1.0, negative=3, mu=0.5)
    with pytest.raises(ValueError, match="2 hooks for 3 conditions"):
        Guided(model, 1.0, safe_given=[half, half])
    with pytest.raises(ValueError, match="num_conditions=-1, must be >= 0"):
        unet(-1)


@pytest.mark.parametrize(
    ("of_u", "message"),
    [
        (torch.arange(20) % 4, r"0 to 3, for 20 unlabeled images.*in 0 .. 2"),
        (torch.arange(20) - 1, "-1 to 18, for 20 unlabeled images"),
        (torch.zeros(19).long(), "19 conditions, 0 to 0, for 20 unlabeled images"),
    ],
)
def test_bad_conditions_of_images_are_refused_before_training(of_u, message):
    conditions = images().conditions | {"unlabeled": of_u}
    with pytest.raises(ValueError, match=message):
        train(unet(), replace(images(), conditions=conditions), SHORT, seed=0)


def test_conditions_for_a_model_without_and_the_other_way_round_are_refused():
    with pytest.raises(ValueError, match="takes no condition"):
        train(unet(0), images(), SHORT, seed=0)
    with pytest.raises(ValueError, match="class_labels should be provided"):
        train(unet(), replace(images(), conditions=None), SHORT, seed=0)


def test_a_unet_with_conditions_has_a_row_for_each_and_for_none():
    model = unet(5)
    assert model.class_embedding.weight.shape[0] == 6 and null_class(model) == 5
    x_t, t = gaussian(2, 1, 8, 8), torch.tensor([5, 900])
    assert model(x_t, t, torch.tensor([0, 5])).sample.shape == x_t.shape


def test_half_precision_is_not_for_the_hooks():
    seen = []

    def hook(x0_hat, x_t, t):
        seen.extend([x0_hat.dtype, (x0_hat.flatten(1) @ x0_hat.flatten(1).T).dtype])
        return x0_hat

    settings = SamplingSettings("ddim", 2, 4)
    for hooks in ({"safe": hook}, {"safe_given": [hook] * 3}):
        sample(
            Guided(unet(), 1.5, **hooks),
            settings,
            shape=(1, 8, 8),
            seed=0,
            conditions=torch.arange(4) % 3,
            precision="bfloat16",
        )
    assert seen and set(seen) == {torch.float32}
