"""The chapters as the runner sees them: their cells, parameters and solutions.

A chapter's source is notebooks/NN_name.py (py:percent), converted in memory. papermill
only warns of an unknown parameter and takes any type; here both are refused.
"""

import ast
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode

from pudm_lib.machine.paths import project_root


@dataclass(frozen=True)
class Chapter:
    """parameters: name -> default, from the cell tagged "parameters"."""

    name: str
    notebook: NotebookNode
    parameters: dict[str, Any]


def notebooks_folder() -> Path:
    return project_root() / "notebooks"


def chapters(only: Sequence[str] = ()) -> list[Chapter]:
    """The chapters in order, or those asked for by number ("05", "5") or name.

    Raises:
        ValueError: no such chapter, or none at all.
    """
    found = {p.stem: p for p in sorted(notebooks_folder().glob("[0-9][0-9]_*.py"))}
    if not found:
        raise ValueError(f"no chapters NN_name.py in {notebooks_folder()}")
    chosen = set() if only else set(found)
    for wanted in only:
        names = (wanted.removesuffix(".py"), wanted.zfill(2))
        called = {name for name in found if name in names or name[:2] in names}
        if not (wanted and called):
            raise ValueError(f"no chapter {wanted!r}; there are: {', '.join(found)}")
        chosen |= called
    return [read_chapter(found[name]) for name in sorted(chosen)]


def read_chapter(path: Path) -> Chapter:
    """Convert one chapter in memory: unlike `jupytext --sync`, never writes."""
    notebook = jupytext.read(path)
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path} has {len(cells)} cells tagged parameters, must be 1")
    try:
        parameters = {
            statement.targets[0].id: ast.literal_eval(statement.value)
            for statement in ast.parse(cells[0].source).body
        }
    except (AttributeError, ValueError, SyntaxError) as error:
        raise ValueError(
            f"{path}: its parameters cell may hold lines `name = literal` only"
        ) from error
    return Chapter(path.stem, notebook, parameters)


def parse_settings(*texts: str) -> dict[str, Any]:
    """ "beta=0.2 seeds=[0, 1]" -> {"beta": 0.2, "seeds": [0, 1]}: a value ends before
    the next name=. What is no Python literal is taken as a word."""
    before_a_name = r"\s+(?=[^\W\d]\w*=)"
    parts = [part for text in texts for part in re.split(before_a_name, text.strip())]
    return dict(map(_parse_setting, parts))


def _parse_setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals and value):
        raise ValueError(
            f"--set {reprlib.repr(text)}, must be name=value, such as beta=0.2"
        )
    try:
        return name, ast.literal_eval(value)
    # The last two: nested deeper than Python reads.
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return name, value


def check_settings(chosen: Sequence[Chapter], settings: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting that none of the chosen chapters has."""
    known = sorted({name for chapter in chosen for name in chapter.parameters})
    for name in settings:
        if name not in known:
            where = chosen[0].name if len(chosen) == 1 else "any chapter"
            raise ValueError(
                f"no parameter {name!r} in {where}; there are: {', '.join(known)}"
            )
    if "preset" in settings:
        raise ValueError("the preset is not set by --set but by --preset")


def settings_of(chapter: Chapter, preset: str, settings: Mapping[str, Any]) -> dict:
    """Those of `settings` that the chapter has, and the preset, of the right types.

    Raises:
        ValueError: a value of another type than the default's, or see `check_values`.
    """
    given = {"preset": preset}
    for name, value in settings.items():
        if name in chapter.parameters:
            default = chapter.parameters[name]
            if isinstance(default, list) and isinstance(value, tuple):
                value = list(value)  # seeds=0,1,2
            if not _same_kind(value, default):
                raise ValueError(
                    f"{name}={reprlib.repr(value)} for {chapter.name}, must be of the "
                    f"type of its default {default!r} ({type(default).__name__})"
                )
            given[name] = value
    check_values(chapter.parameters, given)
    return given


def check_values(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError for numbers that no chapter can use: what is infinite or NaN, a
    count below 1 (below 0 where the default is 0, which stands for "the preset's"), an
    empty list, less than two seeds."""
    for name, value in values.items():
        default = defaults[name]
        pairs, wanted = [(value, default)], ""
        if isinstance(default, list) and default:
            several = value if isinstance(value, list | tuple) else ()
            pairs = [(item, default[0]) for item in several]
            fewest = min(len(default), 2) if name == "seeds" else 1
            if len({*map(str, several)}) < fewest:
                wanted = f"a list of {fewest} or more"
        for number, usual in pairs:
            least = 0 if "seed" in name or usual == 0 else 1
            if isinstance(number, float) and not math.isfinite(number):
                wanted = "finite"
            if type(usual) is int and type(number) is int and number < least:
                wanted = f">= {least}"
        if wanted:
            raise ValueError(f"{name}={reprlib.repr(value)}, must be {wanted}")


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, list):
        return isinstance(value, list) and all(
            not default or any(_same_kind(item, d) for d in default) for item in value
        )
    whole_for_real = type(default) is float and type(value) is int
    return default is None or type(value) is type(default) or whole_for_real


def solutions(notebook: NotebookNode) -> list[str]:
    """The code of the exercises' collapsed solutions, one string each."""
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    blocks = re.findall(r"(?s)<details>\s*<summary>\s*Solution(.*?)</details>", text)
    fences = [re.findall(r"(?s)```python\n(.*?)```", block) for block in blocks]
    return ["".join(parts) for parts in fences if parts]
