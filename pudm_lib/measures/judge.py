"""The judge: a small CNN that says which class an image shows, and so whether it is
sensitive (PUDM section 5.2).

It learns from the true labels of the set's training part, hidden ones included, and is
tested on the set's test part, whose normal images the distances use but on which it
never trains. Its accuracy is stated wherever a rate is.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pudm_lib.data.datasets import data_stamp, open_dataset
from pudm_lib.data.pixels import ImageSource, read_resized, to_model_range
from pudm_lib.data.splits import DataSettings, image_size, sensitive_classes
from pudm_lib.diffusion.process import random_generator
from pudm_lib.machine.devices import cpu_threads, resolve_device, versions
from pudm_lib.machine.paths import make_folder, remove_leftovers, runs_root
from pudm_lib.machine.processes import locked
from pudm_lib.machine.store import load_tensors, save_tensors, short_hash, stages
from pudm_lib.measures.fitting import fit
from pudm_lib.training.augment import affine

log = logging.getLogger(__name__)

# What the judge has to reach on held-out images, normal against sensitive.
MINIMUM_ACCURACY = {"digits": 0.985, "mnist": 0.99, "cifar10": 0.95}

FEATURES = 64  # of the penultimate layer
MAX_TRAINING_IMAGES = 60_000
IMAGES_SEEN = {"digits": 40_000, "mnist": 300_000, "cifar10": 1_500_000}
SEED = 0


class JudgeNetwork(nn.Module):
    """Three convolutions, a feature layer, one logit a class; any image size >= 4."""

    def __init__(self, channels: int, classes: int, width: int = 32):
        super().__init__()

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]

        self.body = nn.Sequential(
            *block(channels, width),
            *block(width, width),
            nn.MaxPool2d(2),
            *block(width, 2 * width),
            nn.AdaptiveMaxPool2d(4),
            *block(2 * width, 2 * width),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * width, FEATURES),
            # Features of unit size, so that distances on them have a common scale.
            nn.BatchNorm1d(FEATURES, affine=False),
        )
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, FEATURES)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).relu())


@dataclass(frozen=True)
class Judge:
    """A trained judge, and how it did on the test part; NaN before that.

    sensitivity, specificity: the shares of sensitive images called sensitive and of
        normal ones called normal.
    """

    network: JudgeNetwork
    sensitive_classes: Tensor
    accuracy: float = math.nan
    sensitivity: float = math.nan
    specificity: float = math.nan
    num_test: int = 0

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (N, C, H, W) -> (N,) bool, True = sensitive; and features (N, F)."""
        features = _in_batches(self.network.features, self.network, images)
        shares = self.network.head(features.relu()).softmax(dim=1)
        # Summed over classes: an image between 3 and 5 is certainly odd.
        sensitive = shares[:, self.sensitive_classes].sum(1) > 0.5
        return sensitive.cpu(), features.cpu()


@torch.no_grad()
def classes_of(images: Tensor, judge: Judge) -> Tensor:
    """The class that the judge sees in each image, (N,)."""
    return _in_batches(judge.network, judge.network, images).argmax(1).cpu()


def _in_batches(function: Callable, network: nn.Module, images: Tensor) -> Tensor:
    """Of uint8 images, on the network's device."""
    device = next(network.parameters()).device
    parts = [function(to_model_range(x.to(device))) for x in images.split(1024)]
    return torch.cat(parts)


def load_judge(settings: DataSettings, *, device: str = "cpu") -> Judge:
    """The judge of a data set at the experiment's image size; trained once, then kept
    under runs/judges/. One network serves every choice of normal classes."""
    source = open_dataset(settings.dataset)
    resolution, channels = image_size(settings, source)
    name = f"{Path(settings.dataset).stem}-{resolution}x{channels}"
    key = short_hash(
        {
            "data": data_stamp(settings.dataset),
            "classes": source.classes,
            "device": resolve_device(device),
            "versions": stages("data", "judge") | versions(),
        }
    )
    path = runs_root() / "judges" / f"{name}-{key}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)  # the judge does not depend on who asks for it first
        network = JudgeNetwork(channels, len(source.classes))
    with locked(make_folder(path.parent) / f"{path.stem}.lock", f"the judge {name}"):
        remove_leftovers(path.parent, path.name)
        if not path.exists():
            with cpu_threads(1):
                _fit(network, source, settings, device)
            save_tensors(path, network.state_dict(), {"dataset": settings.dataset})
    network.load_state_dict(load_tensors(path)[0])
    return _tested(network.to(device), source, settings)


def _fit(network, source: ImageSource, settings: DataSettings, device: str) -> None:
    labels = torch.as_tensor(source.labels["train"]).long()
    # More photographs than this teach the judge little and fill a laptop's memory.
    kept = np.random.default_rng(SEED).permutation(len(labels))[:MAX_TRAINING_IMAGES]
    size = image_size(settings, source)
    images = read_resized(source, "train", kept, *size).to(device)
    labels = labels[kept].to(device)
    batch = 64 if len(labels) < 10_000 else 256
    seen = IMAGES_SEEN.get(settings.dataset, max(60_000, 10 * len(labels)))
    steps = seen // batch
    optimizer = torch.optim.AdamW(
        network.to(device).parameters(), lr=1e-3, weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)

    def draw(step: int) -> tuple[Tensor, Tensor]:
        generator = random_generator(SEED, step, device=device)
        options = {"generator": generator, "device": device}
        chosen = torch.randint(len(labels), (batch,), **options)
        x = affine(to_model_range(images[chosen]), generator)
        if source.native_size[1] == 3:  # photographs can be mirrored, digits cannot
            mirrored = torch.rand(batch, **options) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
        return x, labels[chosen]

    name = f"the judge of {source.name}"
    fit(network, draw, cross_entropy, optimizer, steps, name=name, schedule=schedule)


def _tested(network, source: ImageSource, settings: DataSettings) -> Judge:
    classes = sensitive_classes(source, settings.normal)
    sensitive = torch.from_numpy(classes[source.labels["test"]])
    every = np.arange(len(sensitive))
    images = read_resized(source, "test", every, *image_size(settings, source))
    judge = Judge(network.eval(), torch.from_numpy(classes))
    called, _ = judge(images)
    accuracy = (called == sensitive).float().mean().item()
    least = MINIMUM_ACCURACY.get(settings.dataset, 0.9)
    if accuracy < least:
        log.warning(
            "the judge of %s tells normal from sensitive on %.3f of the test images; "
            "below %.3f its rates say little",
            settings.dataset,
            accuracy,
            least,
        )
    return replace(
        judge,
        accuracy=accuracy,
        sensitivity=called[sensitive].float().mean().item(),
        specificity=(~called[~sensitive]).float().mean().item(),
        num_test=len(sensitive),
    )
