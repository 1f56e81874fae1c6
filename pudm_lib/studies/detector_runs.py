"""What one model is put through for chapter 14's table on larger images, kept under
runs/, so that a study goes on where it stopped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from pudm_lib.data.splits import make_split
from pudm_lib.detection.outcomes import Outcome, sweep
from pudm_lib.detection.roc import Scores
from pudm_lib.detection.rules import split_indices
from pudm_lib.detection.shortcuts import matched_images, normal_images, quantise
from pudm_lib.experiments.keys import result_key
from pudm_lib.experiments.one import load_model, run
from pudm_lib.experiments.settings import Experiment
from pudm_lib.machine.devices import resolve_device, versions
from pudm_lib.machine.paths import runs_root, write_atomically
from pudm_lib.machine.store import short_hash, stages
from pudm_lib.measures.judge import load_judge
from pudm_lib.studies.detector_tables import all_detectors, from_sweep

BATCH = 64  # images at once: a third faster than 256 on one core, whose cache they fit
LEVELS = 256
COARSE_LEVELS = 17  # as on the digits; what is left when both kinds are rounded to them
# As chosen for the digits, on seed 100.
STEP_SIZES = (50, 100, 165, 199, 330)
NETWORK_STEPS = 60


@dataclass(frozen=True)
class Measured:
    """One model.

    images: real and generated, uint8.
    outcomes: of `all_detectors`.
    found: their sweep.
    coarse_outcomes, coarse_found: of `from_sweep`, and the sweep, with both kinds
        rounded to `COARSE_LEVELS` grey levels and everything chosen anew.
    """

    images: tuple[Tensor, Tensor]
    outcomes: Mapping[str, Outcome]
    found: Mapping[tuple[int, int], Scores]
    coarse_outcomes: Mapping[str, Outcome]
    coarse_found: Mapping[tuple[int, int], Scores]


def measure_model(
    e: Experiment,
    *,
    num_real: int,
    num_generated: int,
    levels: int = LEVELS,
    step_sizes: Sequence[int] = STEP_SIZES,
    network_steps: int = NETWORK_STEPS,
    match: bool = True,
) -> Measured:
    """Made or read: held-out normal images against the samples of one model.

    Args:
        e: its num_samples is what the generated images are taken from.
        num_real, num_generated: images at most, half of them for validation.
        levels: grey levels of both kinds.
        step_sizes: of SeDID, 165 among them.
        network_steps: of each detector network, 32 images a step.
        match: give both kinds the same classes by the judge's eyes; False for models
            that have not learned to draw them.
    """
    pair = detector_images(e, num_real, num_generated, levels=levels, match=match)
    coarse_pair = tuple(quantise(images, COARSE_LEVELS) for images in pair)
    parts = {
        "images": [*map(len, pair), levels, match],
        "settings": [*step_sizes, network_steps],
        "result": result_key(e),
        "versions": stages("detection") | versions(),
    }
    name = f"{Path(e.data.dataset).stem}-seed{e.seed}-{short_hash(parts)}.json"
    path = runs_root() / "detectors" / name
    if not path.exists():
        model = load_model(e)
        found, coarse = (
            sweep(model, *images, step_sizes, batch_size=BATCH)
            for images in (pair, coarse_pair)
        )
        options = {"seed": e.seed, "network_steps": network_steps, "batch_size": BATCH}
        options["device"] = resolve_device(e.training.device)
        outcomes = all_detectors(model, found, *pair, **options)
        kept = {
            "outcomes": [[n, *o.scores, o.accuracy] for n, o in outcomes.items()],
            "found": [[*key, *scores] for key, scores in found.items()],
            "coarse": [[*key, *scores] for key, scores in coarse.items()],
        }
        write_atomically(path, json.dumps(kept, default=np.ndarray.tolist))
    kept = json.loads(path.read_text(encoding="utf-8"))
    found, coarse = (
        {(size, t): (np.array(r), np.array(g)) for size, t, r, g in kept[which]}
        for which in ("found", "coarse")
    )
    outcomes = {
        name: Outcome((np.array(r), np.array(g)), accuracy)
        for name, r, g, accuracy in kept["outcomes"]
    }
    return Measured(pair, outcomes, found, from_sweep(coarse, *coarse_pair), coarse)


def detector_images(
    e: Experiment, num_real: int, num_generated: int, *, levels: int, match: bool
) -> tuple[Tensor, Tensor]:
    """Held-out normal images and samples, made alike: uint8, `levels` grey levels, and
    with `match` the same classes by the judge's eyes."""
    real, judge = make_split(e.data, e.seed).x_test, None
    if match:
        # A judge that errs on real images finds none of its errors among the matched
        # samples: without this the classes would tell the two kinds apart.
        judge = load_judge(e.data, device=resolve_device(e.training.device))
        real = normal_images(real, judge)
    (order,) = split_indices(len(real), [1.0], seed=0)
    real = real[order[:num_real]]
    samples = run(e).samples
    made = matched_images(samples, real, judge, seed=e.seed, limit=num_generated)
    return quantise(real, levels), quantise(made, levels)
