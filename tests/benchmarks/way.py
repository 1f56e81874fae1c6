"""Which files one experiment goes through, from its record to its numbers.

    python tests/benchmarks/way.py
    python tests/benchmarks/way.py --write    draws it in pudm_lib/README.md

Runs two seeds of a tiny experiment in a folder of their own and notes the library's
files in the order in which a function of each is first called; a return is no visit.
The first run trains the judge as well, the second finds it. What lies in machine/,
where there is such a room, is left out.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ["PUDM_RUNS"] = tempfile.mkdtemp()
os.environ["PUDM_HEADLESS"] = "1"

import pudm_lib
from pudm_lib.experiments import experiment, run

PACKAGE = Path(pudm_lib.__file__).parent
BEGIN, END = "<!-- way -->", "<!-- /way -->"


def visited(function) -> list[str]:
    """The library's files that a call of `function` enters, in order."""
    found: dict[str, None] = {}

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            name = path.relative_to(PACKAGE).with_suffix("").as_posix()
            if frame.f_code.co_name != "<module>":
                found.setdefault(name)

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return [name for name in found if not name.startswith("machine/")]


def ways() -> tuple[list[str], list[str]]:
    """Of the first experiment on a set, whose judge is trained, and of the next one."""
    first, second = (
        experiment("ci", seed=seed, steps=2, num_samples=8) for seed in (0, 1)
    )
    return visited(lambda: run(first)), visited(lambda: run(second))


def drawn(way: list[str]) -> str:
    """A way as a Mermaid picture, a box a room and a number a file."""
    rooms: dict[str, list[str]] = {}
    for number, name in enumerate(way, start=1):
        room, _, file = name.partition("/")
        rooms.setdefault(room, []).append(f'    {number}["{number} {file}"]')
    boxes = [
        line
        for room, files in rooms.items()
        for line in (f"  subgraph {room}_[{room}]", *files, "  end")
    ]
    numbers = range(1, len(way))
    arrows = [f"  {number} --> {number + 1}" for number in numbers]
    return "\n".join(["```mermaid", "flowchart LR", *boxes, *arrows, "```"])


def write(way: list[str]) -> None:
    readme = PACKAGE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{BEGIN}\n{drawn(way)}\n{END}{after}")


if __name__ == "__main__":
    both = ways()
    for words, way in zip(("first", "next"), both, strict=True):
        print(f"{words} experiment: {len(way)} files: {', '.join(way)}")
    if "--write" in sys.argv:
        write(both[1])
