"""Killed, asked to stop, out of disk: nothing is lost and nothing is half-written."""

import resource
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace

import faults
import pytest
from conftest import replace_judge
from test_training import SHORT, fresh_model, images
from two_processes import QuickJudge

from pudm_lib.__main__ import main
from pudm_lib.machine.store import load_tensors
from pudm_lib.training.loop import train


def test_killed_runs_go_on_to_the_same_bits(tmp_path):
    found = faults.kill_and_go_on(2, tmp_path)
    assert [f.name for f in found] == ["SIGKILL", "SIGTERM"]
    assert all(f.identical and not f.lost and not f.half_written for f in found), found


def train_long(checkpoint, begun):
    settings = replace(SHORT, steps=100_000, checkpoint_every=100_000)
    train(
        fresh_model(),
        images(),
        settings,
        seed=1,
        checkpoint=checkpoint,
        report=lambda step, losses: begun.set(),
    )


def test_sigterm_keeps_the_step_at_hand(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    begun = faults.CONTEXT.Event()
    process = faults.CONTEXT.Process(target=train_long, args=(path, begun))
    process.start()
    # Deadlines for a test that would hang, and no claim.
    assert begun.wait(600)
    process.terminate()
    process.join(600)
    assert process.exitcode == 128 + signal.SIGTERM
    _, facts = load_tensors(path)
    assert 0 < facts["step"] < 100_000


@contextmanager
def small_disk(place):
    """A disk of 1 MiB, and a function that makes room."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield lambda: subprocess.run(
            ["mount", "-o", "remount,size=16m", str(place)], check=True
        )
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def small_files(place):
    """No file above 300 KiB, which a model has and a checkpoint has not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300 * 1024, before[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("limited", [small_disk, small_files])
def test_a_full_disk_is_one_line_and_the_run_goes_on(
    limited, tmp_path, monkeypatch, capsys
):
    runs = tmp_path / "runs"
    replace_judge(monkeypatch, QuickJudge)
    command = ["run", "--preset", "ci", "--checkpoint-every", "5", "--device", "cpu"]
    monkeypatch.setenv("PUDM_RUNS", str(tmp_path / "elsewhere"))
    assert main(command) == 0
    monkeypatch.setenv("PUDM_RUNS", str(runs))
    with limited(runs) as make_room:
        capsys.readouterr()
        assert main(command) == 2
        errors = capsys.readouterr().err.splitlines()
        lines = [line for line in errors if line.startswith("error: ")]
        assert len(lines) == 1 and "cannot write" in lines[0], errors
        assert "No space left" in lines[0] or "File too large" in lines[0]
        assert faults.half_written(runs) == []
        assert not list(runs.rglob("*.safetensors.*")), "a temporary file is left"
        make_room()
        assert main(command) == 0
        whole = faults.made(tmp_path / "elsewhere")
        assert whole and faults.same(whole, faults.made(runs))
