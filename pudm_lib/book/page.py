"""Figures with the numbers they show and the claims they support, as PNG + JSON.

A chapter calls `show_figure` once per figure: it saves NN_name.png and NN_name.json
under figures_root()/<preset>/ and displays the picture with its alternative text. The
JSON is what README's table, `python -m pudm_lib claims` and the tests read; nobody
types a result twice.
"""

import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from pudm_lib.machine.devices import resolve_device, versions
from pudm_lib.machine.paths import figures_root, write_atomically

SOURCES = ("ours", "paper")


def claim(
    text: str,
    value: float,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    interval: Sequence[float] | None = None,
    source: str = "ours",
) -> dict:
    """One checkable sentence. Whether it holds is computed here, never given.

    Args:
        text: the claim in words.
        value: the measured number.
        at_least, at_most: the bound or bounds; at least one of them.
        interval: (low, high) of the value; where given, the claim is still judged on
            the value, so a claim "with an interval clear of zero" passes the
            interval's end as its value.
        source: "ours", or "paper" for a claim of a paper tested here.

    Raises:
        ValueError: no bound, or an unknown source.
    """
    if at_least is None and at_most is None:
        raise ValueError(f"claim {text!r} has no bound: give at_least or at_most")
    if source not in SOURCES:
        raise ValueError(f"source={source!r}, must be one of {', '.join(SOURCES)}")
    bound = {"at_least": at_least, "at_most": at_most}
    value = float(value)
    # NaN compares false, so an unmeasured claim does not hold.
    holds = (at_least is None or value >= at_least) and (
        at_most is None or value <= at_most
    )
    return {
        "claim": text,
        "source": source,
        "value": value,
        "interval": None if interval is None else [float(end) for end in interval],
        "bound": {name: end for name, end in bound.items() if end is not None},
        "holds": bool(holds) and not math.isnan(value),
    }


def assert_claims(claims: Sequence[Mapping], preset: str) -> None:
    """Raise AssertionError naming our claims that fail. A paper's claim that fails
    here is a finding, and preset "ci" is too short to claim anything: both pass."""
    failed = [
        f"{c['claim']}: {c['value']:.4g}, bound {c['bound']}"
        for c in claims
        if c["source"] == "ours" and not c["holds"]
    ]
    if failed and preset != "ci":
        raise AssertionError("; ".join(failed))


def environment(device: str = "cpu") -> dict[str, str]:
    """Device and package versions: what a number may depend on, and no more."""
    on_gpu = resolve_device(device) == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    return {"device": name, "python": platform.python_version(), **versions()}


def plain(value: Any) -> Any:
    """Tensors, arrays, tuples and NumPy numbers as JSON's lists and numbers."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        # Six digits are what a figure can show; JSON has no NaN or infinity.
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def show_figure(
    figure: Figure,
    name: str,
    *,
    alt: str,
    chapter: str,
    preset: str,
    parameters: Mapping[str, Any],
    numbers: Mapping[str, Any],
    claims: Sequence[Mapping] = (),
    device: str = "cpu",
    loaded: Mapping[str, Any] | None = None,
) -> None:
    """Save a figure and its JSON under figures_root()/<preset>/, then display it.

    Args:
        name: "NN_words"; the file's name.
        alt: what a reader who cannot see the picture should know of it.
        parameters: the chapter's effective parameters.
        numbers: what is drawn.
        claims: made by `claim`.
        device: on which the numbers were made: cpu, cuda or auto.
        loaded: the record that the numbers were read from, if they were not made now
            (see `studies.study`): its parameters and environment are theirs.

    Raises:
        ValueError: an empty alternative text.
        OSError: the folder cannot be written.
    """
    if not alt.strip():
        raise ValueError(f"figure {name!r} needs an alternative text")
    record = {
        "figure": name,
        "chapter": chapter,
        "preset": preset,
        "alt": alt,
        "parameters": loaded["parameters"] if loaded else plain(dict(parameters)),
        "environment": loaded["environment"] if loaded else environment(device),
        "numbers": plain(dict(numbers)),
        "claims": [plain(dict(c)) for c in claims],
    }
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)  # or the inline backend would show it a second time
    folder = figures_root() / preset
    write_atomically(folder / f"{name}.png", picture.getvalue())
    write_atomically(folder / f"{name}.json", json.dumps(record, indent=1) + "\n")
    _display(picture.getvalue(), alt)


def _display(png: bytes, alt: str) -> None:
    try:
        from IPython.display import Image, display
    except ImportError:  # a script without Jupyter still gets the files
        return
    display(Image(png, alt=alt))


def read_records(folder: Path) -> list[dict]:
    """All figure records under a folder, by path.

    Raises:
        ValueError: a record that is not JSON or lacks a part; names the file.
    """
    records = []
    for path in sorted(folder.rglob("*.json")):
        try:
            record = json.loads(path.read_text())
            record["figure"], record["preset"], record["claims"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a figure record: {error!r}") from error
        records.append(record)
    return records
