"""The detectors and the controls: exact where an answer is known, the same at any batch
size, and no better than they should be."""

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import nn

from pudm_lib.data.splits import DataSettings, make_split
from pudm_lib.detection import scores as detectors
from pudm_lib.detection import shortcuts
from pudm_lib.detection.learned import (
    fit_logistic,
    fit_resnet,
    log_errors,
    logistic_score,
    network_score,
    pixel_statistics,
    step_inputs,
)
from pudm_lib.detection.roc import auc
from pudm_lib.detection.t_error import denoise, reverse, t_errors
from pudm_lib.diffusion.networks import make_unet
from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas

ALPHAS = alphas_cumprod_of(linear_betas())


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return make_unet("tiny", resolution=8, channels=1).eval()


def images(count):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 8, 8), generator=generator).to(torch.uint8)


SCORES = [
    (detectors.sedid, {"t": 330}),
    (detectors.secmi, {"t": 30}),
    (detectors.denoising_loss, {"t": 350, "draws": 2}),
    (detectors.pia, {"t": 200}),
    (detectors.dire, {"t": 600, "step_size": 200}),
]


@pytest.mark.parametrize(
    "score, options", SCORES, ids=lambda x: getattr(x, "__name__", "")
)
def test_scores_do_not_depend_on_the_batch(model, score, options):
    x = images(7)
    at_once = score(model, x, **options)
    assert at_once.shape == (7,) and (at_once > 0).all()
    torch.testing.assert_close(
        score(model, x, **options, batch_size=3), at_once, rtol=1e-3, atol=1e-5
    )


