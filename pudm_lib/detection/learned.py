"""Detectors that learn from labelled real and generated images: SeDID's network (Ma et
al. 2023, section 3.4), the same network on raw pixels, and logistic regressions on a
few numbers an image.

Each is fitted on two sets of inputs, real and generated, and gives a score (N,) that is
larger for generated images.
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits
from torchvision.models import resnet18

from pudm_lib.detection.t_error import t_errors
from pudm_lib.diffusion.process import random_generator
from pudm_lib.machine.devices import cpu_threads
from pudm_lib.measures.fitting import fit

# Below float32's smallest normal number there is no logarithm to take.
SMALLEST_ERROR = 1e-30

# What `pixel_statistics` counts, in the order of its columns.
PIXEL_NUMBERS = (
    "different values, mean, deviation, black, white, differences across, "
    "differences down, fine detail"
).split(", ")


def step_inputs(
    model: nn.Module, images: Tensor, step_size: int, t_se: list[int], **options
) -> Tensor:
    """What SeDID's network sees: the squared differences at each T_SE, pixel by pixel.

    Aligned, x_t and its reconstruction lie at one noise level: (x_back - x_t)^2. The
    released code sets the upper node against the reconstruction of the lower one,
    (x_up - x_back)^2, at T_SE = 990 images from levels 990 and 825.

    Args:
        t_se: one or several steps; their maps become channels.
        options: misaligned_as_released, batch_size and others of `t_errors`.

    Returns:
        float32 (N, C * len(t_se), H, W), on the CPU.
    """
    maps = t_errors(model, images, step_size, t_se=t_se, reduction="pixel", **options)
    return maps.transpose(0, 1).flatten(1, 2)  # (K, N, C, H, W) -> (N, K C, H, W)


def _check_classes(real, generated) -> None:
    if min(len(real), len(generated)) == 0:
        raise ValueError(
            f"{len(real)} real and {len(generated)} generated images to learn from; "
            "both classes are needed"
        )
    if real.shape[1:] != generated.shape[1:]:
        raise ValueError(
            f"real inputs of {tuple(real.shape[1:])}, generated ones of "
            f"{tuple(generated.shape[1:])}: must be the same"
        )


class SmallResNet(nn.Module):
    """ResNet-18 for small images, one logit; inputs are brought to a common scale.

    A first convolution of 3x3 without stride and no pooling after it, as usual for
    32x32 pixels: the original would shrink 8x8 to 2x2 before the first block.
    """

    def __init__(self, inputs: Tensor):
        super().__init__()
        channels = inputs.shape[1]
        self.body = resnet18(num_classes=1)
        self.body.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.body.maxpool = nn.Identity()
        # Squared differences can be of any size, and batch normalisation's own small
        # constant would swallow tiny ones.
        scale = inputs.std(dim=(0, 2, 3), keepdim=True).clamp(min=SMALLEST_ERROR)
        self.register_buffer("mean", inputs.mean(dim=(0, 2, 3), keepdim=True))
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) / self.scale)[:, 0]  # (B, C, H, W) -> (B,)


def fit_resnet(
    real: Tensor,
    generated: Tensor,
    *,
    seed: int,
    steps: int = 400,
    batch_size: int = 128,
    device: str = "cpu",
    threads: int = 2,
) -> SmallResNet:
    """Train the network on maps of `step_inputs`, or on images for the raw-pixel
    classifier; optimiser and batch as in the paper.

    Half of every batch is real. The loss is the cross-entropy; the released code
    regresses to 0 and 1 by the squared error.

    Args:
        real, generated: float (N, C, H, W), (M, C, H, W).
        steps: optimiser steps; the paper's 20 epochs of 10,000 images are 1,560.
        threads: on the CPU; another number changes the last bits of every sum, and the
            network with them.

    Raises:
        ValueError: a class without images, or inputs of two shapes.
    """
    _check_classes(real, generated)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallResNet(torch.cat([real, generated])).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4
    )
    half = batch_size // 2
    labels = torch.arange(2, device=device).repeat_interleave(half).float()

    def draw(step: int) -> tuple[Tensor, Tensor]:
        generator = random_generator(seed, step)
        parts = [
            images[torch.randint(len(images), (half,), generator=generator)]
            for images in (real, generated)
        ]
        return torch.cat(parts).to(device), labels

    loss = binary_cross_entropy_with_logits
    with cpu_threads(threads):
        fit(network, draw, loss, optimizer, steps, name="the detector")
    return network.eval()


@torch.no_grad()
def network_score(network: SmallResNet, inputs: Tensor, batch_size=256) -> Tensor:
    """The logit, (N,): larger means generated."""
    device = network.mean.device
    parts = [network(batch.to(device)).cpu() for batch in inputs.split(batch_size)]
    return torch.cat(parts)


def pixel_statistics(images: Tensor) -> np.ndarray:
    """Plain numbers of each image, no diffusion model in them: (N, 8).

    Number of different values; mean and deviation; shares of black and white; mean
    absolute difference of neighbours across and down; what 3x3 smoothing takes away.
    Images are uint8 (N, C, H, W).
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images of type {images.dtype}, must be uint8")
    x = images.double()
    smooth = avg_pool2d(x, 3, stride=1)
    columns = [
        torch.tensor([len(image.unique()) for image in images]).double(),
        x.mean((1, 2, 3)),
        x.std((1, 2, 3)),
        (x == 0).double().mean((1, 2, 3)),
        (x == 255).double().mean((1, 2, 3)),
        x.diff(dim=-1).abs().mean((1, 2, 3)),
        x.diff(dim=-2).abs().mean((1, 2, 3)),
        (x[..., 1:-1, 1:-1] - smooth).abs().mean((1, 2, 3)),
    ]
    return torch.stack(columns, 1).numpy()


def log_errors(errors) -> np.ndarray:
    """t-errors (K, N) -> (N, K) logarithms: what the multi-step score looks at."""
    return np.log(np.maximum(np.asarray(errors, float), SMALLEST_ERROR)).T


def fit_logistic(real: np.ndarray, generated: np.ndarray, *, strength=0.1) -> Pipeline:
    """Logistic regression on standardised numbers, both classes weighing the same.

    Args:
        real, generated: (N, F), (M, F).
        strength: inverse of the penalty on the weights, > 0.

    Returns:
        A pipeline; `logistic_score` reads it.

    Raises:
        ValueError: as `fit_resnet`.
    """
    _check_classes(real, generated)
    regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000)
    pipeline = make_pipeline(StandardScaler(), regression)
    labels = np.repeat([0, 1], [len(real), len(generated)])
    return pipeline.fit(np.concatenate([real, generated]), labels)


def logistic_score(pipeline: Pipeline, numbers: np.ndarray) -> Tensor:
    """The log-odds, (N,): larger means generated."""
    return torch.from_numpy(pipeline.decision_function(numbers))
