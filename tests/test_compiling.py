"""torch.compile: the same numbers, few graphs, and a way on without a compiler."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from pudm_lib.compiling import compile_network
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
    """What was compiled. Code is not generated, which takes long; all that comes
    before it is done."""
    seen, lookup = [], torch._dynamo.lookup_backend

    def traced(name):
        if name != "inductor":
            return lookup(name)
        backend = lookup("aot_eager")

        def compiled(graph, inputs):
            seen.append(graph)
            return backend(graph, inputs)

        return compiled

    torch._dynamo.reset()
    monkeypatch.setattr(torch._dynamo, "lookup_backend", traced)
    yield seen
    torch._dynamo.reset()


def images():
    u = torch.randint(256, (20, 1, 8, 8), generator=random_generator(7))
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
    plain, compiled = trained(**changed), trained(**changed, compile="on")
    assert_alike(*zip(plain, compiled, strict=True), tolerance=1e-5)
    # All of the network at once, and no step a new graph; in pieces, the errors are
    # computed without and then with gradients.
    assert len(graphs) == (2 if changed else 1)


def test_networks_of_one_make_share_what_was_compiled(graphs):
    for seed in range(3):
        torch.manual_seed(seed)
        model = make_unet("tiny", resolution=8, channels=1)
        train(model, images(), replace(SHORT, compile="on"), seed=seed)
        compile_network(model, "on", "cpu")
        # As `experiments.draw` has it; the last of three batches is a smaller one.
        settings = SamplingSettings("ddim", 2, 11, sampling_batch=4)
        sample(model.eval(), settings, shape=(1, 8, 8), seed=seed)
    assert len(graphs) <= 4


def test_half_precision_shares_as_well(graphs):
    for _ in range(2):
        model, _ = trained(compile="on", precision="bfloat16")
        settings = SamplingSettings("ddim", 2, 4)
        shape = {"shape": (1, 8, 8), "seed": 0}
        sample(model.eval(), settings, **shape, precision="bfloat16")
    assert len(graphs) <= 2


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
        compiled = trained(compile="on")
    assert caplog.messages == ["not compiled, which is slower: no compiler was found"]
    assert_alike(*zip(plain, compiled, strict=True), tolerance=0)


def test_torchs_own_compiler(caplog):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, x = MLPDenoiser(2), torch.randn(8, 2)
    t = torch.randint(1000, (8,))
    expected = model(x, t).sample
    compile_network(model, "on", "cpu")
    found = model(x, t).sample
    torch.testing.assert_close(found, expected)
    ours = [r for r in caplog.records if r.name == "pudm_lib.compiling"]
    assert not ours, "a compiler is there and was used"


@pytest.mark.parametrize(
    "choice, device, compiled",
    [
        ("auto", "cpu", False),
        ("auto", "cuda", True),
        ("auto", torch.device("cuda", 1), True),
        ("off", "cuda", False),
        ("on", "cpu", True),
    ],
)
def test_auto_is_on_a_gpu(monkeypatch, choice, device, compiled):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda *args, **_: asked.append(args))
    compile_network(MLPDenoiser(2), choice, device)
    assert bool(asked) == compiled


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="compile='yes', must be one of auto, on, off"):
        replace(SHORT, compile="yes")
