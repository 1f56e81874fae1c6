"""Chapter 14's table on images larger than the digits: which sets and how many images,
and the controls beside it."""

from collections.abc import Mapping, Sequence

import numpy as np

from pudm_lib.detection.learned import PIXEL_NUMBERS, pixel_statistics
from pudm_lib.detection.outcomes import (
    early,
    half,
    late,
    paper_curve,
    relabelled,
    with_nothing_to_find,
)
from pudm_lib.detection.roc import auc, auc_interval
from pudm_lib.detection.rules import choose_rule
from pudm_lib.experiments.many import run_many
from pudm_lib.experiments.settings import Experiment, experiment
from pudm_lib.machine.devices import resolve_device
from pudm_lib.measures.judge import load_judge
from pudm_lib.studies import detector_runs
from pudm_lib.studies.detector_runs import BATCH, COARSE_LEVELS, measure_model
from pudm_lib.studies.detector_tables import mean_areas, table_numbers

# Models: settings and seeds; images of each: at most, half of them for validation.
STUDIED = {
    "mnist": {
        "dataset": "mnist",
        "steps": 4000,
        "num_samples": 1600,
        "sampling_batch": BATCH,
        "seeds": [0, 1, 2],
        "num_real": 2000,  # 1,000 for the test: what 0.1 % of false positives take
        "num_generated": 1000,
    },
    "celeba_half": {
        "dataset": "celeba_half",
        "normal": "female",
        "num_unlabeled_normal": 2000,
        "num_unlabeled_sensitive": 200,
        "num_sensitive": 200,
        "resolution": 32,
        "steps": 2000,
        "num_samples": 1400,
        "sampling_batch": BATCH,
        "seeds": [0],
        "num_real": 1000,
        "num_generated": 1000,
    },
}

# Four intervals of real against real are claimed to cover 0.5: 99 % each, so that all
# of them do in 96 of 100 worlds in which there is nothing to find.
CONFIDENCE_OF_CONTROLS = 0.99


def parameters(dataset: str) -> dict:
    """Of a study's figure: what its numbers are made for."""
    return STUDIED[dataset] | {
        "levels": detector_runs.LEVELS,
        "network_steps": detector_runs.NETWORK_STEPS,
        "step_sizes": [*detector_runs.STEP_SIZES],
    }


def measure_set(dataset: str) -> dict:
    """`measure_detectors` of a set of `STUDIED`.

    Raises:
        ValueError: another set, or one that is not on this machine (`DataError`).
    """
    if dataset not in STUDIED:
        raise ValueError(f"dataset={dataset!r}, must be one of {', '.join(STUDIED)}")
    settings = STUDIED[dataset] | {"method": "unsupervised"}
    seeds = settings.pop("seeds")
    counts = {name: settings.pop(name) for name in ("num_real", "num_generated")}
    models = [experiment("laptop", **settings, seed=seed) for seed in seeds]
    return measure_detectors(models, **counts)


def measure_detectors(
    experiments: Sequence[Experiment], *, num_real: int, num_generated: int, **options
) -> dict:
    """The table of any set: held-out normal images against samples of models, which are
    trained where they are not there yet.

    Args:
        experiments: of one set, one each model.
        num_real, num_generated, options: as `measure_model` takes them.

    Returns:
        `table_numbers`, and: "images" of each kind; "judge", its accuracy; "chosen",
        for each model [step_size, t_se, sign] of SeDID Stat; "paper_curve", mean over
        models; "pixel_numbers", test half, means over models: {number: [mean of real
        images, of generated ones, AUC of the number alone]}; "coarse": `mean_areas` and
        "paper_curve" with both kinds rounded to `COARSE_LEVELS` grey levels;
        "real_against_real": {rule or multi-step: [AUC, [low, high]]}, the first
        model's, 99 % intervals.
    """
    run_many(experiments)  # side by side, where some are still to be trained
    options |= {"num_real": num_real, "num_generated": num_generated}
    models = [measure_model(e, **options) for e in experiments]
    first = experiments[0]
    judge = load_judge(first.data, device=resolve_device(first.training.device))
    coarse = mean_areas([m.coarse_outcomes for m in models])
    coarse["levels"] = COARSE_LEVELS
    coarse["paper_curve"] = _mean_curve([m.coarse_found for m in models])
    return table_numbers([m.outcomes for m in models]) | {
        "images": {
            "real": len(models[0].images[0]),
            "generated": [len(m.images[1]) for m in models],
        },
        "judge": judge.accuracy,
        "chosen": [_chosen(m.found) for m in models],
        "paper_curve": _mean_curve([m.found for m in models]),
        "pixel_numbers": _pixel_numbers([m.images for m in models]),
        "coarse": coarse,
        "real_against_real": _real_against_real(models[0].found),
    }


def _mean_curve(sweeps) -> np.ndarray:
    return np.mean([paper_curve(found) for found in sweeps], axis=0)


def _pixel_numbers(pairs) -> dict[str, tuple[float, float, float]]:
    both = [[pixel_statistics(late(images)) for images in pair] for pair in pairs]
    rows = [(real.mean(0), made.mean(0), auc(real.T, made.T)) for real, made in both]
    return dict(zip(PIXEL_NUMBERS, np.mean(rows, axis=0).T.tolist(), strict=True))


def _chosen(found: Mapping) -> tuple[int, int, int]:
    rule = choose_rule(half(early, found))
    return *rule.key, rule.sign


def _real_against_real(found: Mapping) -> dict:
    """Held-out images cut in two at random, one half called generated."""
    count = len(next(iter(found.values()))[0])
    order = np.random.default_rng(0).permutation(count)
    outcomes = with_nothing_to_find(relabelled(found, order, count // 2))
    return {
        kind: (
            float(auc(*outcome.scores)),
            auc_interval(*outcome.scores, confidence=CONFIDENCE_OF_CONTROLS),
        )
        for kind, outcome in outcomes.items()
    }
