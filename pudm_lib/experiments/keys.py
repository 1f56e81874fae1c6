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
    settings = asdict(experiment.training)
    conditional = experiment.data.condition != "none"
    ignored = IGNORES[experiment.training.method]
    for name in (*ignored, *NOT_IN_KEY, *([] if conditional else ["p_uncond"])):
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
        "versions": stages("data", "training") | versions(),
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
        "versions": stages("sampling", "judge", "measures"),
    }
    if experiment.data.condition != "none":
        parts["versions"] |= stages("guidance")
    if experiment.beta_estimate is not None:
        # The same model as with that beta given, but its result says where it is from.
        parts["beta_estimate"] = asdict(experiment.beta_estimate)
    return short_hash(parts)
