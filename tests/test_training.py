"""The loop: exact resumption, stratified batches, refusals, and that it learns."""

import doctest
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from pudm_lib.diffusion.networks import MLPDenoiser, make_unet
from pudm_lib.diffusion.process import random_generator
from pudm_lib.machine import checks
from pudm_lib.machine.store import CheckpointError, load_tensors, save_tensors
from pudm_lib.training.augment import affine
from pudm_lib.training.batches import Shuffled, TrainingImages, batch_order
from pudm_lib.training.loop import TrainingError, train
from pudm_lib.training.settings import TrainingSettings
from pudm_lib.training.state import HISTORY

SHORT = TrainingSettings(
    steps=24,
    warmup_steps=4,
    batch_unlabeled=6,
    batch_sensitive=2,
    checkpoint_every=5,
    device="cpu",
)


def images():
    generator = random_generator(7)
    u = torch.randint(256, (20, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return TrainingImages(u, 255 - u[:9], u[:5])


def fresh_model():
    torch.manual_seed(3)
    return make_unet("tiny", resolution=8, channels=1)


def weights_after(settings, **options):
    model = fresh_model()
    history = train(model, images(), settings, seed=1, **options)
    return model.state_dict(), history


@pytest.mark.parametrize("warmup, said", [(3, False), (4, True), (50, True)])
def test_a_warm_up_that_is_never_over_is_said(caplog, warmup, said):
    weights_after(replace(SHORT, steps=4, warmup_steps=warmup))
    assert ("never gets to learning_rate=0.002" in caplog.text) == said


class Stop(Exception):
    pass


@pytest.mark.parametrize("batching", ["stratified", "random"])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, monkeypatch, batching):
    monkeypatch.setattr("pudm_lib.training.loop.LOOK_EVERY", 1)
    settings = replace(SHORT, batching=batching)
    whole, history = weights_after(settings)
    path = tmp_path / "checkpoint.safetensors"

    def stop_at_13(step, losses):
        if step == 13:
            raise Stop

    with pytest.raises(Stop):
        weights_after(settings, checkpoint=path, report=stop_at_13)
    _, facts = load_tensors(path)
    assert facts["step"] == 10
    resumed, resumed_history = weights_after(settings, checkpoint=path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for name in HISTORY:
        torch.testing.assert_close(
            history[name], resumed_history[name], rtol=0, atol=0, equal_nan=True
        )


KILLED = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_training import SHORT, fresh_model, images
from dataclasses import replace
from pudm_lib.training.loop import train
model = fresh_model()
settings = replace(SHORT, steps=120, checkpoint_every=10)
train(model, images(), settings, seed=1, checkpoint=Path(sys.argv[1]))
"""


def test_kill_9_leaves_a_checkpoint_that_resumes_to_the_same_bits(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    here = os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path), here])
    deadline = time.monotonic() + 600
    while not path.exists():
        assert time.monotonic() < deadline, "no checkpoint within ten minutes"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    settings = replace(SHORT, steps=120, checkpoint_every=10)
    resumed, _ = weights_after(settings, checkpoint=path)
    whole, _ = weights_after(settings)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_tensors(path, {"a": torch.ones(100)}, {"step": 1})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"truncated or damaged.*delete it"):
        weights_after(SHORT, checkpoint=path)


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(
        MLPDenoiser(2),
        TrainingImages(torch.randn(9, 2), torch.randn(9, 2)),
        replace(SHORT, steps=6),
        seed=0,
        checkpoint=path,
    )
    with pytest.raises(CheckpointError, match="another model"):
        weights_after(SHORT, checkpoint=path)


def test_a_loss_that_is_not_finite_names_step_and_terms(tmp_path):
    model = fresh_model()
    torch.nn.init.constant_(model.conv_out.weight, float("nan"))
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(TrainingError, match=r"step 0: loss=nan, positive=nan"):
        train(model, images(), SHORT, seed=0, checkpoint=path)
    assert not path.exists(), "a state that is not finite must not be kept"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 1.0}, r"beta=1.0, must be in \[0, 1\)"),
        ({"beta": -0.1}, r"beta=-0.1, must be in \[0, 1\)"),
        ({"beta": float("nan")}, r"beta=nan, must be in \[0, 1\)"),
        ({"method": "purple"}, "method='purple', must be one of unsupervised"),
        ({"tau": 0.0}, "tau=0.0, must be finite and > 0"),
        ({"steps": 0}, "steps=0, must be >= 1"),
        ({"ema_decay": 1.0}, r"ema_decay=1.0, must be in \[0, 1\)"),
        ({"device": "tpu"}, "device='tpu', must be one of auto, cpu, cuda"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**change)


def test_what_is_allowed_is_said_as_documented():
    results = doctest.testmod(checks)
    assert results.attempted > 0 and results.failed == 0


def test_pnu_without_labelled_normals_is_refused():
    lacking = TrainingImages(images().unlabeled, images().sensitive)
    with pytest.raises(ValueError, match="num_normal >= 1"):
        train(fresh_model(), lacking, replace(SHORT, method="pnu"), seed=0)


def test_shuffled_epochs_hold_each_position_once_and_need_no_past():
    sequence = Shuffled(10, (1, 2))
    whole = sequence.take(0, 30)
    for epoch in whole.split(10):
        assert sorted(epoch.tolist()) == list(range(10))
    assert torch.equal(Shuffled(10, (1, 2)).take(17, 8), whole[17:25])


def test_batches_have_the_counts_asked_for():
    sets = {"unlabeled": torch.zeros(20, 1), "sensitive": torch.zeros(9, 1)}
    stratified = batch_order(sets, SHORT, 0)
    assert all(len(stratified("sensitive", step)) == 2 for step in range(50))
    random = batch_order(sets, replace(SHORT, batching="random"), 0)
    for step in range(50):
        counts = [len(random(name, step)) for name in ("unlabeled", "sensitive")]
        assert sum(counts) == 8
    drawn = torch.tensor([len(random("sensitive", step)) for step in range(290)])
    assert drawn.float().std() > 0.5
    # 290 batches of 8 are 80 whole epochs of 29 images, 9 of them sensitive.
    assert drawn.sum() == 80 * 9


def test_the_toy_denoiser_learns_a_point():
    """All data at one point: the noise can be read off x_t exactly."""
    points = torch.full((64, 2), 0.5)
    model = MLPDenoiser(2)
    settings = replace(
        SHORT, method="unsupervised", steps=300, batch_unlabeled=64, learning_rate=3e-3
    )
    history = train(model, TrainingImages(points, points), settings, seed=0)
    assert history["loss"][-30:].mean() < 0.5 * history["loss"][:30].mean()


def test_methods_train_on_the_same_unlabeled_noise():
    """Common random numbers: the first step's error on U is the same for all."""
    firsts = {
        method: weights_after(replace(SHORT, method=method, steps=1))[1][
            "ell_unlabeled"
        ].item()
        for method in ("unsupervised", "supervised", "pu_non_negative", "pnu")
    }
    assert max(firsts.values()) == pytest.approx(min(firsts.values()), rel=1e-5)


def test_affine_changes_each_image_in_its_own_way_and_keeps_the_range():
    x = torch.ones(4, 1, 8, 8)
    y = affine(x, random_generator(0))
    assert y.shape == x.shape and y.min() >= -1 and y.max() <= 1 + 1e-6
    assert not torch.equal(y[0], y[1])
    assert torch.equal(y, affine(x, random_generator(0)))


def test_one_process_trains_in_one_precision_after_another():
    """accelerate's state belongs to the process; it must not stick."""
    first = weights_after(SHORT)[0]
    half = weights_after(replace(SHORT, precision="bfloat16"))[0]
    again = weights_after(SHORT)[0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], half[name]) for name in first)
    assert all(tensor.dtype == torch.float32 for tensor in half.values())


def test_a_model_trained_in_bfloat16_computes_as_it_will_when_loaded():
    trained = fresh_model()
    settings = replace(SHORT, precision="bfloat16", steps=3)
    train(trained, images(), settings, seed=1)
    loaded = fresh_model()
    loaded.load_state_dict(trained.state_dict())
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([5, 500])
    assert torch.equal(trained(x, t).sample, loaded(x, t).sample)


class Narrow(MLPDenoiser):
    """Stands in for a device on which at most three items fit."""

    def forward(self, x_t, t):
        if len(x_t) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a lot")
        return super().forward(x_t, t)


def test_a_batch_too_large_for_memory_is_told_what_fits():
    points = TrainingImages(torch.randn(9, 2), torch.randn(9, 2))
    words = r"8 images of 2 at once do not fit .*cpu; with accumulate=4 they do"
    with pytest.raises(torch.OutOfMemoryError, match=words):
        train(Narrow(2), points, SHORT, seed=0)
    train(Narrow(2), points, replace(SHORT, accumulate=4, steps=1), seed=0)
    wide = replace(SHORT, batch_unlabeled=1000)
    with pytest.raises(torch.OutOfMemoryError, match="a smaller resolution or network"):
        train(Narrow(2), points, wide, seed=0)
