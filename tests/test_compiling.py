"""torch.compile: the same numbers, few graphs, and a way on without a compiler."""

import logging
import shutil
from dataclasses import replace

import pytest
import test_training
import torch
from functorch.compile import make_boxed_func
from test_training import fresh_model, images, weights_after
from torch._functorch.aot_autograd import aot_module_simplified

from pudm_lib.diffusion.networks import MLPDenoiser, make_unet
from pudm_lib.diffusion.process import random_generator
from pudm_lib.diffusion.sampling import SamplingSettings, sample
from pudm_lib.machine.compiling import compiled
from pudm_lib.training.batches import TrainingImages
from pudm_lib.training.loop import train

SHORT = replace(test_training.SHORT, steps=6)


def use_as_inductor(monkeypatch, backend):
    """Have `backend` compile in place of torch's own compiler."""
    lookup = torch._dynamo.lookup_backend

    def found(name):
        return backend if name == "inductor" else lookup(name)

    torch._dynamo.reset()
    monkeypatch.setattr(torch._dynamo, "lookup_backend", found)


@pytest.fixture
def graphs(monkeypatch):
    """The shapes of the images that were compiled for. Code is not generated, which
    takes long; all that comes before it is done."""
    seen, backend = [], torch._dynamo.lookup_backend("aot_eager")

    def record(graph, inputs):
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        seen.extend(
            x.shape
            for x in tensors
            if not isinstance(x, torch.nn.Parameter) and x.ndim == 4
        )
        return backend(graph, inputs)

    use_as_inductor(monkeypatch, record)
    yield seen
    torch._dynamo.reset()


def trained(**changed):
    return weights_after(replace(SHORT, **changed))


def assert_alike(one, other, tolerance):
    """Weights and history of two trainings."""
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=tolerance)
    losses = (history["loss"] for _, history in (one, other))
    torch.testing.assert_close(*losses, rtol=tolerance, atol=0)


@pytest.mark.parametrize("changed", [{}, {"accumulate": 2}])
def test_a_compiled_training_gives_the_same_weights(graphs, changed):
    plain, fast = trained(**changed), trained(**changed, compile="on")
    assert_alike(plain, fast, tolerance=1e-5)
    # All of the network at once, and no step a new graph; in pieces, the errors are
    # computed without and then with gradients.
    assert len(graphs) == (2 if changed else 1)


def test_networks_of_one_make_share_what_was_compiled(graphs):
    small = (images().unlabeled, images().sensitive)
    # A smaller last batch, another size of image and back: two graphs for each size.
    for seed, side in enumerate((8, 16, 8)):
        torch.manual_seed(seed)
        model = make_unet("tiny", resolution=side, channels=1)
        wide = side // 8
        sets = TrainingImages(*(x.repeat(1, 1, wide, wide) for x in small))
        train(model, sets, replace(SHORT, compile="on"), seed=seed)
        settings = SamplingSettings("ddim", 2, 11, sampling_batch=4)
        fast = compiled(model.eval(), "on", "cpu")
        sample(fast, settings, shape=(1, side, side), seed=seed)
    assert [shape[1:] for shape in graphs] == [(1, n, n) for n in (8, 8, 16, 16)]
    assert graphs[0][0] == graphs[2][0] == 8, "made for the batch of training"


def test_half_precision_shares_as_well(graphs):
    for _ in range(2):
        model = fresh_model()
        half = replace(SHORT, compile="on", precision="bfloat16")
        train(model, images(), half, seed=1)
        settings = SamplingSettings("ddim", 2, 4)
        fast = compiled(model.eval(), "on", "cpu")
        sample(fast, settings, shape=(1, 8, 8), seed=0, precision="bfloat16")
    assert len(graphs) == 2


def test_where_no_compiler_works_the_network_runs_as_it_is(monkeypatch, caplog):
    def broken(graph, inputs):
        raise RuntimeError("no compiler\nwas found")

    use_as_inductor(monkeypatch, broken)
    plain = trained()
    with caplog.at_level(logging.WARNING):
        fast = trained(compile="on")
    assert caplog.messages == ["not compiled, which is slower: no compiler was found"]
    assert_alike(plain, fast, tolerance=0)


def test_torchs_own_compiler_makes_the_same_step(monkeypatch, caplog):
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("there is no C++ compiler")
    inductor, asked = torch._dynamo.lookup_backend("inductor"), []

    def counted(graph, inputs):
        asked.append(graph)
        return inductor(graph, inputs)

    use_as_inductor(monkeypatch, counted)
    points = torch.randn(3, 20, 2, generator=random_generator(1))

    def weights(compile):
        torch.manual_seed(0)
        model = MLPDenoiser(2, width=16)
        settings = replace(SHORT, compile=compile)
        history = train(model, TrainingImages(points[0], points[1]), settings, seed=1)
        return model.state_dict(), history

    plain, fast = weights("off"), weights("on")
    assert_alike(plain, fast, tolerance=1e-4)
    assert asked
    assert not [r for r in caplog.records if r.name == "pudm_lib.machine.compiling"]


def test_a_backward_pass_that_cannot_be_compiled_is_seen_in_time(monkeypatch, caplog):
    def half(graph, inputs):
        def refuse(graph, inputs):
            raise RuntimeError("no memory left on the chip")

        return aot_module_simplified(
            graph,
            inputs,
            fw_compiler=lambda graph, _: make_boxed_func(graph.forward),
            bw_compiler=refuse,
        )

    use_as_inductor(monkeypatch, half)
    plain, fast = trained(), trained(compile="on")
    assert_alike(plain, fast, tolerance=0)
    assert "no memory left on the chip" in caplog.text


@pytest.mark.parametrize(
    "choice, device, fast",
    [
        ("auto", "cpu", False),
        ("auto", "cuda", True),
        ("auto", torch.device("cuda", 1), True),
        ("off", "cuda", False),
        ("on", "cpu", True),
    ],
)
def test_auto_is_on_a_gpu(choice, device, fast):
    network = MLPDenoiser(2)
    found = compiled(network, choice, device)
    assert (found is not network) == fast


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="compile='yes', must be one of auto, on, off"):
        replace(SHORT, compile="yes")
