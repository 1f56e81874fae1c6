"""What a detector does on images it was not made with.

Real and generated images are each cut in two. In the first half, validation, everything
is chosen and fitted (noise levels, signs, thresholds, weights); the second, test, is
only scored. Scores come in pairs, of real and of generated images; a detector's own are
larger for generated ones.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pudm_lib.detection import learned
from pudm_lib.detection.roc import Scores, accuracy, auc
from pudm_lib.detection.rules import choose_rule
from pudm_lib.detection.t_error import all_t_se, t_errors

PAPER_STEP = 165  # the paper's delta; with it T_SE is 165, 330, ..., 990

# Scores of each candidate: of a noise level, or of (step_size, t_se).
Candidates = Mapping[Hashable, Scores]


@dataclass(frozen=True)
class Outcome:
    """A detector on the test half.

    scores: of the real and of the generated images, larger means generated.
    accuracy: at the threshold of the validation half, both classes weighing the same.
    """

    scores: Scores
    accuracy: float


def early(items):
    """The validation half."""
    return items[: len(items) // 2]


def late(items):
    """The test half."""
    return items[len(items) // 2 :]


def half(part: Callable, found: Candidates) -> dict[Hashable, Scores]:
    """`early` or `late` of the scores of every candidate."""
    return {key: (part(r), part(g)) for key, (r, g) in found.items()}


def sweep(
    model: nn.Module,
    real: Tensor,
    generated: Tensor,
    step_sizes: Sequence[int],
    *,
    batch_size: int = 256,
) -> dict[tuple[int, int], Scores]:
    """The t-errors of all steps: (step_size, t_se) -> real and generated, both halves.

    Args:
        real, generated: uint8 (N, C, H, W), (M, C, H, W).
        batch_size: images at once.
    """
    errors = partial(t_errors, model, step_size=step_sizes, batch_size=batch_size)
    pairs = zip(*both(errors, real, generated), strict=True)
    keys = [(size, t_se) for size in step_sizes for t_se in all_t_se(size)]
    return dict(zip(keys, pairs, strict=True))


def both(score: Callable[[Tensor], Tensor], real: Tensor, generated: Tensor):
    """Scores (..., N + M) of all images, cut into those of the two classes."""
    scores = score(torch.cat([real, generated])).numpy()
    return scores[..., : len(real)], scores[..., len(real) :]


def paper_curve(found: Mapping[tuple[int, int], Scores]) -> list[float]:
    """The test AUC at each T_SE of the paper's step with the paper's sign, by which a
    smaller error means generated (eq. 8)."""
    tested = half(late, found)
    at = [tested[PAPER_STEP, t] for t in all_t_se(PAPER_STEP)]
    return [float(auc(-real, -generated)) for real, generated in at]


def by_rule(found: Candidates) -> Outcome:
    """One candidate, its sign and its threshold, chosen on the validation half."""
    rule = choose_rule(half(early, found))
    scores = rule.apply(half(late, found))
    return Outcome(scores, accuracy(*scores, rule.threshold))


def by_steps(found: Candidates) -> Outcome:
    """The multi-step score: a logistic regression on the logarithms of all errors."""
    fit = partial(learned.fit_logistic, strength=1.0)
    sides = [learned.log_errors(errors) for errors in zip(*found.values(), strict=True)]
    return _fitted(fit, learned.logistic_score, *sides)


def by_pixels(real: Tensor, generated: Tensor) -> Outcome:
    """A logistic regression on eight plain numbers an image, no model in them."""
    sides = map(learned.pixel_statistics, (real, generated))
    return _fitted(learned.fit_logistic, learned.logistic_score, *sides)


def by_network(real: Tensor, generated: Tensor, *, seed, steps, device) -> Outcome:
    """A ResNet-18 on float inputs (N, C, H, W), (M, C, H, W)."""
    options = {"seed": seed, "steps": steps, "batch_size": 32, "device": device}
    fit = partial(learned.fit_resnet, **options)
    return _fitted(fit, learned.network_score, real, generated)


def _fitted(fit: Callable, score: Callable, real, generated) -> Outcome:
    fitted = fit(early(real), early(generated))
    scores = tuple(score(fitted, late(x)).numpy() for x in (real, generated))
    return Outcome(scores, accuracy(*scores, 0))  # log-odds: even at 0


def relabelled(found: Candidates, order: np.ndarray, count: int) -> dict:
    """Controls: the scores of chosen images, the first `count` of them called real.

    Args:
        order: indices into the real and the generated images behind each other.
    """
    pooled = {key: np.concatenate(pair)[order] for key, pair in found.items()}
    return {key: (scores[:count], scores[count:]) for key, scores in pooled.items()}


def with_nothing_to_find(found: Candidates) -> dict[str, Outcome]:
    """The rule and the multi-step score on labels that mean nothing."""
    return {"rule": by_rule(found), "multi-step": by_steps(found)}
