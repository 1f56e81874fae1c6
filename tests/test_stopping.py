"""Whoever is stopped keeps what it has, leaves nothing running and says one line."""

import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from conftest import ROOT
from filelock import FileLock
from test_training import SHORT, fresh_model, images

import pudm_lib.__main__ as command_line
from pudm_lib.experiments.many import side_by_side
from pudm_lib.machine import processes, stopping
from pudm_lib.machine.store import load_tensors
from pudm_lib.training.loop import train

LONG = 600  # seconds, for a test that would hang
PROGRAM = (
    "import time\nfrom pudm_lib.machine import stopping\n"
    "try:\n    with stopping.program():\n"
    "        print('begun', flush=True); time.sleep(600)\n"
    "except (KeyboardInterrupt, stopping.Stopped) as reason:\n"
    "    raise SystemExit(stopping.say(reason))\n"
)


@pytest.fixture(autouse=True)
def heard():
    """Signals as a terminal's, for the test and what it starts: in the background or
    under nohup they would be ignored, and that is inherited."""
    usual = {signal.SIGINT: signal.default_int_handler}
    usual |= {signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, how) for number, how in usual.items()}
    yield
    for number, how in before.items():
        signal.signal(number, how)


def gone(pid: int) -> bool:
    """Within a generous time."""
    for _ in range(LONG):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("by_signal", [True, False])
def test_an_interrupted_training_keeps_its_step(by_signal, tmp_path):
    path = tmp_path / "checkpoint.safetensors"

    def interrupt(step, _):
        if by_signal:
            signal.raise_signal(signal.SIGINT)
        else:
            raise KeyboardInterrupt

    settings = replace(SHORT, steps=60, checkpoint_every=1000)
    with pytest.raises(KeyboardInterrupt):
        train(
            fresh_model(), images(), settings, seed=1, checkpoint=path, report=interrupt
        )
    assert load_tensors(path)[1]["step"] == 25
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_nobody_answered_takes_effect_afterwards(monkeypatch):
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with stopping.asked_to_stop() as outer:
            with stopping.asked_to_stop() as inner:
                signal.raise_signal(signal.SIGTERM)
                assert inner() == signal.SIGTERM and not outer()
            assert outer() == signal.SIGTERM and came == []
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_nohup_has_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.asked_to_stop() as stop, stopping.program():
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "number, code, line",
    [
        (signal.SIGINT, 130, "interrupted; the same command goes on from there"),
        (signal.SIGTERM, 143, "stopped by SIGTERM; the same command goes on from"),
        (signal.SIGHUP, 129, "stopped by SIGHUP; the same command goes on from"),
    ],
)
def test_the_command_line_says_one_line(number, code, line, monkeypatch, capsys):
    monkeypatch.setattr(signal, "alarm", lambda seconds: None, raising=False)

    def stopped(options):
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # a second one while the first is answered
            raise RuntimeError("what a library makes of it")

    monkeypatch.setattr(command_line, "_claims", stopped)
    before = [signal.getsignal(s) for s in stopping.SIGNALS]
    assert command_line.main(["claims"]) == code
    err = capsys.readouterr().err
    assert err.startswith(line) and err.count("\n") == 1
    assert before == [signal.getsignal(s) for s in stopping.SIGNALS]


def begun(command, **options) -> subprocess.Popen:
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **options)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_make_alone_takes_the_book_with_it(number, tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho $$ > pid\nexec {sys.executable} program.py\n")
    python.chmod(0o755)
    for name in ("requirements.lock", "pyproject.toml", ".venv/ready"):
        (tmp_path / name).touch()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    environment |= {"PYTHONPATH": str(ROOT)}
    process = begun(["make", "-s", "book"], cwd=tmp_path, env=environment)
    process.send_signal(signal.Signals[number])
    said = process.communicate(timeout=LONG)[0]
    assert gone(int((tmp_path / "pid").read_text()))
    lines = [x for x in said.splitlines() if not x.startswith("make")]
    assert len(lines) == 1 and lines[0].startswith("stopped by SIG"), said
    assert list((tmp_path / "build").iterdir()) == []


def test_workers_end_with_a_killed_parent(tmp_path):
    (tmp_path / "parent.py").write_text(
        "import multiprocessing, os, sys, time\n"
        "from pudm_lib.machine import stopping\n"
        "def work():\n"
        "    stopping.start_worker(20)\n"
        "    open('pid', 'w').write(str(os.getpid())); print('begun', flush=True)\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    worker = context.Process(target=work)\n"
        "    worker.start(); worker.join()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = begun([sys.executable, "parent.py"], cwd=tmp_path, env=environment)
    worker = int((tmp_path / "pid").read_text())
    os.kill(worker, signal.SIGINT)  # the terminal's Ctrl-C is the parent's to answer
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LONG)
    assert gone(worker)


def _says_and_dies(item, report):
    assert multiprocessing.parent_process() is not None
    logging.getLogger("pudm_lib.training").info("resuming from %s", item)
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_are_heard_and_a_killed_one_is_said(capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pudm_lib"), "level", logging.INFO)
    with pytest.raises(RuntimeError, match="a process that makes models was killed"):
        side_by_side(_says_and_dies, ["a checkpoint"], workers=1, total=1)
    assert "resuming from a checkpoint\n" in capfd.readouterr().err


def test_who_waits_for_a_lock_says_so(tmp_path, caplog):
    held = FileLock(tmp_path / ".lock")
    held.acquire()
    done = threading.Event()

    def wait():
        with processes.locked(tmp_path / ".lock", "the model of seed 3"):
            done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        for _ in range(LONG):
            if caplog.messages:
                break
            time.sleep(0.1)
        words = "waiting for another process that makes the model of seed 3"
        assert caplog.messages == [words] and not done.is_set()
    finally:
        held.release()
        thread.join(LONG)
    assert done.is_set()
    with processes.locked(tmp_path / ".lock", "it"):
        assert len(caplog.messages) == 1, "said only by who waits"
