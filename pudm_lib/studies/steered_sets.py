"""How far the Safe Denoiser with posterior odds goes on a set of images (Kim et al.
2025): several models steered and measured, and one argument varied at a time."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from pudm_lib.data.pixels import pixel_features, to_model_range
from pudm_lib.data.splits import PUSplit, make_split
from pudm_lib.detection.roc import auc
from pudm_lib.diffusion.process import add_noise, random_generator
from pudm_lib.experiments.many import run_many
from pudm_lib.experiments.one import draw, load_model
from pudm_lib.experiments.settings import Experiment
from pudm_lib.machine.devices import available_cores, cpu_threads
from pudm_lib.measures import numbers as metrics
from pudm_lib.measures.judge import Judge, classes_of, load_judge
from pudm_lib.steering.references import ReferenceDenoiser
from pudm_lib.steering.safe_denoiser import SafeDenoiser, by_time, odds_hook
from pudm_lib.studies.rates_over_beta import DISTANCES

SHOWN = 16  # pairs of samples that are kept as pictures

# What is kept of `metrics.measure`.
KEPT = ("non_sensitive_rate", "rate_low", "rate_high", *DISTANCES, "copies_share")

TIMES = tuple(range(50, 1000, 100))  # of `separation`


def steered(
    jobs: Sequence[tuple[Experiment, torch.nn.Module, SafeDenoiser | None]],
    splits: Mapping[int, PUSplit],
    judge: Judge,
) -> list[tuple[Tensor, dict[str, float], Tensor]]:
    """(samples, numbers, which are sensitive) for each (experiment, model, hook); drawn
    several at a time on a CPU.

    Args:
        splits: by the experiments' seeds.
    """

    def one(job):
        run, model, hook = job
        return draw(run, model, splits[run.seed], denoised_hook=hook)

    on_gpu = any(next(model.parameters()).is_cuda for _, model, _ in jobs)
    with cpu_threads(1), ThreadPoolExecutor(1 if on_gpu else available_cores()) as pool:
        images = list(pool.map(one, jobs))
    # Not in the pool: a distance draws its subsets from torch's one global stream.
    return [
        (x, *metrics.measure(x, splits[run.seed], judge))
        for x, (run, _, _) in zip(images, jobs, strict=True)
    ]


def median_nearest(images: Tensor, others: Tensor) -> float:
    """Median over uint8 images of the distance to the nearest of the others, in pixels
    of the model's range."""
    features = (pixel_features(x) for x in (images, others))
    return metrics.nearest_distance(*features).median().item()


