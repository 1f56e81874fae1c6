"""The grid: two jobs at once, a killed one goes on, and only what changed is redone."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import ROOT

from pudm_lib import __main__ as command_line
from pudm_lib.experiments.one import folder
from pudm_lib.experiments.settings import experiment

GRID = {
    "preset": "ci",
    "data": ["digits/even"],
    "method": ["pu_non_negative"],
    "beta": [0.1],
    "seed": [31, 32],
    "chapter": ["01", "02"],
    "settings": {"steps": 200, "checkpoint_every": 10},
}
CHAPTER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
preset = "laptop"

# %%
print(preset)
"""


def snakemake(project: Path, *arguments: str, profile="local") -> subprocess.Popen:
    command = [sys.executable, "-m", "snakemake", "--directory", str(project)]
    command += ["--snakefile", str(ROOT / "workflow" / "Snakefile"), "--cores", "2"]
    command += ["--profile", str(ROOT / "workflow" / "profiles" / profile)]
    command += ["--configfile", str(project / "grid.yaml"), *arguments]
    environment = os.environ | {
        "PUDM_ROOT": str(project),
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(project / "cache"),
    }
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finished(process: subprocess.Popen, code: int = 0) -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == code, output
    return output


def jobs(output: str) -> dict[str, int]:
    """{"model": 2, ..} from the table that snakemake prints."""
    lines = output.partition("Job stats:")[2].splitlines()[3:]
    rows = [line.split() for line in lines[: lines.index("")]]
    return {name: int(count) for name, count in rows}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    path = tmp_path_factory.mktemp("project")
    (path / "notebooks").mkdir()
    for name in ("01_one", "02_two"):
        (path / "notebooks" / f"{name}.py").write_text(CHAPTER)
    (path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    return path


def model_folders() -> list[Path]:
    return [folder(experiment("ci", seed=s, **GRID["settings"])) for s in GRID["seed"]]


def trainings(process: subprocess.Popen) -> list[psutil.Process]:
    """The models' jobs that are running, without the shells around them."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        if words[1:4] == ["-m", "pudm_lib", "run"]:
            found.append(child)
    return found


def test_two_side_by_side_of_which_one_is_killed_and_goes_on(project):
    for old in model_folders():
        shutil.rmtree(old, ignore_errors=True)
    process = snakemake(project)
    first = model_folders()[0] / "checkpoint.safetensors"
    together, killed = 0, False
    while process.poll() is None:
        running = trainings(process)
        together = max(together, len(running))
        if not killed and first.exists():
            (job,) = [p for p in running if str(GRID["seed"][0]) in p.cmdline()]
            job.send_signal(signal.SIGKILL)
            killed = True
        time.sleep(0.1)
    output = finished(process)
    assert together == 2 and killed, output
    base = project / "build" / "grid" / "ci" / "digits" / "even"
    log = (base / "pu_non_negative-beta0.1-seed31.log").read_text()
    assert "resuming from" in log, log + output
    tables = sorted(base.glob("*.txt"))
    assert len(tables) == 2
    assert all("non-sensitive rate" in table.read_text() for table in tables)
    assert all((f / "model.safetensors").exists() for f in model_folders())


def test_a_changed_chapter_makes_only_itself_due(project):
    changed = project / "notebooks" / "02_two.py"
    changed.write_text(CHAPTER + "print('changed')\n")
    base = project / "build" / "grid" / "ci" / "digits" / "even"
    made = {p: p.stat().st_mtime_ns for p in base.rglob("*") if p.is_file()}
    assert jobs(finished(snakemake(project))) == {"chapter": 1, "all": 1, "total": 2}
    again = {p for p in made if p.stat().st_mtime_ns != made[p]}
    own = base / "02_two"
    assert again and all(
        p.is_relative_to(own) or p == base / "02_two.log" for p in again
    )
    assert "changed" in (own / "book" / "02_two.ipynb").read_text()


def test_a_dry_run_says_what_is_due_and_does_nothing(project):
    own = "/my pictures/it's/cats,wild dogs"
    more = ["--config", "seed=[31,32,33]", f'data=[digits/even, "{own}"]', "-n", "-p"]
    output = finished(snakemake(project, *more))
    # The chapters show the models, so a new one makes them due.
    assert jobs(output) == {"model": 4, "chapter": 2, "all": 1, "total": 7}
    lines = [x for x in output.splitlines() if "pudm_lib run" in x and "cats" in x]
    words = shlex.split(lines[0].partition(": ")[2])
    options = command_line._parser().parse_args(words[3 : words.index(">")])
    assert (options.dataset, options.normal) == tuple(own.rsplit("/", 1))
    assert not folder(experiment("ci", seed=33, **GRID["settings"])).exists()


def test_an_unknown_profile_and_an_unknown_preset_are_refused(project):
    output = finished(snakemake(project, profile="cluster"), code=1)
    assert "Error: profile" in output and "profiles/cluster" in output, output
    output = finished(snakemake(project, "--config", "preset=huge"), code=1)
    assert "preset='huge', must be one of ci, laptop, gpu, paper" in output
    output = finished(snakemake(project, "--config", "data=digits"), code=1)
    assert "data='digits' in the grid, must be dataset/normal" in output


@pytest.mark.parametrize("name", ["local", "slurm", "kubernetes"])
def test_every_profile_is_read_and_resumes(name):
    text = (ROOT / "workflow" / "profiles" / name / "config.yaml").read_text()
    profile = yaml.safe_load(text)
    assert profile.get("executor", "local") == name
    assert profile["rerun-incomplete"] and profile["retries"] >= 1
