"""pyproject.toml, environment.yml and requirements.lock say the same, and no file of
the project knows of one machine or one package index."""

import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# conda-forge's names where they are not the package's own.
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}
# conda needs these to install the book itself.
CONDA_ONLY = {"python", "pip", "setuptools"}

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
# What the tests need beside them.
LOCKED = PYPROJECT["project"]["optional-dependencies"]["grid"]


def locked() -> list[tuple[str, str, list[str]]]:
    """(name, version, hashes) of every entry of the lock."""
    text = (ROOT / "requirements.lock").read_text()
    return [
        (canonicalize_name(name), number, re.findall(r"--hash=(\S+)", rest))
        for name, number, rest in re.findall(
            r"^([A-Za-z0-9._-]+)==(\S+)(.*?)(?=^\S|\Z)", text, flags=re.M | re.S
        )
    ]


@pytest.mark.parametrize(
    "wanted", [*REQUIREMENTS, *map(Requirement, LOCKED)], ids=lambda r: r.name
)
def test_lock_pins_every_dependency_inside_its_range(wanted):
    versions = [v for name, v, _ in locked() if name == canonicalize_name(wanted.name)]
    assert versions, f"{wanted.name} is not in requirements.lock"
    assert all(wanted.specifier.contains(version) for version in versions)


def test_lock_has_a_hash_for_everything():
    entries = locked()
    assert len(entries) > len(REQUIREMENTS)
    assert [name for name, _, hashes in entries if not hashes] == []


def test_lock_can_build_the_book_itself():
    # The package is installed without build isolation, so with the lock's setuptools.
    (build,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    versions = [v for name, v, _ in locked() if name == build.name]
    assert versions and all(build.specifier.contains(v) for v in versions)


def test_conda_environment_has_the_same_ranges():
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    words = [line.partition(" ") for line in lines if isinstance(line, str)]
    conda = {name: specifier for name, _, specifier in words}
    ours = {CONDA_NAMES.get(r.name, r.name): r.specifier for r in REQUIREMENTS}
    assert set(conda) - CONDA_ONLY == set(ours)
    for name, specifier in ours.items():
        assert Requirement(f"{name}{conda[name]}").specifier == specifier, name
    assert conda["python"] == PYPROJECT["project"]["requires-python"]


def project_files():
    """Tracked files and those about to be; the lock's own text is checked as well."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listing.splitlines()]
    return [f for f in files if f.is_file() and f.suffix not in (".png", ".npz")]


# Written in two pieces, so that this file does not contain them.
FORBIDDEN = {
    "a package index": ["pypi" + ".org", "python" + "hosted", "anaconda" + ".org"],
    "an index option": ["--index" + "-url ", "--extra-" + "index", "--find-" + "links"],
    "a place outside the project": ["/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/"],
    "a user's folder": ["/Use" + "rs/", "C:" + "\\"],
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what):
    found = [
        f"{file.relative_to(ROOT)}: {word}"
        for file in project_files()
        for word in FORBIDDEN[what]
        if word in file.read_text(errors="replace")
    ]
    assert found == []


def test_citation_names_the_three_papers():
    text = (ROOT / "CITATION.cff").read_text()
    papers = [r["identifiers"][0]["value"] for r in yaml.safe_load(text)["references"]]
    numbers = ("2503.03789", "2502.08011", "2307.06272")
    assert papers == [f"arXiv:{number}" for number in numbers]


def test_continuous_integration_is_the_three_commands():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, ".ci/run is not executable"
    commands = [x for x in script.read_text().splitlines() if x.startswith("make")]
    assert commands == ["make test", "make test-browser", "make book"]