def separation(
    split: PUSplit, *, width: float, times: Sequence[int], count: int = 500
) -> list[float]:
    """How well log p_S,t / p_U,t by kernels, all that the odds know of an image, tells
    sensitive from normal: the share of pairs of one noised image of each in which the
    sensitive one has the larger ratio, for each t. 0.5 is chance.

    No image compared is among the references: the last of S are kept back, and the
    normal ones are held-out images.

    Args:
        width: of the kernels.
        count: of images of each kind, at most half of S.
    """
    count = min(count, len(split.x_sensitive) // 2, len(split.x_test))
    held, kept = split.x_sensitive[-count:], split.x_sensitive[:-count]
    pick = torch.randperm(len(split.x_test), generator=random_generator(0))[:count]
    queries = to_model_range(torch.cat([split.x_test[pick], held]))
    on_s, on_u = (
        ReferenceDenoiser(to_model_range(x), width=width, density_only=True)
        for x in (kept, split.x_unlabeled)
    )
    found = []
    for t in times:
        noise = torch.randn(queries.shape, generator=random_generator(0, t))
        every_t = torch.full((len(queries),), t)
        x_t = add_noise(queries, noise, every_t, on_u.alphas_cumprod)
        # Of a few images at once, as in sampling: a bound on memory.
        ratio = torch.cat(
            [on_s(x, t).log_kernel - on_u(x, t).log_kernel for x in x_t.split(256)]
        )
        found.append(float(auc(ratio[:count], ratio[count:])))
    return found


def measure_steering(
    runs: Sequence[Experiment],
    odds: Mapping[str, Any],
    sweeps: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, Any], Tensor]:
    """Steer the models of `runs`, one a seed, and vary the hook of the first.

    Args:
        odds: arguments of `odds_hook` other than `count`, for all runs.
        sweeps: {argument of `odds_hook`: {label: value}}; each replaces that argument
            alone, for the first run. Values equal to the one in `odds` are not drawn
            twice.

    Returns:
        numbers: "judge", "sizes" of U, S and the held-out images, "seeds", "floors"
            (real normal images in place of samples, first seed), "real_to_unlabeled"
            (median distance of held-out images to U, a value a seed), "separation"
            {t: value} of the first seed, "plain" and "steered" (a row a seed: the KEPT
            numbers, median distances to U and to the held-out images, how many samples
            each class has), "sweeps" {argument: {label: row}}, "trace" of the first
            hook, "before" and "after": which of the kept pairs are sensitive.
        pairs: uint8 (2, SHOWN, C, H, W), samples of the first run from the same noise,
            plain and steered: those that were sensitive first, then others.

    Raises:
        ValueError: no runs, runs of different data or of one seed twice.
    """
    seeds = [run.seed for run in runs]
    if not runs or len({run.data for run in runs}) > 1 or len(set(seeds)) < len(seeds):
        raise ValueError(f"runs of seeds {seeds}, must be of one data set, a seed once")
    first = runs[0]
    splits = {run.seed: make_split(run.data, run.seed) for run in runs}
    results, models = run_many(runs), [load_model(run) for run in runs]
    device = str(next(models[0].parameters()).device)
    judge = load_judge(first.data, device=device)

    fresh = {
        (name, label): odds_hook(splits[first.seed], **{**odds, name: value})
        for name, sweep in sweeps.items()
        for label, value in sweep.items()
        if odds.get(name) != value
    }
    chosen = [odds_hook(splits[seed], **odds) for seed in seeds]
    jobs = list(zip(runs, models, chosen, strict=True))
    jobs += [(first, models[0], hook) for hook in fresh.values()]
    made = steered(jobs, splits, judge)

    def row(images: Tensor, numbers: Mapping[str, float], seed: int) -> dict[str, Any]:
        classes = classes_of(images, judge)
        counts = classes.bincount(minlength=len(judge.sensitive_classes))
        return {name: numbers[name] for name in KEPT} | {
            "to_unlabeled": median_nearest(images, splits[seed].x_unlabeled),
            "to_held_out": median_nearest(images, splits[seed].x_test),
            "classes": counts.tolist(),
        }

    rows = [row(x, n, job[0].seed) for (x, n, _), job in zip(made, jobs, strict=True)]
    after, swept = rows[: len(runs)], dict(zip(fresh, rows[len(runs) :], strict=True))
    split, plain = splits[first.seed], results[0]
    separated = separation(split, width=odds["width"], times=TIMES)
    order = plain.sensitive.int().argsort(descending=True, stable=True)[:SHOWN]
    numbers = {
        "judge": {
            name: getattr(judge, name)
            for name in ("accuracy", "sensitivity", "specificity")
        },
        "sizes": [len(x) for x in (split.x_unlabeled, split.x_sensitive, split.x_test)],
        "seeds": seeds,
        "floors": {f"{d}_floor": plain.numbers[f"{d}_floor"] for d in DISTANCES},
        "real_to_unlabeled": [
            median_nearest(splits[s].x_test, splits[s].x_unlabeled) for s in seeds
        ],
        "separation": dict(zip(map(str, TIMES), separated, strict=True)),
        "plain": [row(r.samples, r.numbers, r.experiment.seed) for r in results],
        "steered": after,
        "sweeps": {
            name: {label: swept.get((name, label), after[0]) for label in sweep}
            for name, sweep in sweeps.items()
        },
        "trace": by_time(chosen[0].trace),
        "before": plain.sensitive[order].tolist(),
        "after": made[0][2][order].tolist(),
    }
    return numbers, torch.stack([plain.samples[order], made[0][0][order]])
