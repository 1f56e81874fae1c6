"""SeDID's steps and errors against a slow float64 form and against diffusers."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMInverseScheduler,
    DDIMScheduler,
    UNet2DConditionModel,
)
from test_sampling import GaussianDenoiser
from torch import nn

from pudm_lib.detection.t_error import all_t_se, denoise, move, reverse, t_errors
from pudm_lib.diffusion.networks import make_unet
from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas

BETAS = linear_betas()
ALPHAS = alphas_cumprod_of(BETAS)
NODES = (165, 330, 495, 660, 825, 990)


class Counting(nn.Module):
    """A network that counts the images it is asked about, and at which levels."""

    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, []

    def forward(self, x, t, **condition):
        self.calls.append((t[0].item(), len(x)))
        return self.network(x, t, **condition)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return make_unet("tiny", resolution=8, channels=1).eval()


def images(count=5, seed=0, channels=1, side=8):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, side, side)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8)


def floats(count=5, dtype=torch.float64, **options):
    return images(count, **options).to(dtype) / 127.5 - 1


# The paper's equations, one number at a time, sharing no line with the library.
def literal_step(x, eps, t, s):
    a_t = np.prod([1 - b for b in BETAS.tolist()[: t + 1]])
    a_s = np.prod([1 - b for b in BETAS.tolist()[: s + 1]])
    f = (x - np.sqrt(1 - a_t) * eps) / np.sqrt(a_t)
    return np.sqrt(a_s) * f + np.sqrt(1 - a_s) * eps


def literal_error(eps_of, x0, t_se, delta):
    x = x0
    for t in range(0, t_se - delta, delta):
        x = literal_step(x, eps_of(x, t), t, t + delta)
    below = t_se - delta
    up = literal_step(x, eps_of(x, below), below, t_se)
    back = literal_step(up, eps_of(up, t_se), t_se, below)
    return back - x


def eps_function(network):
    def eps_of(x, t):
        with torch.no_grad():
            x = torch.from_numpy(x)
            return network(x, torch.full((len(x),), t)).sample.numpy()

    return eps_of


def test_steps_and_errors_equal_the_literal_float64_form(model):
    double = make_unet("tiny", resolution=8, channels=1).eval().double()
    double.load_state_dict(model.state_dict())
    eps_of, x = eps_function(double), floats()
    with torch.no_grad():
        for t, s in ((0, 165), (330, 495), (825, 990)):
            up = literal_step(x.numpy(), eps_of(x.numpy(), t), t, s)
            down = literal_step(x.numpy(), eps_of(x.numpy(), s), s, t)
            ours_up = reverse(double, x, t, s - t, ALPHAS)
            ours_down = denoise(double, x, s, s - t, ALPHAS)
            np.testing.assert_allclose(ours_up, up, rtol=0, atol=1e-6)
            np.testing.assert_allclose(ours_down, down, rtol=0, atol=1e-6)
    for delta, levels in ((165, NODES), (199, (199, 796, 995)), (50, (50, 150))):
        squares = [literal_error(eps_of, x.numpy(), t, delta) ** 2 for t in levels]
        ours = {
            kind: t_errors(double, x, delta, t_se=levels, reduction=kind)
            for kind in ("score", "channel", "map")
        }
        for row, square in enumerate(squares):
            for kind, axes in (("score", (1, 2, 3)), ("channel", (2, 3)), ("map", 1)):
                np.testing.assert_allclose(
                    ours[kind][row], square.sum(axes), rtol=1e-6, atol=1e-6
                )


def test_single_precision_stays_near_double(model):
    x, eps = floats(64), floats(64, seed=1)
    for t, s in ((0, 165), (825, 990), (990, 825), (165, 0)):
        exact = literal_step(x.numpy(), eps.numpy(), t, s)
        ours = move(x.float(), eps.float(), t, s, ALPHAS).double()
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-6)


def test_white_images_are_images(model):
    white = torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)
    wanted = t_errors(model, white, 333)
    assert torch.equal(t_errors(model, torch.ones(2, 1, 8, 8), 333), wanted)
    grey = torch.full((2, 1, 8, 8), 0.5)
    assert t_errors(model, grey, 333).isfinite().all()
    with pytest.raises(ValueError, match=r"they look like \[0, 1\]"):
        t_errors(model, torch.cat([torch.ones(1, 1, 8, 8), grey]), 333)


@pytest.mark.parametrize("size", [7, 165, 333, 400, 600])
def test_any_step_size_is_exact_on_its_own_nodes(size):
    """Of N(0, 0.5^2) with its exact denoiser a move is a factor, which is known."""
    v, x, a = 0.25, floats(3), ALPHAS.tolist()

    def factor(t, s):
        signal, noise = (a[s] * a[t]) ** 0.5, ((1 - a[s]) * (1 - a[t])) ** 0.5
        return (signal * v + noise) / (a[t] * v + 1 - a[t])

    at, wanted = 1.0, []
    for t in range(0, 1000 - size, size):
        up = at * factor(t, t + size)
        wanted.append((up * factor(t + size, t) - at) ** 2)
        at = up
    squares = x.square().sum((1, 2, 3))
    found = t_errors(GaussianDenoiser(0.0, v), x.float(), size).double()
    wanted = torch.tensor(wanted)[:, None].double() * squares
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=1e-8)


def test_steps_equal_diffusers_schedulers(model):
    # 990 = 6 x 165 lets both schedulers step by 165; they hold float32.
    settings = {"num_train_timesteps": 990, "clip_sample": False}
    settings["trained_betas"] = BETAS[:990].numpy()
    up, down = DDIMInverseScheduler(**settings), DDIMScheduler(**settings)
    up.set_timesteps(6)
    down.set_timesteps(6)
    x = floats(dtype=torch.float32)
    with torch.no_grad():
        for t in (0, 165, 330, 660):
            eps = model(x, torch.full((len(x),), t)).sample
            theirs = up.step(eps, t + 165, x).prev_sample
            ours = reverse(model, x, t, 165, ALPHAS)
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        for t in (165, 330, 495, 825):
            eps = model(x, torch.full((len(x),), t)).sample
            theirs = down.step(eps, t, x, eta=0.0).prev_sample
            ours = denoise(model, x, t, 165, ALPHAS)
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_one_sweep_makes_seven_evaluations_an_image(model):
    counting = Counting(model)
    x = images(10)
    shared = t_errors(counting, x, 165, batch_size=4)
    assert [t for t, _ in counting.calls] == [0, *NODES] * 3
    assert sum(count for _, count in counting.calls) == 7 * 10
    apart = [t_errors(model, x, 165, t_se=[t])[0] for t in NODES]
    torch.testing.assert_close(shared, torch.stack(apart), rtol=1e-4, atol=1e-5)
    counting.calls.clear()
    t_errors(counting, x, 165, t_se=[330])
    assert [t for t, _ in counting.calls] == [0, 165, 330]


def test_latent_form_with_an_identity_is_the_pixel_form(model):
    x = images(6)
    pixel = t_errors(model, x, 165)
    latent = t_errors(model, x, 165, encode=lambda z: z)
    assert torch.equal(pixel, latent)


def test_latent_form_of_a_conditional_model():
    torch.manual_seed(0)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()
    x, c = images(5, channels=3, side=16), torch.randn(5, 3, 8)

    def encode(pixels):
        return vae.encode(pixels).latent_dist.mode() * 0.2

    found = t_errors(unet, x, 330, condition=c, encode=encode, batch_size=2)
    with torch.no_grad():
        z = encode(floats(5, channels=3, side=16, dtype=torch.float32))

        def eps_of(latent, t):
            time = torch.full((5,), t)
            latent = torch.from_numpy(latent).float()
            return unet(latent, time, encoder_hidden_states=c).sample.double().numpy()

        wanted = literal_error(eps_of, z.double().numpy(), 660, 330)
    np.testing.assert_allclose(found[1], (wanted**2).sum((1, 2, 3)), rtol=1e-3)
    other = t_errors(unet, x, 330, condition=c[:1], encode=encode)
    torch.testing.assert_close(other[:, 0], found[:, 0], rtol=1e-3, atol=1e-6)
    assert not torch.allclose(other[:, 1:], found[:, 1:])
    with pytest.raises(ValueError, match="condition of 2 images for 5"):
        t_errors(unet, x, 330, condition=c[:2], encode=encode)


def test_what_cannot_be_scored_is_refused(model):
    x = images(2)
    for t_se in (0, 100, -165, 1155):
        with pytest.raises(ValueError, match=f"t_se={t_se}, must be a positive mult"):
            t_errors(model, x, 165, t_se=[t_se])
    assert all_t_se(165) == list(NODES) and all_t_se(199)[-1] == 995
    for step_size in (0, 1000):
        with pytest.raises(ValueError, match=f"step_size={step_size}, must be in 1"):
            t_errors(model, x, step_size)
    with pytest.raises(ValueError, match="t_se is empty"):
        t_errors(model, x, 165, t_se=[])
    with pytest.raises(ValueError, match=r"\(1, 10, 10\), but the model takes"):
        t_errors(model, images(2, side=10), 165)
    with pytest.raises(ValueError, match=r"\(3, 8, 8\), but the model takes"):
        t_errors(model, images(2, channels=3), 165)
    with pytest.raises(ValueError, match="images from -2 to 2, must be"):
        t_errors(model, 2 * floats(2).round(), 165)
    with pytest.raises(ValueError, match=r"nothing below 0: they look like \[0, 1\]"):
        t_errors(model, floats(2).abs(), 165)
    with pytest.raises(ValueError, match="images from nan"):
        t_errors(model, floats(2) * torch.nan, 165)
    with pytest.raises(ValueError, match="reduction='mean', must be one of score"):
        t_errors(model, x, 165, reduction="mean")
    with pytest.raises(ValueError, match="batch_size=0, must be >= 1"):
        t_errors(model, x, 165, batch_size=0)
    with pytest.raises(ValueError, match=r"images of shape \(0, 1, 8, 8\)"):
        t_errors(model, images(0), 165)
