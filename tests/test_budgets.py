"""Budgets: counted costs against what a real network has, does and keeps."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from pudm_lib.diffusion.networks import make_unet
from pudm_lib.experiments.budgets import PASSES, budget, network_cost
from pudm_lib.experiments.settings import experiment


def test_the_papers_network_has_its_published_size():
    """61.5 M parameters and 8.8 GFLOP at 32 x 32, counted independently of us."""
    cost = network_cost("paper", resolution=32, channels=3)
    assert cost.parameters == 61_529_091
    assert cost.forward_flops == pytest.approx(8.8e9, rel=0.005)


def test_the_count_of_operations_is_that_of_a_convolution_by_hand():
    """The first layer: 9 products and sums a channel, an output and a pixel; the whole
    must grow by just that with another input channel, and the last layer's outputs."""
    one, three = (network_cost("small", resolution=8, channels=c) for c in (1, 3))
    width = 16
    layer = 2 * 9 * width * 8 * 8
    # Two more channels into the first convolution and out of the last one.
    assert three.forward_flops - one.forward_flops == 2 * 2 * layer


def test_kept_bytes_are_what_a_real_forward_pass_keeps():
    model = make_unet("small", resolution=8, channels=1)
    weights = {p.data_ptr() for p in model.parameters()}
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x
        return x

    batch = 16
    with saved_tensors_hooks(keep, lambda x: x):
        model(torch.randn(batch, 1, 8, 8), torch.zeros(batch, dtype=torch.long))
    real = sum(
        x.untyped_storage().nbytes() for k, x in kept.items() if k not in weights
    )
    cost = network_cost("small", resolution=8, channels=1)
    assert batch * cost.kept_bytes == pytest.approx(real, rel=0.05)


def test_a_budget_counts_the_images_that_the_method_sees():
    settings = {"dataset": "mnist", "steps": 10, "channels": 1}
    unsupervised = budget(experiment("laptop", method="unsupervised", **settings))
    pu = budget(experiment("laptop", method="pu_non_negative", **settings))
    pnu = budget(experiment("laptop", method="pnu", **settings))
    assert (unsupervised.images_seen, pu.images_seen) == (640, 700)
    assert pnu.images_seen == 740
    assert pu.training_flops == 700 * PASSES * pu.cost.forward_flops
    assert pu.sampling_flops == 1000 * 25 * pu.cost.forward_flops


def test_memory_grows_with_the_batch_and_not_the_weights():
    small, large = (
        budget(experiment("paper", dataset="cifar10", normal="animals", **batch))
        for batch in ({"batch_unlabeled": 1}, {"batch_unlabeled": 101})
    )
    grown = large.training_bytes - small.training_bytes
    assert grown == 100 * small.cost.kept_bytes


def test_sizes_left_to_the_data_set_are_refused():
    with pytest.raises(ValueError, match=r"resolution=0, channels=0: a budget needs"):
        budget(experiment("laptop"))
