"""The library's rooms: imports run one way, no file grows long, the face is quick."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import pudm_lib

PACKAGE = ROOT / "pudm_lib"
# A room may import those before it; rooms of one floor do not know each other.
FLOORS = (
    ("machine",),
    ("data",),
    ("diffusion",),
    ("training",),
    ("measures",),
    ("prior", "steering", "detection"),
    ("experiments",),
    ("studies",),
    ("book",),
    ("widgets",),
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
MOST_LINES = 250


def imports_of(source: str) -> set[str]:
    """Every module of the library that a file imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "pudm_lib"}


def wrong_ways(room: str, source: str) -> list[str]:
    """What a file of a room imports against the order."""
    wrong = []
    for name in imports_of(source):
        other = [*name.split("."), ""][1]
        if other == room:
            continue
        if other not in FLOOR or FLOOR[other] >= FLOOR[room]:
            wrong.append(f"{room} imports {name}")
    return sorted(wrong)


def rooms() -> list[str]:
    return sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists())


def test_every_room_has_its_floor():
    assert rooms() == sorted(FLOOR)


@pytest.mark.parametrize("room", FLOOR)
def test_imports_run_one_way(room):
    wrong = {
        path.name: found
        for path in (PACKAGE / room).glob("*.py")
        if (found := wrong_ways(room, path.read_text()))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "room, line",
    [
        ("machine", "from pudm_lib.data.splits import make_split"),
        ("diffusion", "def f():\n    from pudm_lib.training import losses"),
        ("steering", "import pudm_lib.prior.scores"),
        ("experiments", "from pudm_lib import book"),
        ("data", "import pudm_lib"),
        ("data", "from pudm_lib import make_split"),
        ("studies", "from pudm_lib.no_such_room import x"),
    ],
)
def test_an_arrow_against_the_order_is_seen(room, line):
    assert len(wrong_ways(room, line)) == 1
    assert wrong_ways(room, "from pudm_lib.machine.paths import headless") == []


def test_no_file_is_longer_than_a_sitting():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after some code."""
    code += "\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_face_loads_nothing_until_it_is_asked():
    loaded = loaded_by("import pudm_lib as pu")
    assert not loaded & {"torch", "matplotlib", "diffusers", "numpy"}
    assert not {name for name in loaded if name.startswith("pudm_lib.")}


def test_an_experiment_needs_no_matplotlib():
    loaded = loaded_by("import pudm_lib as pu; pu.run; import pudm_lib.__main__")
    assert "torch" in loaded and "pudm_lib.experiments.one" in loaded
    assert "matplotlib" not in loaded


@pytest.mark.parametrize("room", ["", *FLOOR])
def test_a_face_has_what_it_names(room):
    face = pudm_lib if not room else getattr(pudm_lib, room)
    assert face.__doc__ and face.__all__
    assert sorted(face.__all__) == sorted(set(face.__all__))
    for name in face.__all__:
        assert getattr(face, name) is not None, name


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_says_its_one_line(room):
    text = Path(PACKAGE / room / "__init__.py").read_text()
    first = text.split('"""')[1].strip().splitlines()[0]
    assert 20 < len(first) <= 88 and first.endswith((".", "?"))


def test_the_way_of_an_experiment_is_short_and_drawn_as_it_is():
    script = ROOT / "tests" / "benchmarks" / "way.py"
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    way = done.stdout.splitlines()[1].rpartition(": ")[2].split(", ")
    assert way[0] == "experiments/one" and len(way) <= 14
    picture = (PACKAGE / "README.md").read_text().partition("<!-- way -->")[2]
    boxes = re.findall(r'(\d+)\["\d+ (\w+)"\]', picture)
    drawn = dict((int(number), name) for number, name in boxes)
    assert [drawn[i] for i in sorted(drawn)] == [name.split("/")[1] for name in way]
