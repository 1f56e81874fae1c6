"""Long measurements that chapters show: made by `make figures`, committed with their
figures, and read from there by everybody else."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pudm_lib.data.datasets import open_dataset
from pudm_lib.data.pixels import DataError
from pudm_lib.machine.paths import curated_figures_root

WHERE_FROM = ("committed", "measured")


def study(
    name: str,
    measure: Callable[[], Mapping[str, Any]],
    *,
    studies: str,
    preset: str,
    settings: Mapping[str, Any],
) -> tuple[Mapping[str, Any], dict | None]:
    """The numbers of a figure, from its committed record or measured now.

    Args:
        name: of the figure.
        measure: called without arguments where the study is measured.
        studies: "committed" or "measured".
        settings: what the numbers were made for; the committed record's parameters have
            to agree with it.

    Returns:
        numbers, and the record they were read from: None if they were measured.

    Raises:
        ValueError: another word for `studies`, no committed record, or one that was
            made for other settings.
    """
    if studies not in WHERE_FROM:
        raise ValueError(f"studies={studies!r}, must be one of {', '.join(WHERE_FROM)}")
    if studies == "measured":
        return measure(), None
    path = committed_folder(preset) / f"{name}.json"
    if not path.exists():
        raise ValueError(f"{path} is not there: {_REMEDY}")
    record = json.loads(path.read_text())
    for key, value in settings.items():
        made_for = record["parameters"].get(key)
        if made_for != value:
            raise ValueError(
                f"{path.name} was measured for {key}={made_for!r}, not {value!r}: "
                + _REMEDY
            )
    return record["numbers"], record


def study_of_set(
    dataset: str,
    name: str,
    measure: Callable[[], Mapping[str, Any]],
    *,
    studies: str,
    settings: Mapping[str, Any],
    preset: str = "laptop",
) -> tuple[Mapping[str, Any], dict | None]:
    """`study` of one given set, by default the same under every preset. On a machine
    without the set the committed record is read, whatever `studies` says."""
    try:
        open_dataset(dataset)
    except DataError:
        studies = "committed"
    return study(name, measure, studies=studies, preset=preset, settings=settings)


_REMEDY = (
    'set studies="measured" to measure it here, which takes long, or choose a preset '
    "and settings that have one"
)


def committed_folder(preset: str) -> Path:
    """Of a preset's curated figures; ci, which publishes none, reads laptop's."""
    return curated_figures_root() / ("laptop" if preset == "ci" else preset)
