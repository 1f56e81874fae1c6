"""One experiment from data to numbers, kept under runs/ and found again.

    data -> network -> training -> sampling -> metrics

`run` does one, `run_many` several side by side. What an experiment made is stored under
a hash of its settings and of the modules that produce it, so a second call reads it and
a changed loss never shows an old result.
"""

import ast
import hashlib
import json
import logging
import multiprocessing
import queue
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn
from tqdm.auto import tqdm

import pudm_lib
from pudm_lib.checkpoints import load_tensors, save_tensors
from pudm_lib.data import DataSettings, PUSplit, make_split, to_uint8
from pudm_lib.devices import available_cores, cpu_threads, resolve_device
from pudm_lib.evaluators import load_evaluator
from pudm_lib.figures import environment
from pudm_lib.metrics import measure
from pudm_lib.networks import UNETS, make_unet
from pudm_lib.paths import headless, make_folder, runs_root
from pudm_lib.presets import preset_fields
from pudm_lib.sampling import SamplingSettings, make_scheduler, sample
from pudm_lib.training import (
    HISTORY,
    TrainingImages,
    TrainingSettings,
    train,
)

log = logging.getLogger(__name__)

# The modules whose code decides what a training, and a measurement, gives.
TRAINING_MODULES = (
    "augment",
    "data",
    "datasets",
    "diffusion",
    "losses",
    "networks",
    "training",
)
RESULT_MODULES = ("evaluators", "metrics", "sampling")

# Settings that a method does not look at, so that they do not make it train twice.
UNUSED = {
    "unsupervised": ("beta", "gamma", "batch_sensitive", "batch_normal"),
    "supervised": ("beta", "gamma", "batch_normal"),
    "supervised_code": ("beta", "gamma", "batch_normal"),
    "pu_unbiased": ("gamma", "batch_normal"),
    "pu_non_negative": ("gamma", "batch_normal"),
    "pu_absolute": ("gamma", "batch_normal"),
    "pnu": (),
}
# Settings that change how a result is reached, not what it is.
NOT_IN_KEY = ("checkpoint_every", "sampling_batch")


@dataclass(frozen=True)
class Experiment:
    """All that decides a result. Make one with `experiment`."""

    data: DataSettings = field(default_factory=DataSettings)
    network: str = "small"
    training: TrainingSettings = field(default_factory=TrainingSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    seed: int = 0

    def __post_init__(self):
        if self.network not in UNETS:
            raise ValueError(
                f"network={self.network!r}, must be one of {', '.join(UNETS)}"
            )
        # Refused here and not after the training.
        make_scheduler(self.sampling, self.training.num_train_timesteps)
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed={self.seed}, must be in 0 .. 2**31 - 1")

    def flat(self) -> dict[str, Any]:
        """All settings by name, as `experiment` takes them."""
        parts = (self.data, self.training, self.sampling)
        rest = {"network": self.network, "seed": self.seed}
        return {k: v for part in parts for k, v in asdict(part).items()} | rest


@dataclass(frozen=True)
class Result:
    """What one experiment made.

    numbers: by `metrics.measure`, and "train_seconds".
    samples: uint8 (num_samples, C, H, W).
    sensitive: (num_samples,) bool, by the judge.
    history: of training, name -> (steps,).
    environment: device and versions it ran under.
    """

    experiment: Experiment
    numbers: dict[str, float]
    samples: Tensor
    sensitive: Tensor
    history: dict[str, Tensor]
    environment: dict[str, str]


def setting_fields() -> dict[str, Any]:
    """Every setting's dataclass field by name: the command line and `experiment` are
    made from it."""
    parts = (DataSettings, TrainingSettings, SamplingSettings)
    named = {f.name: f for part in parts for f in fields(part)}
    return named | {f.name: f for f in fields(Experiment) if f.type in (str, int)}


def experiment(preset: str = "laptop", **settings) -> Experiment:
    """A preset's experiment with some settings changed.

    Args:
        preset: ci, laptop, gpu or paper.
        settings: by name, see `setting_fields`; dataset and normal also choose the
            preset's sizes and budget for them.

    Raises:
        ValueError: unknown preset, name, or a value out of its range or of the wrong
            type.
    """
    known = setting_fields()
    for name, value in settings.items():
        if name not in known:
            raise ValueError(
                f"unknown setting {name!r}; there are: {', '.join(sorted(known))}"
            )
        wanted = known[name].type
        right = isinstance(value, wanted) or (wanted is float and type(value) is int)
        if not right or isinstance(value, bool):
            raise ValueError(f"{name}={value!r}, must be of type {wanted.__name__}")
    dataset = settings.get("dataset", DataSettings.dataset)
    normal = settings.get("normal", DataSettings.normal)
    values = preset_fields(preset, dataset, normal) | settings
    parts = {
        name: cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})
        for name, cls in (
            ("data", DataSettings),
            ("training", TrainingSettings),
            ("sampling", SamplingSettings),
        )
    }
    rest = {name: values[name] for name in ("network", "seed") if name in values}
    return Experiment(**parts, **rest)


