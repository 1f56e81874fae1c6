"""The judge: a small CNN that says which class an image shows, and so whether it is
sensitive (PUDM section 5.2).

It learns from the true labels of the set's training part, hidden ones included, and is
tested on the set's test part, whose normal images the distances use but on which it
never trains. Its accuracy is stated wherever a rate is.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn
from tqdm.auto import tqdm

from pudm_lib.data.datasets import data_stamp, open_dataset
from pudm_lib.data.pixels import (
    ImageSource,
    read_resized,
    to_model_range,
)
from pudm_lib.data.splits import DataSettings, image_size, sensitive_labels
from pudm_lib.diffusion.process import random_generator
from pudm_lib.machine.devices import cpu_threads, resolve_device, versions
from pudm_lib.machine.paths import headless, make_folder, runs_root
from pudm_lib.machine.store import load_tensors, save_tensors, short_hash, stages
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
    """A trained judge.

    sensitivity, specificity: on the test part, the shares of sensitive images called
        sensitive and of normal ones called normal.
    """

    network: JudgeNetwork
    sensitive_classes: Tensor
    accuracy: float
    sensitivity: float
    specificity: float
    num_test: int

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (N, C, H, W) -> (N,) bool, True = sensitive; and features (N, F)."""
        return _judge(self.network, self.sensitive_classes, images)


@torch.no_grad()
def _judge(network: JudgeNetwork, sensitive_classes: Tensor, images: Tensor):
    network.eval()
    device = next(network.parameters()).device
    sensitive, features = [], []
    for batch in images.split(1024):
        found = network.features(to_model_range(batch.to(device)))
        shares = network.head(found.relu()).softmax(dim=1)
        # Summed over classes: an image between 3 and 5 is certainly odd.
        sensitive.append((shares[:, sensitive_classes].sum(1) > 0.5).cpu())
        features.append(found.cpu())
    return torch.cat(sensitive), torch.cat(features)


def load_judge(settings: DataSettings, *, device: str = "cpu") -> Judge:
    """The judge of a data set at the experiment's image size; trained once, then kept
    under runs/judges/. One network serves every choice of normal classes."""
    source = open_dataset(settings.dataset)
    resolution, channels = image_size(settings, source)
    everything = replace(settings, resolution=resolution, channels=channels)
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
    with FileLock(make_folder(path.parent) / f"{path.stem}.lock"):
        if not path.exists():
            with cpu_threads(1):
                _fit(network, source, everything, device)
            save_tensors(path, network.state_dict(), {"dataset": settings.dataset})
    network.load_state_dict(load_tensors(path)[0])
    network.to(device)
    return _tested(network, source, everything)


def _images(
    source: ImageSource, part: str, indices: np.ndarray, settings: DataSettings
) -> Tensor:
    size = settings.resolution, settings.channels
    return read_resized(source, part, indices, *size)


def _fit(network, source: ImageSource, settings: DataSettings, device: str) -> None:
    labels = torch.as_tensor(source.labels["train"]).long()
    # More photographs than this teach the judge little and fill a laptop's memory.
    chosen = np.random.default_rng(SEED).permutation(len(labels))[:MAX_TRAINING_IMAGES]
    labels = labels[chosen]
    images = _images(source, "train", chosen, settings).to(device)
    batch = 64 if len(labels) < 10_000 else 256
    seen = IMAGES_SEEN.get(settings.dataset, max(60_000, 10 * len(labels)))
    steps = seen // batch
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    bar = tqdm(
        range(steps), desc=f"train the judge of {source.name}", disable=headless()
    )
    for step in bar:
        generator = random_generator(SEED, step, device=device)
        chosen = torch.randint(
            len(labels), (batch,), generator=generator, device=device
        )
        x = affine(to_model_range(images[chosen]), generator)
        if source.native_size[1] == 3:  # photographs can be mirrored, digits cannot
            mirrored = torch.rand(batch, generator=generator, device=device) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
        logits = network(x)
        loss = nn.functional.cross_entropy(logits, labels[chosen.cpu()].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _tested(network, source: ImageSource, settings: DataSettings) -> Judge:
    sensitive = torch.from_numpy(sensitive_labels(source, settings.normal)["test"])
    images = _images(source, "test", np.arange(len(sensitive)), settings)
    classes = torch.from_numpy(_sensitive_classes(source, settings.normal))
    called, _ = _judge(network, classes, images)
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
    return Judge(
        network=network,
        sensitive_classes=classes,
        accuracy=accuracy,
        sensitivity=called[sensitive].float().mean().item(),
        specificity=(~called[~sensitive]).float().mean().item(),
        num_test=len(sensitive),
    )


def _sensitive_classes(source: ImageSource, normal: str) -> np.ndarray:
    """(number of classes,) bool."""
    every = {"every": np.arange(len(source.classes))}
    return sensitive_labels(replace(source, labels=every), normal)["every"]


@torch.no_grad()
def classes_of(images: Tensor, judge: Judge) -> Tensor:
    """The class that the judge sees in each image, (N,)."""
    device = next(judge.network.parameters()).device
    parts = [
        judge.network(to_model_range(x).to(device)).argmax(1)
        for x in images.split(1024)
    ]
    return torch.cat(parts).cpu()
