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
from pudm_lib.studies.detector_runs import BATCH, COARSE_LEVELS, measure_model
from pudm_lib.studies.detector_tables import mean_areas, table_numbers

# Models: settings and seeds; images of each: at most, half of them for validation.
STUDIED = {
    "mnist": {
        "settings": {
            "dataset": "mnist",
            "steps": 4000,
            "num_samples": 1600,
            "sampling_batch": BATCH,
        },
        "seeds": [0, 1, 2],
        "num_real": 2000,  # 1,000 for the test: what 0.1 % of false positives take
        "num_generated": 1000,
    },
    "celeba_half": {
        "settings": {
            "dataset": "celeba_half",
            "normal": "female",
            "num_unlabeled_normal": 2000,
            "num_unlabeled_sensitive": 200,
            "num_sensitive": 200,
            "resolution": 32,
            "steps": 2000,
            "num_samples": 1400,
            "sampling_batch": BATCH,
        },
        "seeds": [0],
        "num_real": 1000,
        "num_generated": 1000,
    },
}
# As chosen for the digits, on seed 100.
STEP_SIZES = (50, 100, 165, 199, 330)
NETWORK_STEPS = 60
LEVELS = 256

# Four intervals of real against real are claimed to cover 0.5: 99 % each, so that all
# of them do in 96 of 100 worlds in which there is nothing to find.
CONFIDENCE_OF_CONTROLS = 0.99


def parameters(dataset: str) -> dict:
    """Of a study's figure: what its numbers are made for."""
    chosen = STUDIED[dataset] | {"levels": LEVELS, "network_steps": NETWORK_STEPS}
    return chosen.pop("settings") | chosen | {"step_sizes": list(STEP_SIZES)}


def measure_set(dataset: str) -> dict:
    """`measure_detectors` of a set of `STUDIED`.

    Raises:
        ValueError: another set, or one that is not on this machine (`DataError`).
    """
    if dataset not in STUDIED:
        raise ValueError(f"dataset={dataset!r}, must be one of {', '.join(STUDIED)}")
    chosen = STUDIED[dataset]
    models = [
        experiment("laptop", **chosen["settings"], method="unsupervised", seed=seed)
        for seed in chosen["seeds"]
    ]
    counts = {name: chosen[name] for name in ("num_real", "num_generated")}
    return measure_detectors(models, **counts)


def measure_detectors(
    experiments: Sequence[Experiment],
    *,
    num_real: int,
    num_generated: int,
    levels: int = LEVELS,
    step_sizes: Sequence[int] = STEP_SIZES,
    network_steps: int = NETWORK_STEPS,
    match: bool = True,
) -> dict:
    """The table of any set: held-out normal images against samples of models, which are
    trained where they are not there yet.

    Args:
        experiments: of one set, one each model; their num_samples is what the generated
            images are taken from.
        num_real, num_generated: images at most, half of them for validation.
        levels: grey levels of both kinds.
        step_sizes: of SeDID, 165 among them.
        network_steps: of each detector network, 32 images a step.
        match: give both kinds the same classes by the judge's eyes; False for models
            that have not learned to draw them.

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
    models = [
        measure_model(
            e,
            num_real=num_real,
            num_generated=num_generated,
            levels=levels,
            step_sizes=step_sizes,
            network_steps=network_steps,
            match=match,
        )
        for e in experiments
    ]
    first = experiments[0]
    judge = load_judge(first.data, device=resolve_device(first.training.device))
    return table_numbers([m.outcomes for m in models]) | {
        "images": {
            "real": len(models[0].images[0]),
            "generated": [len(m.images[1]) for m in models],
        },
        "judge": judge.accuracy,
        "chosen": [_chosen(m.found) for m in models],
        "paper_curve": np.mean([paper_curve(m.found) for m in models], axis=0),
        "pixel_numbers": _pixel_numbers([m.images for m in models]),
        "coarse": mean_areas([m.coarse_outcomes for m in models])
        | {
            "levels": COARSE_LEVELS,
            "paper_curve": np.mean(
                [paper_curve(m.coarse_found) for m in models], axis=0
            ),
        },
        "real_against_real": _real_against_real(models[0].found),
    }


def _pixel_numbers(pairs) -> dict[str, tuple[float, float, float]]:
    both = [[pixel_statistics(late(images)) for images in pair] for pair in pairs]
    columns = [
        np.mean([real.mean(0) for real, _ in both], axis=0),
        np.mean([generated.mean(0) for _, generated in both], axis=0),
        np.mean([auc(*(x.T for x in numbers)) for numbers in both], axis=0),
    ]
    return dict(zip(PIXEL_NUMBERS, np.stack(columns, 1).tolist(), strict=True))


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
