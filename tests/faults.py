"""The fault table: a run that is killed at random moments and started again.

python tests/faults.py [KILLS]
"""

import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from two_processes import QuickJudge

from pudm_lib.experiments import one as experiments
from pudm_lib.experiments.settings import experiment
from pudm_lib.machine.store import CheckpointError, load_tensors

EVERY = 10
SETTINGS = {"steps": 100, "checkpoint_every": EVERY, "device": "cpu"}

# The libraries are imported once; each run is a process of its own all the same. Not
# this module: the server that forks does not look for modules where tests lie.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pudm_lib.experiments.one"])


def work(root: Path) -> None:
    os.environ["PUDM_RUNS"] = str(root)
    logging.basicConfig(filename=f"{root}.log", level=logging.INFO)
    torch.set_num_threads(1)
    experiments.load_judge = QuickJudge
    experiments.run(experiment("ci", **SETTINGS))


def run(root: Path, kill: signal.Signals | None = None, after: float = 0) -> int:
    """Run in a new process, killed or not; the exit code, minus the signal."""
    process = CONTEXT.Process(target=work, args=(root,))
    process.start()
    if kill is not None:
        time.sleep(after)
        with suppress(ProcessLookupError):  # it was done before its moment came
            os.kill(process.pid, kill)
    process.join()
    return process.exitcode


def half_written(root: Path) -> list[Path]:
    """Files under their final name that cannot be read to the end."""
    bad = []
    for path in root.rglob("*.safetensors"):
        try:
            load_tensors(path)
        except CheckpointError:
            bad.append(path)
    return bad


def made(root: Path) -> dict[str, torch.Tensor]:
    """All tensors of a finished run; {} if it has not what it should, or more."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != ".lock")
    if [p.name.split("-")[0] for p in files] != ["model.safetensors", "result"]:
        return {}
    return {
        f"{p.name} {name}": tensor
        for p in files
        for name, tensor in load_tensors(p)[0].items()
    }


@dataclass(frozen=True)
class Fault:
    """found: the furthest that was kept when the process died, in words."""

    name: str
    after: float
    found: str
    half_written: int
    lost: bool
    identical: bool


def state(root: Path) -> str:
    for path in root.rglob("checkpoint.safetensors"):
        return f"step {load_tensors(path)[1]['step']}"
    kept = {path.name.split("-")[0] for path in root.rglob("*.safetensors")}
    return "the result" if "result" in kept else "the model" if kept else "nothing"


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one
    )


def kill_and_go_on(kills: int, folder: Path, seed: int = 0) -> list[Fault]:
    """Kill -9 and SIGTERM in turn, at moments drawn evenly over a whole run's time."""
    assert run(folder / "first") == 0  # its time is that of starting up as well
    start = time.monotonic()
    assert run(folder / "whole") == 0
    seconds = time.monotonic() - start
    whole = made(folder / "whole")
    assert whole, "the run that was left alone is not as it should be"
    draw, faults = random.Random(seed), []
    for i in range(kills):
        root = folder / f"killed{i}"
        kill = (signal.SIGKILL, signal.SIGTERM)[i % 2]
        after = draw.uniform(0, seconds)
        run(root, kill, after)
        found, bad = state(root), half_written(root)
        lost = run(root) != 0
        faults.append(
            Fault(kill.name, after, found, len(bad), lost, same(whole, made(root)))
        )
    return faults


if __name__ == "__main__":
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as place:
        faults = kill_and_go_on(kills, Path(place))
    print(f"a run of {SETTINGS['steps']} steps, a checkpoint every {EVERY}")
    print("signal   after   kept         half-written  lost  same bits")
    for f in faults:
        print(
            f"{f.name:<8}{f.after:5.1f} s  {f.found:<12}{f.half_written:>13}"
            f"{'yes' if f.lost else 'no':>6}{'yes' if f.identical else 'NO':>11}"
        )
    print(
        f"{len(faults)} kills: {sum(f.lost for f in faults)} lost runs, "
        f"{sum(f.half_written for f in faults)} half-written files, "
        f"{sum(f.identical for f in faults)} bit-identical"
    )
