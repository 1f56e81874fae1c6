"""Tests compute without bars or widgets and keep what they make under build/test."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "test"

# Before any test imports torch or the library, also where pytest was called by hand.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("PUDM_HEADLESS", "1")
os.environ.setdefault("PUDM_RUNS", str(BUILD / "runs"))
os.environ.setdefault("PUDM_FIGURES", str(BUILD / "figures"))


# Hypothesis has two clocks of its own. They would fail a test on a slow machine.
settings.register_profile(
    "book", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("book")


def replace_judge(patch: pytest.MonkeyPatch, judge) -> None:
    """Both where models are trained and where they are measured: the real one takes
    long to train and is tested elsewhere."""
    from pudm_lib.experiments import many, one

    for module in (many, one):
        patch.setattr(module, "load_judge", judge)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty project folder that the library takes for the book's."""
    monkeypatch.setenv("PUDM_ROOT", str(tmp_path))
    for variable in ("PUDM_DATA", "PUDM_RUNS", "PUDM_BUILD", "PUDM_FIGURES"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "notebooks").mkdir()
    return tmp_path
