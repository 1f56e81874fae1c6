"""Steering measured: the hook of a split, what the odds can tell, and what is kept."""

import pytest
import torch

from pudm_lib.data.splits import PUSplit, make_split
from pudm_lib.diffusion.process import random_generator
from pudm_lib.experiments.one import load_model, run
from pudm_lib.experiments.settings import experiment
from pudm_lib.measures.judge import load_judge
from pudm_lib.steering.safe_denoiser import odds_hook
from pudm_lib.studies import steered_sets as steering_study
from pudm_lib.studies.steered_sets import SHOWN, separation, steered

ODDS = {"share": 0.4, "width": 1.0, "window": [0, 480], "cap": 4.0}


def flat_images(n, mean, seed):
    """uint8 (n, 1, 8, 8): noise about one grey level."""
    noise = torch.randn(n, 1, 8, 8, generator=random_generator(seed))
    return (mean + 25 * noise).clamp(0, 255).to(torch.uint8)


def split_of(normal=80, sensitive=170, n=300):
    """Normal and sensitive images about two levels; one in eleven of U is sensitive."""
    hidden = torch.arange(n) % 11 == 0
    u = flat_images(n, normal, 1)
    u[hidden] = flat_images(int(hidden.sum()), sensitive, 2)
    return PUSplit(
        x_unlabeled=u,
        x_sensitive=flat_images(100, sensitive, 3),
        x_normal=u[:0],
        x_test=flat_images(100, normal, 4),
        hidden_labels=hidden,
        indices={},
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of the tiny digits experiment, in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUDM_RUNS", str(tmp_path_factory.mktemp("runs")))
        settings = {"method": "unsupervised", "num_samples": 24}
        yield [experiment("ci", **settings, seed=seed) for seed in (3, 4)]


# -- the hook ------------------------------------------------------------------------


def test_the_hook_weighs_what_looks_sensitive():
    split = split_of()
    hook, t = odds_hook(split, **ODDS), 300
    root = hook.unsafe.alphas_cumprod[t].sqrt().float()
    x_t = root * torch.full((2, 1, 8, 8), 170 / 127.5 - 1)
    x_t[1] = root * (80 / 127.5 - 1)
    on_sensitive, on_normal = hook.log_weight(x_t, t, hook.unsafe(x_t, t)).exp()
    assert on_sensitive > 0.5 and on_normal < 0.05


def test_the_hook_takes_the_first_of_s_its_window_and_cap():
    hook = odds_hook(split_of(), **ODDS, count=7)
    assert len(hook.unsafe.references) == 7
    assert (hook.window, hook.cap, hook.log_weight.beta) == ((0, 480), 4.0, 0.4)
    # Both sides of the odds have the same width, or they would not cancel.
    assert hook.unsafe.width == hook.log_weight.unlabeled.width == 1.0


@pytest.mark.parametrize("count", [0, -1, 101])
def test_a_count_of_references_that_are_not_there_is_refused(count):
    with pytest.raises(ValueError, match=rf"count={count}, must be in 1 \.\. 100"):
        odds_hook(split_of(), **ODDS, count=count)


# -- what the odds can tell ----------------------------------------------------------


def test_separation_is_sure_at_low_noise_and_chance_at_the_highest():
    low, high = separation(split_of(), width=0.3, times=[50, 999], count=50)
    assert low > 0.99 and 0.3 < high < 0.75


def test_separation_keeps_what_it_compares_out_of_the_references():
    # S and U of one law: only images that meet themselves could be told apart.
    (found,) = separation(split_of(80, 80), width=0.0, times=[20], count=50)
    assert 0.35 < found < 0.65


# -- samples and numbers -------------------------------------------------------------


def test_jobs_keep_their_order_and_their_noise(runs):
    splits = {r.seed: make_split(r.data, r.seed) for r in runs}
    models = [load_model(r) for r in runs]
    judge = load_judge(runs[0].data)
    jobs = list(zip(runs, models, [None, None], strict=True))
    for (images, numbers, sensitive), plain in zip(
        steered(jobs, splits, judge), map(run, runs), strict=True
    ):
        assert torch.equal(images, plain.samples)
        assert torch.equal(sensitive, plain.sensitive)
        assert numbers["frechet_pixels"] == plain.numbers["frechet_pixels"]


def test_a_study_varies_one_argument_and_draws_the_chosen_one_once(runs, monkeypatch):
    drawn = []
    whole = steering_study.steered
    monkeypatch.setattr(
        steering_study,
        "steered",
        lambda jobs, *a: drawn.extend(jobs) or whole(jobs, *a),
    )
    sweeps = {"share": {"0": 0.0, "0.4": 0.4}, "count": {"5": 5, "all": None}}
    numbers, pairs = steering_study.measure_steering(runs, ODDS, sweeps)
    assert len(drawn) == 4  # two seeds, share 0 and five references
    assert numbers["seeds"] == [3, 4] and len(numbers["real_to_unlabeled"]) == 2
    plain, chosen = numbers["plain"], numbers["steered"]
    assert len(plain) == len(chosen) == 2 and plain[0] != plain[1]
    assert numbers["sweeps"]["share"] == {"0": plain[0], "0.4": chosen[0]}
    assert numbers["sweeps"]["count"]["all"] == chosen[0]
    assert numbers["sweeps"]["count"]["5"] != chosen[0]
    assert all(sum(row["classes"]) == 24 for row in plain + chosen)
    assert list(numbers["separation"]) == [str(t) for t in steering_study.TIMES]
    assert pairs.shape == (2, SHOWN, 1, 8, 8)


def test_the_pairs_are_of_the_same_noise_the_sensitive_first(runs):
    numbers, pairs = steering_study.measure_steering(
        runs[:1], ODDS | {"share": 0.0}, {}
    )
    assert torch.equal(pairs[0], pairs[1])
    assert numbers["before"] == numbers["after"] == sorted(numbers["before"])[::-1]
    result = run(runs[0])
    assert sum(numbers["before"]) == min(SHOWN, int(result.sensitive.sum()))


def test_runs_that_are_not_seeds_of_one_set_are_refused(runs):
    for wrong in ([], [runs[0], runs[0]]):
        with pytest.raises(ValueError, match=r"must be of one data set, a seed once"):
            steering_study.measure_steering(wrong, ODDS, {})
    other = experiment("ci", normal="odd", method="unsupervised", seed=9)
    with pytest.raises(ValueError, match=r"seeds \[3, 9\], must be of one data set"):
        steering_study.measure_steering([runs[0], other], ODDS, {})
