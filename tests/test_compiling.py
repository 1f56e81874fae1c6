"""torch.compile: the same numbers, few graphs, and a way on without a compiler."""

import logging
import shutil
from dataclasses import replace

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._functorch.aot_autograd import aot_module_simplified

from pudm_lib.compiling import compiled
from pudm_lib.diffusion import random_generator
from pudm_lib.networks import MLPDenoiser, make_unet
from pudm_lib.sampling import SamplingSettings, sample
from pudm_lib.training import TrainingImages, TrainingSettings, train

SHORT = TrainingSettings(
    steps=6,
    warmup_steps=2,
    batch_unlabeled=6,
    batch_sensitive=2,
    learning_rate=1e-3,
    device="cpu",
)


@pytest.fixture
def graphs(monkeypatch):
    """The shapes of the images that were compiled for. Code is not generated, which
    takes long; all that comes before it is done."""
    seen, lookup = [], torch._dynamo.lookup_backend

    def traced(name):
        if name != "inductor":
            return lookup(name)
        backend = lookup("aot_eager")

        def record(graph, inputs):
            tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
            seen.extend(
                x.shape
                for x in tensors
                if not isinstance(x, torch.nn.Parameter) and x.ndim == 4
            )
            return backend(graph, inputs)

        return record

    torch._dynamo.reset()
    monkeypatch.setattr(torch._dynamo, "lookup_backend", traced)
    yield seen
    torch._dynamo.reset()


def images(side=8):
    u = torch.randint(256, (20, 1, side, side), generator=random_generator(7))
    return TrainingImages(u.to(torch.uint8), 255 - u[:9].to(torch.uint8))


def trained(**changed):
    torch.manual_seed(3)
    model = make_unet("tiny", resolution=8, channels=1)
    history = train(model, images(), replace(SHORT, **changed), seed=1)
    return model, history


def assert_alike(models, histories, tolerance):
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
    a, b = (history["loss"] for history in histories)
    torch.testing.assert_close(a, b, rtol=tolerance, atol=0)


@pytest.mark.parametrize("changed", [{}, {"accumulate": 2}])
def test_a_compiled_training_gives_the_same_weights(graphs, changed):
    plain, fast = trained(**changed), trained(**changed, compile="on")
    assert_alike(*zip(plain, fast, strict=True), tolerance=1e-5)
    # All of the network at once, and no step a new graph; in pieces, the errors are
    # computed without and then with gradients.
    assert len(graphs) == (2 if changed else 1)


def test_networks_of_one_make_share_what_was_compiled(graphs):
    # A smaller last batch, another size of image and back: two graphs for each size.
    for seed, side in enumerate((8, 16, 8)):
        torch.manual_seed(seed)
        model = make_unet("tiny", resolution=side, channels=1)
        train(model, images(side), replace(SHORT, compile="on"), seed=seed)
        settings = SamplingSettings("ddim", 2, 11, sampling_batch=4)
        fast = compiled(model.eval(), "on", "cpu")
        sample(fast, settings, shape=(1, side, side), seed=seed)
    assert [shape[1:] for shape in graphs] == [(1, n, n) for n in (8, 8, 16, 16)]
    assert graphs[0][0] == graphs[2][0] == 8, "made for the batch of training"


def test_half_precision_shares_as_well(graphs):
    for _ in range(2):
        model, _ = trained(compile="on", precision="bfloat16")
        settings = SamplingSettings("ddim", 2, 4)
        fast = compiled(model.eval(), "on", "cpu")
        sample(fast, settings, shape=(1, 8, 8), seed=0, precision="bfloat16")
    assert len(graphs) == 2


def test_where_no_compiler_works_the_network_runs_as_it_is(monkeypatch, caplog):
    lookup = torch._dynamo.lookup_backend

    def broken(graph, inputs):
        raise RuntimeError("no compiler\nwas found")

    def found(name):
        return broken if name == "inductor" else lookup(name)

    torch._dynamo.reset()
    monkeypatch.setattr(torch._dynamo, "lookup_backend", found)
    plain = trained()
    with caplog.at_level(logging.WARNING):
        fast = trained(compile="on")
    assert caplog.messages == ["not compiled, which is slower: no compiler was found"]
    assert_alike(*zip(plain, fast, strict=True), tolerance=0)


def test_torchs_own_compiler_makes_the_same_step(monkeypatch, caplog):
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("there is no C++ compiler")
    lookup, asked = torch._dynamo.lookup_backend, []

    def counted(name):
        asked.append(name)
        return lookup(name)

    torch._dynamo.reset()
    monkeypatch.setattr(torch._dynamo, "lookup_backend", counted)
    points = torch.randn(3, 20, 2, generator=random_generator(1))

    def weights(compile):
        torch.manual_seed(0)
        model = MLPDenoiser(2, width=16)
        settings = replace(SHORT, compile=compile)
        history = train(model, TrainingImages(points[0], points[1]), settings, seed=1)
        return model, history

    plain, fast = weights("off"), weights("on")
    assert_alike(*zip(plain, fast, strict=True), tolerance=1e-4)
    assert "inductor" in asked
    assert not [r for r in caplog.records if r.name == "pudm_lib.compiling"]


def test_a_backward_pass_that_cannot_be_compiled_is_seen_in_time(monkeypatch, caplog):
    lookup = torch._dynamo.lookup_backend

    def half(graph, inputs):
        def refuse(graph, inputs):
            raise RuntimeError("no memory left on the chip")

        return aot_module_simplified(
            graph,
            inputs,
            fw_compiler=lambda graph, _: make_boxed_func(graph.forward),
            bw_compiler=refuse,
        )

    torch._dynamo.reset()
    found = {"inductor": half}
    monkeypatch.setattr(
        torch._dynamo, "lookup_backend", lambda name: found.get(name) or lookup(name)
    )
    plain, fast = trained(), trained(compile="on")
    assert_alike(*zip(plain, fast, strict=True), tolerance=0)
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
