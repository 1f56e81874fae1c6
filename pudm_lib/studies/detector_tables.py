"""SeDID in all its forms and what it is compared with, on the same images: chapter 14's
table."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor, nn

from pudm_lib.data.pixels import to_model_range
from pudm_lib.detection import roc
from pudm_lib.detection.learned import step_inputs
from pudm_lib.detection.outcomes import (
    PAPER_STEP,
    Outcome,
    both,
    by_network,
    by_pixels,
    by_rule,
    by_steps,
    early,
    half,
)
from pudm_lib.detection.roc import Scores, auc, mean_auc, mean_auc_interval
from pudm_lib.detection.rules import choose_rule
from pudm_lib.detection.scores import denoising_loss, dire, pia, secmi

RELEASED_T_SE = 990  # at which the released code's network compares levels

# Scores of one noise level: function, levels to choose from, options.
SCORES = {
    "denoising loss, 1 noise": (denoising_loss, (150, 350, 600), {}),
    "denoising loss, 10 noises": (denoising_loss, (150, 350, 600), {"draws": 10}),
    "SecMI": (secmi, (50, 100), {}),
    "PIA": (pia, (50, 200, 600), {}),
    "DIRE": (dire, (300, 600, 900), {"step_size": 100}),
}
# Who is compared with whom, by how much the mean AUC is ahead.
LEADS = (
    ("SeDID Stat", "denoising loss, 1 noise"),
    ("SeDID NN", "SeDID Stat, step 165"),
    ("multi-step, all", "pixel statistics"),
)
FALSE_POSITIVE_RATES = (0.01, 0.001)


def from_sweep(
    found: Mapping[tuple[int, int], Scores], real: Tensor, generated: Tensor
) -> dict[str, Outcome]:
    """The detectors that cost little once the sweep is made, with any step sizes among
    which is `PAPER_STEP`; arguments as for `all_detectors`."""
    at_165 = _of_paper_step(found)
    return {
        "SeDID Stat": by_rule(found),
        "SeDID Stat, step 165": by_rule(at_165),
        "multi-step, six": by_steps(at_165),
        "multi-step, all": by_steps(found),
        "pixel statistics": by_pixels(real, generated),
    }


def _of_paper_step(found):
    at_165 = {key: pair for key, pair in found.items() if key[0] == PAPER_STEP}
    if not at_165:
        raise ValueError(
            f"step sizes {sorted({size for size, _ in found})} lack {PAPER_STEP}, "
            "which three of the detectors use"
        )
    return at_165


def all_detectors(
    model: nn.Module,
    found: Mapping[tuple[int, int], Scores],
    real: Tensor,
    generated: Tensor,
    *,
    seed: int,
    network_steps: int,
    device: str = "cpu",
    batch_size: int = 256,
) -> dict[str, Outcome]:
    """Every detector with one model: SeDID in all its forms, what it is compared with,
    and two that do not look at the model at all.

    Args:
        model: diffusion model whose errors are scored.
        found: its `sweep` over these images, `PAPER_STEP` among the step sizes.
        real, generated: uint8 (N, C, H, W), (M, C, H, W), made alike (`shortcuts`).
        seed: of the networks.
        network_steps: optimiser steps of each network.
        device: of the networks.

    Raises:
        ValueError: no step of size `PAPER_STEP` among those found.
    """
    cheap = from_sweep(found, real, generated)
    outcomes = {}
    for name, (score, levels, options) in SCORES.items():
        scores = partial(score, model, batch_size=batch_size, **options)
        outcomes[name] = by_rule(
            {t: both(partial(scores, t=t), real, generated) for t in levels}
        )
    _, t_se = choose_rule(half(early, _of_paper_step(found))).key
    maps = {"step_size": PAPER_STEP, "batch_size": batch_size}
    released = maps | {"t_se": [RELEASED_T_SE], "misaligned_as_released": True}
    inputs = {
        "SeDID NN": partial(step_inputs, model, t_se=[t_se], **maps),
        "SeDID NN as released": partial(step_inputs, model, **released),
        "raw pixels": to_model_range,
    }
    for name, of in inputs.items():
        outcomes[name] = by_network(
            of(real), of(generated), seed=seed, steps=network_steps, device=device
        )
    return outcomes | cheap


def mean_areas(models: Sequence[Mapping[str, Outcome]]) -> dict[str, dict]:
    """Means over models with 95 % intervals of the test images (`bootstrap_interval`).

    Args:
        models: outcomes by detector, of each model; the same real images for all.

    Returns:
        "auc", "interval", "accuracy", "each" (model's AUC), all by detector.
    """
    scores = {name: [m[name].scores for m in models] for name in models[0]}
    return {
        "auc": {name: mean_auc(s) for name, s in scores.items()},
        "interval": {name: mean_auc_interval(s) for name, s in scores.items()},
        "accuracy": {
            name: float(np.mean([m[name].accuracy for m in models])) for name in scores
        },
        "each": {name: [float(auc(*s)) for s in each] for name, each in scores.items()},
    }


def table_numbers(models: Sequence[Mapping[str, Outcome]]) -> dict:
    """What a figure of the whole table shows.

    Args:
        models: `all_detectors` of each model; the same real images for all.

    Returns:
        `mean_areas`; "gain_of_multi_step" over the best single step and "leads"
        (`LEADS`): each [difference of AUC, [low, high]]; "tpr_at_0.01" and, where there
        are the 1,000 real test images that it takes, "tpr_at_0.001": {detector: [rate,
        [low, high]]}.
    """
    scores = {name: [m[name].scores for m in models] for name in models[0]}

    def lead(better: str, worse: str):
        pair = scores[better], scores[worse]
        return mean_auc(pair[0]) - mean_auc(pair[1]), mean_auc_interval(*pair)

    numbers = mean_areas(models) | {
        "gain_of_multi_step": {
            f"{which} steps": lead(f"multi-step, {which}", "SeDID Stat")
            for which in ("six", "all")
        },
        "leads": {f"{a} over {b}": lead(a, b) for a, b in LEADS},
    }
    for fpr in FALSE_POSITIVE_RATES:
        if len(scores["SeDID Stat"][0][0]) >= roc.real_images_needed(fpr):
            rate = partial(roc.tpr_at_fpr, fpr=fpr)
            numbers[f"tpr_at_{fpr}"] = {
                name: (
                    float(np.mean([rate(*s) for s in each])),
                    roc.bootstrap_interval(rate, each),
                )
                for name, each in scores.items()
            }
    return numbers
