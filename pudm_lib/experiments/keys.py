"""The names under which results are kept: hashes of the settings, the code and the data
that decide them, so that a changed loss never shows an old result."""

import ast
import functools
import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pudm_lib
from pudm_lib.data.datasets import find_own
from pudm_lib.diffusion.pretrained import content_stamp
from pudm_lib.experiments.settings import Experiment
from pudm_lib.machine.devices import resolve_device, resolve_precision, versions

# The modules whose code decides what a training, and a measurement, gives.
TRAINING_MODULES = (
    "augment",
    "batches",
    "data",
    "datasets",
    "diffusion",
    "image_source",
    "losses",
    "networks",
    "pretrained",
    "training",
    "training_settings",
    "training_state",
)
RESULT_MODULES = ("evaluators", "experiments", "metrics", "sampling")

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
# Settings that change how a result is reached and not, but for rounding, what it is. So
# does the number of processes.
NOT_IN_KEY = ("accumulate", "checkpoint_every", "compile", "sampling_batch")


@functools.cache
def code_hash(modules: tuple[str, ...]) -> str:
    """Of what modules do: comments, docstrings and layout do not count. Read once: code
    that is edited while a run goes on belongs to the next process."""
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
    conditional = experiment.data.condition != "none"
    unused = UNUSED[experiment.training.method]
    for name in (*unused, *NOT_IN_KEY, *([] if conditional else ["p_uncond"])):
        settings.pop(name, None)
    device = resolve_device(experiment.training.device)
    settings["device"] = device
    settings["precision"] = resolve_precision(experiment.training.precision, device)
    network = experiment.network
    if experiment.pretrained:
        network = content_stamp(experiment.pretrained)
    parts = {
        "data": asdict(experiment.data) | data_stamp(experiment.data.dataset),
        "network": network,
        "training": settings,
        "seed": experiment.seed,
        "code": code_hash(TRAINING_MODULES),
        "versions": versions(),
    }
    return short_hash(parts)


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
    if experiment.data.condition != "none":
        parts["guidance"] = code_hash(("guidance",))
    if experiment.beta_estimate is not None:
        # The same model as with that beta given, but its result says where it is from.
        parts["beta_estimate"] = asdict(experiment.beta_estimate)
    return short_hash(parts)


def short_hash(parts: dict) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def data_stamp(dataset: str) -> dict[str, str]:
    """A user's own file or folder counts by its files, their sizes and times."""
    path = find_own(dataset)
    if path is None:
        return {}
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    facts = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return {"files": hashlib.sha256(repr(facts).encode()).hexdigest()}
