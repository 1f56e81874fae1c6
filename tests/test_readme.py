"""Every command that README prints is one that works: as far as that can be said
without doing what it does."""

import re
import shlex
import subprocess

import pytest
import yaml
from conftest import ROOT

from pudm_lib import __main__ as command_line
from pudm_lib.book import chapters
from pudm_lib.experiments.settings import experiment

PROGRAMS = ("make", ".venv/bin/", "python", "pip", "snakemake", "torchrun", "conda")


def commands() -> list[str]:
    """Blocks and inline code that begin with a program, without their comments."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"(?s)```\n(.*?)```", text)).replace("\\\n", "")
    lines = [line.partition("  #")[0].strip() for line in blocks.splitlines()]
    outside = re.sub(r"(?s)```.*?```", "", text)
    lines += re.findall(r"`([^`\n]+)`", outside)
    begins = [line for line in lines if line.startswith(PROGRAMS)]
    return sorted({re.split(r" {4,}", line)[0] for line in begins})


def parsed(arguments: list[str]):
    """What the command line makes of them; a run's or a split's settings are made."""
    options = command_line._parser().parse_args(arguments)
    if arguments[0] == "run":
        given = command_line._settings(options)
        experiment(options.preset, **{k: v for k, v in given.items() if v != "auto"})
    if arguments[0] == "book":
        settings = chapters.parse_settings(*options.settings)
        only = [name for name in options.only if name != "NN"]
        for chapter in chapters.chapters(only):
            chapters.settings_of(chapter, options.preset, settings)
        chapters.check_settings(chapters.chapters(only), settings)
    return options


def test_readme_has_commands():
    found = commands()
    assert len(found) > 20 and any("torchrun" in line for line in found)


@pytest.mark.parametrize("line", commands())
def test_a_command_is_one_that_works(line):
    program, *arguments = shlex.split(line)
    assert program in ("make", "conda") or program.startswith(".venv/bin/"), line
    if program == "make":
        dry = ["make", "-n", "-o", ".venv/ready", *arguments]
        done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        values = dict(a.split("=", 1) for a in arguments if "=" in a)
        if arguments[0] == "book":
            known = {"ONLY": "--only", "SET": "--set", "PRESET": "--preset"}
            parsed(["book", *(w for k, v in values.items() for w in (known[k], v))])
    elif "pudm_lib" in arguments:
        parsed(arguments[arguments.index("pudm_lib") + 1 :])
    elif program.endswith("snakemake"):
        grid = yaml.safe_load((ROOT / "workflow" / "grid.yaml").read_text())
        assert {a.split("=")[0] for a in arguments if "=" in a} <= set(grid)
        folders = [a for a in arguments if a.startswith("workflow/")]
        assert all((ROOT / f / "config.yaml").is_file() for f in folders)
    elif arguments[0].endswith(".py"):
        text = (ROOT / arguments[0]).read_text()
        assert all(f'"{a}"' in text for a in arguments[1:] if a.startswith("--"))
