"""The names under which results are kept: hashes of the settings, the data, and the
versions of the stages that decide them (`store.VERSION`)."""

from dataclasses import asdict

from pudm_lib.data.datasets import data_stamp
from pudm_lib.diffusion.pretrained import content_stamp
from pudm_lib.experiments.settings import Experiment
from pudm_lib.machine.devices import resolve_device, resolve_precision, versions
from pudm_lib.machine.store import short_hash, stages
from pudm_lib.training.losses import IGNORES

# Settings that change how a result is reached and not, but for rounding, what it is. So
# does the number of processes.
NOT_IN_KEY = ("accumulate", "checkpoint_every", "compile", "sampling_batch")


def training_key(experiment: Experiment) -> str:
    """Names the trained weights: the same key, the same weights."""
    data, training = experiment.data, experiment.training
    device = resolve_device(training.device)
    precision = resolve_precision(training.precision, device)
    ignored = {*IGNORES[training.method], *NOT_IN_KEY}
    if data.condition == "none":
        ignored.add("p_uncond")
    settings = {k: v for k, v in asdict(training).items() if k not in ignored}
    pretrained = experiment.pretrained
    parts = {
        "data": asdict(data) | data_stamp(data.dataset),
        "network": content_stamp(pretrained) if pretrained else experiment.network,
        "training": settings | {"device": device, "precision": precision},
        "seed": experiment.seed,
        "versions": stages("data", "training") | versions(),
    }
    return short_hash(parts)


def result_key(experiment: Experiment) -> str:
    """Names the samples and numbers of one way to sample from trained weights."""
    settings = asdict(experiment.sampling)
    parts = {
        "sampling": {k: v for k, v in settings.items() if k not in NOT_IN_KEY},
        "training": training_key(experiment),
        "versions": stages("sampling", "judge", "measures"),
    }
    if experiment.data.condition != "none":
        parts["versions"] |= stages("guidance")
    if experiment.beta_estimate is not None:
        # The same model as with that beta given, but its result says where it is from.
        parts["beta_estimate"] = asdict(experiment.beta_estimate)
    return short_hash(parts)
