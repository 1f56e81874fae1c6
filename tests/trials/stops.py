"""Stop a book, a run, a kernel, a worker or a whole group at random moments, start the
same again, and count what was left, lost, half-written, changed or wrongly believed.

python tests/trials/stops.py [STOPS [SEED [run|seeds|book|make ...]]]

Not run by `make test`: it takes long. Linux: reads /proc. Three stops, then the same
command to its end. What `python -m pudm_lib` would load is loaded once, here, and each
process forked from this one, but for make's.
"""

import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat
import torch

import pudm_lib.__main__ as command_line
from pudm_lib.machine.store import CheckpointError, load_tensors

ROOT = Path(__file__).resolve().parents[2]
TINY = "run --preset ci --steps 150 --checkpoint-every 40 --device cpu".split()
COMMANDS = {
    "run": TINY,
    "seeds": [*TINY, "--seeds", "0", "1"],
    "book": ["book", "--preset", "ci", "--only", "91"],
    "make": ["make", "book", "PRESET=ci", "ONLY=91"],
}
ASK = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# What is stopped: the first process, all of a terminal, the kernel or a worker.
WAYS = [
    *(("top", s) for s in [*ASK, signal.SIGKILL]),
    *(("group", s) for s in (signal.SIGINT, signal.SIGHUP)),
    *(("kernel", s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)),
    *(("worker", s) for s in (signal.SIGTERM, signal.SIGKILL)),
]
KINDS = ("left", "lost", "half", "changed", "noted", "noisy")
CHAPTER = """# %% tags=["parameters"]
preset = "laptop"

# %%
import pudm_lib as pu

page = pu.Page("91_trial", globals())

# %%
tiny = {"steps": 150, "checkpoint_every": 40, "device": "cpu"}
results = pu.run_many([pu.experiment(preset, seed=s, **tiny) for s in (0, 1)])

# %%
for name in ("91_first", "91_second"):
    with page.figure(name) as (fig, ax):
        ax.plot(results[0].history["loss"])
        fig.numbers(loss=results[0].history["loss"])
        fig.alt("A line.")

# %%
page.verdict()
"""


