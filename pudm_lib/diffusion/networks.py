"""Noise predictors eps_theta(x_t, t): U-Nets by size, and an MLP for toy data.

All are called `model(x_t, t).sample`, as diffusers' models are, so that any of its
pretrained ones fits in.
"""

import math

import torch
from diffusers import UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from pudm_lib.machine.checks import check

# block_out_channels, layers_per_block, norm_num_groups, level with attention or None.
# "paper" is the released code's network: 61.5 M parameters at three channels.
UNETS = {
    "tiny": ((8, 16), 1, 4, None),
    "small": ((16, 32, 64), 1, 8, None),
    "medium": ((64, 128, 128), 2, 32, 1),
    "paper": ((128, 128, 256, 512), 2, 32, 2),
}


def make_unet(
    size: str, *, resolution: int, channels: int, num_conditions: int = 0
) -> UNet2DModel:
    """A U-Net for (B, channels, resolution, resolution) images.

    With conditions it is called model(x_t, t, c), c a (B,) tensor of integers: the
    condition 0 .. num_conditions-1 of each image or, for none, `null_class`.

    Args:
        size: a key of `UNETS`.
        resolution: pixels a side; must be divisible by 2 for each level but one.
        channels: 1 or 3.
        num_conditions: 0 for a model without them.

    Raises:
        ValueError: unknown size, a resolution the levels cannot halve, or a negative
            number of conditions.
    """
    check(UNETS, network=size)
    check(0, num_conditions=num_conditions)
    widths, layers, groups, attention = UNETS[size]
    halvings = 2 ** (len(widths) - 1)
    if resolution % halvings:
        raise ValueError(
            f"resolution={resolution}: network {size!r} halves the image "
            f"{len(widths) - 1} times, so it must be a multiple of {halvings}"
        )
    down = ["DownBlock2D"] * len(widths)
    up = ["UpBlock2D"] * len(widths)
    if attention is not None:
        down[attention] = "AttnDownBlock2D"
        up[-1 - attention] = "AttnUpBlock2D"
    return UNet2DModel(
        sample_size=resolution,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=layers,
        block_out_channels=widths,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        norm_num_groups=groups,
        add_attention=attention is not None,
        num_class_embeds=num_conditions + 1 if num_conditions else None,
    )


def null_class(model: nn.Module) -> int:
    """The class label that stands for no condition: the one after all of them.

    Raises:
        ValueError: a model without conditions.
    """
    classes = getattr(getattr(model, "config", None), "num_class_embeds", None)
    if classes is None:
        raise ValueError(
            f"{type(model).__name__} takes no condition; a model that does is made "
            "with num_conditions >= 1, an experiment by setting condition"
        )
    return classes - 1


class MLPDenoiser(nn.Module):
    """A small noise predictor for points of `dims` coordinates; x_t is (B, dims).

    Residual blocks, each of which is told the time: without that the network blurs the
    small noise levels, and its samples fill the gaps between the data.

    Args:
        outputs: numbers a point, (B, outputs); by default its noise, `dims`.
    """

    def __init__(
        self,
        dims: int,
        *,
        width: int = 128,
        blocks: int = 3,
        outputs: int | None = None,
        num_train_timesteps: int = 1000,
    ):
        super().__init__()
        self.num_train_timesteps = num_train_timesteps
        frequencies = torch.exp(torch.linspace(0.0, math.log(100.0), 16))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.first = nn.Linear(dims, width)
        self.times = nn.ModuleList(nn.Linear(32, width) for _ in range(blocks))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.last = nn.Linear(width, outputs or dims)

    def forward(self, x_t: Tensor, t: Tensor) -> UNet2DOutput:
        phase = t.to(x_t.dtype).reshape(-1, 1) / self.num_train_timesteps
        phase = phase.expand(len(x_t), 1) * self.frequencies  # (B, 16)
        time = torch.cat([phase.sin(), phase.cos()], dim=1)
        h = self.first(x_t)
        for of_time, layer in zip(self.times, self.layers, strict=True):
            h = h + layer(nn.functional.silu(h + of_time(time)))
        return UNet2DOutput(sample=self.last(nn.functional.silu(h)))