def code_hash(modules: Sequence[str]) -> str:
    """Of what modules do: comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for name in modules:
        tree = ast.parse(Path(pudm_lib.__file__).with_name(f"{name}.py").read_text())
        for node in ast.walk(tree):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and ast.get_docstring(node) is not None:
                del node.body[0]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def training_key(experiment: Experiment) -> str:
    """Names the trained weights: the same key, the same weights."""
    settings = asdict(experiment.training)
    for name in (*UNUSED[experiment.training.method], *NOT_IN_KEY):
        settings.pop(name, None)
    settings["device"] = resolve_device(experiment.training.device)
    parts = {
        "data": asdict(experiment.data) | _data_stamp(experiment.data.dataset),
        "network": experiment.network,
        "training": settings,
        "seed": experiment.seed,
        "code": code_hash(TRAINING_MODULES),
        "torch": version("torch"),
    }
    return _short_hash(parts)


def result_key(experiment: Experiment) -> str:
    """Names the samples and numbers of one way to sample from trained weights."""
    settings = asdict(experiment.sampling)
    for name in NOT_IN_KEY:
        settings.pop(name, None)
    parts = {
        "sampling": settings,
        "training": training_key(experiment),
        "code": code_hash(RESULT_MODULES),
    }
    return _short_hash(parts)


def _short_hash(parts: dict) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _data_stamp(dataset: str) -> dict[str, Any]:
    """A user's own file or folder counts by where it is and when it changed."""
    path = Path(dataset)
    if not path.exists():
        return {}
    return {"path": str(path.resolve()), "changed": path.stat().st_mtime_ns}


def folder(experiment: Experiment) -> Path:
    """Where an experiment's weights lie: runs/<dataset>-<method>-<seed>-<key>."""
    words = (
        Path(experiment.data.dataset).stem,
        experiment.training.method,
        f"seed{experiment.seed}",
        training_key(experiment),
    )
    return runs_root() / "-".join(words)


def is_done(experiment: Experiment) -> bool:
    return _result_path(experiment).exists()


def _result_path(experiment: Experiment) -> Path:
    return folder(experiment) / f"result-{result_key(experiment)}.safetensors"


def run(experiment: Experiment, *, report=None) -> Result:
    """Train, sample and measure; or read what an earlier call left.

    Args:
        report: called with the number of training steps done, in place of a bar.

    Raises:
        ValueError: bad settings or data; see the modules that raise it.
    """
    path = _result_path(experiment)
    if not path.exists():
        # Everything that can be refused is refused before anything is written.
        split = make_split(experiment.data, experiment.seed)
        device = resolve_device(experiment.training.device)
        make_network(experiment, split)
        with _locked(folder(experiment)):
            if not path.exists():
                model = _trained(experiment, split, report)
                images = draw(experiment, model, split)
                numbers, sensitive = _measured(experiment, images, split, device)
                tensors = {"samples": images, "sensitive": sensitive}
                facts = {
                    "numbers": numbers,
                    "experiment": experiment.flat(),
                    "environment": environment(device),
                }
                save_tensors(path, tensors, facts)
    tensors, facts = load_tensors(path)
    history, training = load_tensors(folder(experiment) / "model.safetensors")
    return Result(
        experiment=experiment,
        numbers=facts["numbers"] | {"train_seconds": training["train_seconds"]},
        samples=tensors["samples"],
        sensitive=tensors["sensitive"],
        history={name: history[f"history.{name}"] for name in HISTORY},
        environment=facts["environment"],
    )


def make_network(experiment: Experiment, split: PUSplit) -> nn.Module:
    """The untrained network; its first weights depend on the seed alone."""
    _, channels, resolution, _ = split.x_unlabeled.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        return make_unet(experiment.network, resolution=resolution, channels=channels)


def load_model(experiment: Experiment, *, report=None) -> nn.Module:
    """The trained network of an experiment, on its device, in eval mode; trained first
    where it is not there."""
    split = make_split(experiment.data, experiment.seed)
    make_network(experiment, split)
    with _locked(folder(experiment)):
        return _trained(experiment, split, report)