def started_here(mark: str) -> dict[int, str]:
    """Processes that inherited the mark: pid -> command line."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (place / "environ").read_bytes():
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ")
                if words:  # no zombie
                    found[int(place.name)] = words.decode()
        except OSError:
            pass
    return found


class Top:
    """The first process of a command."""

    def __init__(self, command: list[str], folder: Path, environment: dict):
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            # Whoever runs the trial may be deaf to them (nohup, a background job).
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.chdir(folder)
            for stream in (1, 2):
                os.dup2(os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            os.environ.clear()
            os.environ.update(environment)
            if command[0] == "make":
                os.execvp("make", command)
            code = 1
            try:
                code = command_line.main(command)
            finally:
                sys.stdout.flush()
                os._exit(code)

    def wait(self, seconds: float = 600) -> int | None:
        until = time.monotonic() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= until:
                break
            else:
                time.sleep(0.05)
        return self.code


class Place:
    """A project of one small chapter, with all that it makes."""

    def __init__(self, folder: Path, judge: Path | None = None):
        self.folder = folder
        if judge:
            shutil.copytree(judge, folder / "runs" / "judges")
        (folder / "notebooks").mkdir(parents=True)
        (folder / "notebooks" / "91_trial.py").write_text(CHAPTER)
        shutil.copy(ROOT / "Makefile", folder)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        for name in ("requirements.lock", "pyproject.toml"):
            (folder / name).touch()
            os.utime(folder / name, (0, 0))  # older than .venv/ready
        self.mark = f"PUDM_TRIAL={folder}"
        places = {f"PUDM_{n}" for n in ("RUNS", "BUILD", "FIGURES", "DATA", "HEADLESS")}
        self.environment = {k: v for k, v in os.environ.items() if k not in places} | {
            "PUDM_ROOT": str(folder),
            "PUDM_TRIAL": str(folder),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, what: str) -> "Top":
        return Top(COMMANDS[what], self.folder, self.environment)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def made(self) -> dict[str, torch.Tensor | str]:
        """All that has to be the same however often it was stopped."""
        found = {}
        for path in sorted((self.folder / "runs").rglob("*.safetensors")):
            for name, tensor in load_tensors(path)[0].items():
                found[f"{path.name} {path.parent.name} {name}"] = tensor.nan_to_num()
        for path in sorted((self.folder / "build" / "figures").rglob("*.json")):
            found[path.name] = path.read_text()
        return found

    def half_written(self) -> list[str]:
        """Files under their name that cannot be read to the end."""
        bad = []
        for path in self.folder.rglob("*"):
            try:
                if path.suffix == ".safetensors":
                    load_tensors(path)
                elif path.suffix == ".ipynb":
                    nbformat.read(path, 4)
                elif path.suffix == ".json":
                    json.loads(path.read_text())
            except (CheckpointError, ValueError):
                bad.append(path.name)
        return bad

    def leftovers(self) -> list[str]:
        """Temporary files, where whoever was killed has been started again."""
        names = (p.name for p in self.folder.rglob("*"))
        return [n for n in names if re.search(r"\.(safetensors|ipynb|json|png)\.", n)]

    def wrongly_noted(self) -> bool:
        """The chapter is noted as done while its copy, or a figure, is not whole."""
        book = self.folder / "build" / "book"
        if not (book / "91_trial.made.json").exists():
            return False
        figures = self.folder / "build" / "figures" / "ci"
        there = (
            len(list(figures.glob("91_*.png"))),
            len(list(figures.glob("91_*.json"))),
        )
        text = (book / "91_trial.ipynb").read_text()
        return there != (2, 2) or "not whole" in text


def target(place: Place, top: Top, whom: str) -> list[int]:
    if whom in ("top", "group"):
        return [top.pid] if top.wait(0) is None else []
    sign = {"kernel": "ipykernel_launcher", "worker": "spawn_main"}[whom]
    return [p for p, words in started_here(place.mark).items() if sign in words][:1]


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(a, other[n]) if isinstance(a, torch.Tensor) else a == other[n]
        for n, a in one.items()
    )


def stop_once(place: Place, draw: random.Random, what: str, seconds: float) -> dict:
    """One stop of `what`, and how things are after it."""
    there = {"run": "top group", "seeds": "top group worker"}
    there = there.get(what, "top group kernel worker").split()
    whom, number = draw.choice([way for way in WAYS if way[0] in there])
    # A kernel or a worker is there only later.
    after = draw.uniform(0.1 if whom in ("top", "group") else 0.3, 0.8) * seconds
    process = place.start(what)
    time.sleep(after)
    if whom == "group":
        if process.wait(0) is None:
            os.killpg(process.pid, number)
    else:
        for pid in target(place, process, whom):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
    stopped = time.monotonic()
    allowed = 30 if whom == "top" and number == signal.SIGKILL else 5
    # A book in which only a kernel or a worker was stopped goes to its own end.
    if whom in ("kernel", "worker"):
        process.wait(300)
        stopped = time.monotonic()
    while time.monotonic() < stopped + allowed:
        code, left = process.wait(0), started_here(place.mark)
        if code is not None and not left:
            break
        time.sleep(0.1)
    gone = time.monotonic() - stopped
    if code is None:
        left[process.pid] = what
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    code, log = process.wait(), place.log()
    (place.folder / "log").unlink()
    return {
        "what": what,
        "whom": whom,
        "signal": number.name,
        "after": round(after, 1),
        "code": code,
        "gone": round(gone, 1),
        "left": list(left.values()),
        "half": place.half_written(),
        "noted": place.wrongly_noted(),
        "noisy": "Traceback" in log and whom in ("top", "group"),
        "log": log[-1500:],
    }


def finish(place: Place, what: str, whole: dict) -> dict:
    """The same command to its end: what was lost, left over or changed."""
    lost = place.start(what).wait() != 0
    return {
        "lost": lost,
        "half": place.half_written() + place.leftovers(),
        "changed": not lost and not same(whole, place.made()),
        "noted": place.wrongly_noted(),
        "log": place.log()[-1500:],
    }


def tell(line: str, found: dict, counts: Counter) -> None:
    bad = [k for k in KINDS if found.get(k)]
    counts.update(bad)
    print(line, *bad, flush=True)
    for kind in bad:
        print("   ", kind, found[kind])
    if bad:
        print(found["log"])


def main(stops: int, seed: int, commands: list[str]) -> int:
    # What the forked ones would load.
    importlib.import_module("pudm_lib.experiments.many")
    importlib.import_module("pudm_lib.book.runner")
    draw, counts = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as place:
        whole, seconds = {}, {}
        judge = Path(place) / commands[0] / "runs" / "judges"
        for what in commands:
            here = Place(Path(place) / what, judge if judge.exists() else None)
            start = time.monotonic()
            assert here.start(what).wait() == 0, here.log()
            seconds[what] = time.monotonic() - start
            whole[what] = here.made()
        i = 0
        while counts["stops"] < stops:
            what = commands[i % len(commands)]
            # Some train the judge as well.
            here = Place(Path(place) / f"{i}", judge if i % 3 else None)
            for _ in range(3):
                found = stop_once(here, draw, what, seconds[what])
                line = (
                    "{what:<6}{whom:<7}{signal:<8}{after:>6} s {code:>4} gone {gone} s"
                )
                tell(line.format(**found), found, counts)
                counts["stops"] += 1
            tell(f"{what} to its end", finish(here, what, whole[what]), counts)
            shutil.rmtree(here.folder)
            i += 1
            print(
                f"{counts['stops']} stops: processes left {counts['left']}, "
                f"runs lost {counts['lost']}, half-written {counts['half']}, "
                f"not bit-identical {counts['changed']}, wrongly up to date "
                f"{counts['noted']}, more than one line {counts['noisy']}",
                flush=True,
            )
    return 1 if len(counts) > 1 else 0


if __name__ == "__main__":
    stops, seed, *commands = sys.argv[1:] + ["40", "0"][len(sys.argv) - 1 :]
    sys.exit(main(int(stops), int(seed), commands or list(COMMANDS)))
