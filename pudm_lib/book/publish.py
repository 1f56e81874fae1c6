"""Publish figures: `make figures` replaces the curated set figures/<preset>/, and
nothing else writes there."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pudm_lib.book.chapters import chapters
from pudm_lib.book.page import read_records
from pudm_lib.machine import paths


def check_publishable(preset: str) -> None:
    if preset == "ci":
        raise ValueError(
            'figures of preset "ci" are not published: it is too short to show anything'
        )


def publish(preset: str, names: Sequence[str]) -> Path:
    """Replace the curated figures of the chapters `names` with those of the run just
    made; those of other chapters stay, those of chapters that are gone go.

    Raises:
        ValueError: preset "ci", no figures, or figures made under another preset.
    """
    check_publishable(preset)
    made, curated = paths.figures_root() / preset, paths.curated_figures_root() / preset
    records = read_records(made)
    if not records:
        raise ValueError(f"no figures in {made}: nothing to publish")
    for record in records:
        if record["preset"] != preset:
            raise ValueError(
                f"{record['figure']} in {made} was made under preset "
                f"{record['preset']!r}, must be {preset!r}"
            )
    run = {name[:2] for name in names}
    others = {c.name[:2] for c in chapters()} - run
    new, old = (curated.with_name(f".{preset}.{word}") for word in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for source, kept in ((curated, others), (made, run)):
        for file in source.glob("*.*"):
            if file.name[:2] in kept and file.suffix in (".png", ".json"):
                shutil.copyfile(file, new / file.name)
    # Two renames: whoever looks meanwhile sees the old set, or for an instant none.
    shutil.rmtree(old, ignore_errors=True)
    if curated.exists():
        curated.rename(old)
    new.rename(curated)
    shutil.rmtree(old, ignore_errors=True)
    return curated
