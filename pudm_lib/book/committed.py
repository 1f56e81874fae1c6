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
    made_for: Mapping[str, Any],
    dataset: str | None = None,
) -> tuple[Mapping[str, Any], dict | None]:
    """The numbers of a figure, from its committed record or measured now.

    Args:
        name: of the figure.
        measure: called without arguments where the study is measured.
        studies: "committed" or "measured".
        made_for: settings of the numbers; the committed record's parameters have to
            agree with them.
        dataset: of a study of one given set. Where the set is absent the record is
            read, whatever `studies` says; where the preset has none, laptop's.

    Returns:
        numbers, and the record they were read from: None if they were measured.

    Raises:
        ValueError: another word for `studies`, no committed record, or one that was
            made for other settings.
    """
    if studies not in WHERE_FROM:
        raise ValueError(f"studies={studies!r}, must be one of {', '.join(WHERE_FROM)}")
    if studies == "measured" and (dataset is None or _is_here(dataset)):
        return measure(), None
    path = committed_folder(preset) / f"{name}.json"
    if dataset is not None and not path.exists():
        path = committed_folder("laptop") / path.name
    if not path.exists():
        raise ValueError(f"{path} is not there: {_REMEDY}")
    record = json.loads(path.read_text(encoding="utf-8"))
    for key, value in made_for.items():
        had = record["parameters"].get(key)
        if had != value:
            raise ValueError(
                f"{path.name} was measured for {key}={had!r}, not {value!r}: {_REMEDY}"
            )
    return record["numbers"], record


def _is_here(dataset: str) -> bool:
    try:
        open_dataset(dataset)
    except DataError:
        return False
    return True


_REMEDY = (
    'set studies="measured" to measure it here, which takes long, or choose a preset '
    "and settings that have one"
)


def committed_folder(preset: str) -> Path:
    """Of a preset's curated figures; ci, which publishes none, reads laptop's."""
    return curated_figures_root() / ("laptop" if preset == "ci" else preset)