class Exact(nn.Module):
    """A network that knows the noise of x_t = sqrt(a) 0.5 + sqrt(1 - a) eps."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, x, t):
        a = ALPHAS[t].float().reshape(-1, 1, 1, 1)
        return UNet2DOutput(sample=(x - 0.5 * a.sqrt()) / (1 - a).sqrt())


def test_baselines_of_a_network_that_makes_no_error():
    exact = Exact()
    constant = torch.full((3, 1, 8, 8), 0.5)
    constant[:, :, 0, :2] = -0.5  # two pixels it does not know
    known = detectors.denoising_loss(exact, constant, t=350, draws=3)
    # eps_hat - eps = sqrt(a / (1 - a)) (x0 - 0.5), whatever the noise.
    wanted = (ALPHAS[350] / (1 - ALPHAS[350])).item()
    torch.testing.assert_close(known, torch.full((3,), 2 * wanted), rtol=1e-3, atol=0)
    # Its noise in x0 at t = 0 is -1 / sqrt(1 - a_0); PIA sees it leave at t.
    a_0, a_t = ALPHAS[0].item(), ALPHAS[200].item()
    eps_0 = (-0.5 - 0.5 * a_0**0.5) / (1 - a_0) ** 0.5
    eps_t = (-(a_t**0.5) + (1 - a_t) ** 0.5 * eps_0) / (1 - a_t) ** 0.5
    # The 62 pixels that it knows add less than a thousandth.
    wanted = (2 * (eps_t - eps_0) ** 4) ** 0.25
    found = detectors.pia(exact, constant, t=200)[0].item()
    assert found == pytest.approx(wanted, rel=1e-3)
    # A straight path: what goes up comes back down.
    assert detectors.dire(exact, constant, t=900).max() < 1e-3


def test_denoising_loss_draws_are_seeded(model):
    x = images(4)
    one = detectors.denoising_loss(model, x, t=350, seed=1)
    assert torch.equal(one, detectors.denoising_loss(model, x, t=350, seed=1))
    assert not torch.equal(one, detectors.denoising_loss(model, x, t=350, seed=2))
    with pytest.raises(ValueError, match="draws=0, must be >= 1"):
        detectors.denoising_loss(model, x, draws=0)
    with pytest.raises(ValueError, match=r"t=1000, must be in 0 \.\. 999"):
        detectors.denoising_loss(model, x, t=1000)


def test_network_inputs_are_aligned_unless_asked_as_released(model):
    x = images(4)
    maps = step_inputs(model, x, 165, [330, 990])
    assert maps.shape == (4, 2, 8, 8)
    errors = t_errors(model, x, 165, t_se=[330, 990], reduction="map")
    torch.testing.assert_close(maps, errors.transpose(0, 1))
    released = step_inputs(model, x, 165, [990], misaligned_as_released=True)
    with torch.no_grad():
        node = x.float() / 127.5 - 1
        for t in range(0, 990, 165):
            node = reverse(model, node, t, 165, ALPHAS)
        back = denoise(model, node, 990, 165, ALPHAS)  # from 990, at 825
    torch.testing.assert_close(released, (node - back) ** 2, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(released, maps[:, 1:])


def test_the_network_learns_a_difference_however_small_the_numbers():
    generator = torch.Generator().manual_seed(0)
    real = 1e-6 * torch.rand(64, 1, 8, 8, generator=generator)
    generated = 1e-6 * torch.rand(64, 1, 8, 8, generator=generator)
    generated[:, :, :4] *= 1.6
    network = fit_resnet(real[:32], generated[:32], seed=0, steps=30, batch_size=16)
    found = [network_score(network, part[32:]) for part in (real, generated)]
    assert auc(*found) > 0.95
    again = fit_resnet(real[:32], generated[:32], seed=0, steps=30, batch_size=16)
    torch.testing.assert_close(network_score(again, real[32:]), found[0])
    with pytest.raises(ValueError, match="64 real and 0 generated images to learn"):
        fit_resnet(real, generated[:0], seed=0)
    with pytest.raises(ValueError, match="must be the same"):
        fit_resnet(real, generated[:, :, :4], seed=0)


def test_pixel_statistics_see_grey_levels_and_nothing_once_they_are_gone():
    real = make_split(DataSettings(), 0).x_test
    assert torch.equal(shortcuts.quantise(real), real)  # scikit-learn's own 17 levels
    many = shortcuts.noisy(real, 3)
    parts = {"many": many, "17 levels": shortcuts.quantise(many)}
    areas = {}
    for name, generated in parts.items():
        a, b = pixel_statistics(real), pixel_statistics(generated)
        pipeline = fit_logistic(a[::2], b[::2])
        areas[name] = auc(*(logistic_score(pipeline, x[1::2]).numpy() for x in (a, b)))
    assert areas["many"] >= 0.99
    assert areas["17 levels"] < 0.6
    with pytest.raises(ValueError, match="must be uint8"):
        pixel_statistics(real.float())
    with pytest.raises(ValueError, match="0 real and 3 generated"):
        fit_logistic(np.zeros((0, 2)), np.zeros((3, 2)))


def test_log_errors_of_zero_are_finite():
    numbers = log_errors(torch.tensor([[0.0, 1.0], [4.0, 9.0]]))
    assert numbers.shape == (2, 2) and np.isfinite(numbers).all()
    assert numbers[1].tolist() == pytest.approx([0, np.log(9)])


def test_quantise_jpeg_noise_blur():
    x = images(6)
    levels = shortcuts.quantise(x, 17).unique()
    assert len(levels) == 17 and {0, 255} <= set(levels.tolist())
    assert (shortcuts.quantise(x, 256) == x).all()
    assert (shortcuts.quantise(x, 17).int() - x.int()).abs().max() <= 8
    assert shortcuts.jpeg(x, 90).shape == x.shape
    grey = torch.full_like(x, 128)
    assert (shortcuts.jpeg(grey, 75).int() - 128).abs().max() <= 1
    assert (shortcuts.blurred(grey, 1.0) == grey).all()
    assert shortcuts.blurred(x, 1.0).float().std() < x.float().std() / 2
    many = shortcuts.noisy(torch.full((200, 1, 8, 8), 128, dtype=torch.uint8), 10)
    assert many.float().std().item() == pytest.approx(10, rel=0.05)
    assert torch.equal(many[:50], shortcuts.noisy(many[:50] * 0 + 128, 10))
    for call, message in (
        (lambda: shortcuts.quantise(x, 1), "levels=1, must be in 2 .. 256"),
        (lambda: shortcuts.noisy(x, -1.0), "deviation=-1.0, must be >= 0"),
        (lambda: shortcuts.blurred(x, 0), "sigma=0, must be > 0"),
        (lambda: shortcuts.crop_as_released(x, 0.5), "ratio=0.5, must be >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_released_crop_leaves_a_tiny_picture_on_black():
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    small = shortcuts.crop_as_released(white)
    assert small.shape == white.shape
    # 32 of 140 pixels: 7.3 of 32 a side, 5 % of the area.
    assert small.float().mean().item() / 255 == pytest.approx((32 / 140) ** 2, rel=0.02)
    assert small[0, :, :10].sum() == 0 and small[0, :, 16, 16].min() == 255


def test_classes_are_matched():
    classes = torch.tensor([0] * 50 + [1] * 30 + [2] * 7)
    wanted = torch.tensor([0] * 10 + [1] * 20)
    kept = shortcuts.matched_indices(classes, wanted)
    assert len(kept.unique()) == len(kept) == 45
    assert classes[kept].bincount().tolist() == [15, 30]
    assert len(shortcuts.matched_indices(classes, wanted, limit=12)) == 12
    with pytest.raises(ValueError, match=r"no images of classes \[3\]"):
        shortcuts.matched_indices(classes, torch.tensor([0, 3]))


def test_gaussian_images_have_the_mean_and_covariance_of_the_training_images():
    training = make_split(DataSettings(), 0).x_unlabeled // 2 + 64  # far from the ends
    drawn = shortcuts.gaussian_images(training, 4000, components=20)
    assert drawn.dtype == torch.uint8 and drawn.shape == (4000, 1, 8, 8)
    gap = drawn.float().mean(0) - training.float().mean(0)
    assert gap.abs().max() < 2.5
    wanted, found = (np.cov(x.flatten(1).numpy().T) for x in (training, drawn))
    directions = np.linalg.eigh(wanted)[1][:, ::-1]
    kept = [np.diag(directions.T @ c @ directions) for c in (wanted, found)]
    np.testing.assert_allclose(kept[1][:20], kept[0][:20], rtol=0.12)
    assert kept[1][25:].max() < kept[0][19] / 4
    assert torch.equal(drawn, shortcuts.gaussian_images(training, 4000, components=20))
    with pytest.raises(ValueError, match=r"components=99, must be in 1 \.\. 64"):
        shortcuts.gaussian_images(training, 5, components=99)
