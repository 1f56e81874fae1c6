"""What an experiment will cost, before anything is run.

Counted with fake tensors, which have shapes and no numbers, so that a network of any
size fits: parameters and operations, what training keeps in memory, and the operations
of a whole experiment.
"""

from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from pudm_lib.diffusion.networks import make_unet
from pudm_lib.experiments.settings import Experiment
from pudm_lib.training.losses import IGNORES

# The backward pass computes two products for each of the forward pass: one for the
# gradient of the weights, one for that of the inputs.
PASSES = 3
# Weights, gradients, AdamW's two moments and the average of the weights, in float32.
STATES, BYTES = 5, 4


@dataclass(frozen=True)
class NetworkCost:
    """Of one image of a U-Net.

    parameters: numbers to learn.
    forward_flops: operations of a forward pass; a multiplication and an addition are
        two.
    kept_bytes: what the forward pass keeps for the backward pass, in float32.
    """

    parameters: int
    forward_flops: int
    kept_bytes: int


def network_cost(network: str, *, resolution: int, channels: int) -> NetworkCost:
    """Count one image's way through a U-Net, which may be far too large to run here.

    Args:
        network: a key of `networks.UNETS`.
        resolution: pixels a side, as the network can halve them.
        channels: 1 or 3.

    Raises:
        ValueError: what `networks.make_unet` refuses.
    """
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        kept[storage._cdata] = storage.nbytes()  # views share one storage
        return x

    # Not the meta device: on it attention keeps all its scores, as no real one does.
    with FakeTensorMode(), FlopCounterMode(display=False) as flops:
        model = make_unet(network, resolution=resolution, channels=channels)
        x = torch.empty(1, channels, resolution, resolution)
        t = torch.zeros(1, dtype=torch.long)
        with saved_tensors_hooks(keep, lambda x: x):
            model(x, t)
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    return NetworkCost(
        parameters=sum(p.numel() for p in model.parameters()),
        forward_flops=flops.get_total_flops(),
        kept_bytes=sum(n for key, n in kept.items() if key not in weights),
    )


@dataclass(frozen=True)
class Budget:
    """Of a whole experiment.

    images_seen: in training, U, S and N together.
    training_flops, sampling_flops: operations.
    training_bytes: weights and all that goes with them, and what a batch keeps.
    """

    cost: NetworkCost
    images_seen: int
    training_flops: int
    sampling_flops: int
    training_bytes: int


def budget(experiment: Experiment) -> Budget:
    """Count an experiment.

    Raises:
        ValueError: resolution or channels left to the data set (0), which is not read.
    """
    data, training = experiment.data, experiment.training
    if not data.resolution or not data.channels:
        raise ValueError(
            f"resolution={data.resolution}, channels={data.channels}: a budget needs "
            "both, as the data set is not read"
        )
    cost = network_cost(
        experiment.network, resolution=data.resolution, channels=data.channels
    )
    parts = {"batch_unlabeled", "batch_sensitive", "batch_normal"}
    used = parts.difference(IGNORES[training.method])
    batch = sum(getattr(training, name) for name in used)
    sampling = experiment.sampling
    drawn = sampling.num_samples * sampling.num_inference_steps
    return Budget(
        cost=cost,
        images_seen=training.steps * batch,
        training_flops=training.steps * batch * PASSES * cost.forward_flops,
        sampling_flops=drawn * cost.forward_flops,
        training_bytes=STATES * BYTES * cost.parameters + batch * cost.kept_bytes,
    )