def draw(experiment: Experiment, model: nn.Module, split: PUSplit, **hooks) -> Tensor:
    """uint8 samples of a trained model; `hooks` as `sampling.sample` takes them."""
    with cpu_threads(experiment.training.threads):
        images = sample(
            model,
            experiment.sampling,
            shape=tuple(split.x_unlabeled.shape[1:]),
            seed=experiment.seed,
            num_train_timesteps=experiment.training.num_train_timesteps,
            **hooks,
        )
    return to_uint8(images)


def _trained(experiment: Experiment, split: PUSplit, report) -> nn.Module:
    model = make_network(experiment, split)
    path = folder(experiment) / "model.safetensors"
    checkpoint = folder(experiment) / "checkpoint.safetensors"
    if not path.exists():
        images = TrainingImages(split.x_unlabeled, split.x_sensitive, split.x_normal)
        start = time.perf_counter()
        history = train(
            model,
            images,
            experiment.training,
            seed=experiment.seed,
            checkpoint=checkpoint,
            report=report,
        )
        tensors = {f"model.{name}": v for name, v in model.state_dict().items()}
        tensors |= {f"history.{name}": values for name, values in history.items()}
        facts = {
            "experiment": experiment.flat(),
            "train_seconds": time.perf_counter() - start,
        }
        save_tensors(path, tensors, facts)
        checkpoint.unlink(missing_ok=True)
    tensors, _ = load_tensors(path)
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in tensors.items()
        if name.startswith("model.")
    }
    model.load_state_dict(weights)
    return model.to(resolve_device(experiment.training.device)).eval()


def _measured(experiment, images, split, device) -> tuple[dict[str, float], Tensor]:
    evaluator = load_evaluator(experiment.data, device=device)
    return measure(images, split, evaluator), evaluator.judge(images)[0]


def _locked(path: Path) -> FileLock:
    """Held by whoever makes a run; a second process waits, then reads."""
    return FileLock(make_folder(path) / ".lock")


def run_many(
    experiments: Sequence[Experiment], *, workers: int | None = None
) -> list[Result]:
    """`run` for each, independent trainings side by side, one process each.

    Two one-thread processes on two cores do half as much again as one process with two
    threads. On a GPU one process at a time uses it fully.

    Args:
        workers: processes; default: cores / threads of the experiments, 1 on a GPU.

    Raises:
        What `run` raises, for the first experiment that fails; those that finished
        before it are kept.
    """
    # The same experiment asked for twice is made once.
    missing = list({result_key(e): e for e in experiments if not is_done(e)}.values())
    if missing:
        for e in missing:  # refuse bad data before any process starts
            make_split(e.data, e.seed)
        training = missing[0].training
        if workers is None:
            on_gpu = resolve_device(training.device) == "cuda"
            workers = 1 if on_gpu else max(1, available_cores() // training.threads)
        # The judge is shared: made here, before the processes would wait for it.
        for data in {e.data for e in missing}:
            load_evaluator(data, device=resolve_device(training.device))
        if min(workers, len(missing)) == 1:
            for e in missing:
                run(e)
        else:
            _run_side_by_side(missing, workers)
    return [run(e) for e in experiments]


def _run_side_by_side(experiments: list[Experiment], workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    steps = context.Queue()
    total = sum(e.training.steps for e in experiments)
    bar = tqdm(total=total, desc=f"{len(experiments)} models", disable=headless())
    pool = ProcessPoolExecutor(
        min(workers, len(experiments)), context, _start_worker, (steps,)
    )
    done = dict.fromkeys(range(len(experiments)), 0)
    with bar, pool:
        futures = [pool.submit(_work, i, e) for i, e in enumerate(experiments)]
        while not all(future.done() for future in futures):
            try:
                index, step = steps.get(timeout=0.5)
                bar.update(step - done[index])
                done[index] = step
            except queue.Empty:
                pass
            failed = [f for f in futures if f.done() and f.exception()]
            if failed:
                pool.shutdown(wait=False, cancel_futures=True)
                raise failed[0].exception()


_steps = None  # the queue to the parent, set in each worker when it starts


def _start_worker(steps) -> None:
    global _steps
    _steps = steps
    torch.set_num_threads(1)


def _work(index: int, experiment: Experiment) -> None:
    def report(step: int) -> None:
        if not multiprocessing.parent_process().is_alive():
            raise SystemExit("the process that asked for this run is gone")
        _steps.put((index, step))

    run(experiment, report=report)
