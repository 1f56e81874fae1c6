"""What this machine has, what is missing with the command that mends it, and how long a
model of each preset takes here: timed on random images, so no data set is needed."""

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

import torch

from pudm_lib.book.data_sets import readable_sets
from pudm_lib.diffusion.networks import make_unet
from pudm_lib.diffusion.sampling import SamplingSettings, sample
from pudm_lib.experiments.settings import PRESETS, Experiment, experiment
from pudm_lib.machine.compiling import compiled
from pudm_lib.machine.devices import available_cores, resolve_device
from pudm_lib.machine.paths import runs_root
from pudm_lib.training.batches import TrainingImages
from pudm_lib.training.loop import train

PACKAGES = ("torch", "torchvision", "diffusers", "accelerate", "papermill", "jupytext")
# Widgets need the three in step: the Lab extension of one version draws the controls
# that the kernel's package of another version sends.
WIDGETS = {"jupyterlab": "4", "ipywidgets": "8", "jupyterlab_widgets": "3"}
INSTALL = "python -m pip install -r requirements.lock (or `make lab`, in .venv)"

# What each preset is timed on: its first data set's image size and channels.
TIMED = {
    "ci": ("digits", 8, 1),
    "laptop": ("digits", 8, 1),
    "gpu": ("mnist", 32, 1),
    "paper": ("mnist", 32, 3),
}
PROBE_IMAGES = 4  # of a first step
PROBE_SECONDS = 2.0  # a whole batch is tried where it is expected to take less


def report() -> Iterator[str]:
    """The doctor's lines, each as soon as it is known."""
    for part in (machine(), packages(), readable_sets(), _kept_runs()):
        yield from part
        yield ""
    yield "one model of each preset, measured here on random images and extrapolated:"
    for preset in PRESETS:
        yield _budget(preset)


def machine() -> Iterator[str]:
    yield f"python    {platform.python_version()} on {platform.system()}"
    yield f"cores     {available_cores()}"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield f"memory    {memory / 2**30:.1f} GiB"
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        yield f"GPU       {torch.cuda.get_device_name()}, {memory:.0f} GiB"
    else:
        yield "GPU       none that torch sees; presets ci and laptop need none"


def packages() -> Iterator[str]:
    for name in (*PACKAGES, *WIDGETS):
        wanted = WIDGETS.get(name)
        try:
            words = version(name)
            if wanted and words.split(".")[0] != wanted:
                words += f" WRONG, widgets need {name} {wanted}: {INSTALL}"
        except PackageNotFoundError:
            lost = ", widgets stay pictures" if wanted else ""
            words = f"MISSING{lost}: {INSTALL}"
        yield f"{name:<19} {words}"


def _kept_runs() -> Iterator[str]:
    files = [f for f in runs_root().rglob("*") if f.is_file()]
    size = sum(f.stat().st_size for f in files) / 2**20
    models = sum(f.name == "model.safetensors" for f in files)
    yield f"kept runs {models} models, {size:.0f} MiB in {runs_root()}"


def _budget(preset: str) -> str:
    dataset, resolution, channels = TIMED[preset]
    settings = experiment(preset, dataset=dataset)
    training, sampling, measured = seconds_a_model(settings, resolution, channels)
    return (
        f"  {preset:<7} {dataset} {resolution}x{resolution}: training about "
        f"{_duration(training)}, sampling about {_duration(sampling)} "
        f"({measured} on {resolve_device('auto')})"
    )


def seconds_a_model(
    settings: Experiment, resolution: int, channels: int
) -> tuple[float, float, str]:
    """Training and sampling time of one model, from a few real steps.

    Returns:
        seconds of training, seconds of sampling, and what was measured.
    """
    network = make_unet(settings.network, resolution=resolution, channels=channels)
    training, sampling = settings.training, settings.sampling
    whole = training.batch_unlabeled + training.batch_sensitive
    images, steps = PROBE_IMAGES, 1
    _train_seconds(network, training, images, steps)  # the first also sets things up
    step = _train_seconds(network, training, images, steps) * whole / images
    if resolve_device(training.device) == "cuda" or step < PROBE_SECONDS:
        images, steps = whole, 5
        _train_seconds(network, training, images, 1)  # a GPU compiles for this batch
        step = _train_seconds(network, training, images, steps)
    image = _sampling_seconds(network, training, images)
    return (
        step * training.steps,
        image * sampling.num_samples * sampling.num_inference_steps,
        f"{steps} steps of {images} images",
    )


def _train_seconds(network, training, images: int, steps: int) -> float:
    """Seconds a step, through the training loop itself."""
    few = replace(
        training,
        steps=steps,
        warmup_steps=0,
        batching="stratified",
        batch_unlabeled=images - 1,
        batch_sensitive=1,
    )
    pixels = torch.randint(256, (images, *_shape(network)), dtype=torch.uint8)
    pictures = TrainingImages(pixels, pixels)
    start = time.perf_counter()
    train(network, pictures, few, seed=0, report=lambda step, losses: None)
    return (time.perf_counter() - start) / steps


def _sampling_seconds(network, training, images: int) -> float:
    """Seconds an image and denoising step, through the sampler itself."""
    steps = 4
    model = compiled(network, training.compile, network.device)
    few = SamplingSettings("ddim", steps, images, sampling_batch=images)
    for _ in range(2):  # the first also sets things up
        start = time.perf_counter()
        sample(model, few, shape=_shape(network), seed=0, precision=training.precision)
        seconds = time.perf_counter() - start
    return seconds / (steps * images)


def _shape(network) -> tuple[int, int, int]:
    side = network.config.sample_size
    return network.config.in_channels, side, side


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
