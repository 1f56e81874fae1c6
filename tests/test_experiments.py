"""The cache: what makes a new run, what does not, and that two processes share one."""

import multiprocessing
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from pudm_lib.data.splits import make_split
from pudm_lib.experiments import settings as experiment_settings
from pudm_lib.experiments.keys import result_key, training_key
from pudm_lib.experiments.many import run_many, side_by_side
from pudm_lib.experiments.one import (
    asked_conditions,
    draw,
    folder,
    is_done,
    load_model,
    run,
)
from pudm_lib.experiments.settings import BETA_MULTIPLE, PRESETS, experiment
from pudm_lib.machine.store import CheckpointError, load_tensors
from pudm_lib.measures.judge import load_judge
from pudm_lib.prior.estimate import Estimate, estimate_beta
from pudm_lib.steering.guidance import Guided


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One runs/ folder for the module, so that the judge is trained once."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("runs")
        patch.setenv("PUDM_RUNS", str(path))
        yield path


def test_the_judge_of_digits_is_as_good_as_asked(runs):
    judge = load_judge(experiment("laptop").data)
    assert judge.accuracy >= 0.985
    assert judge.num_test == 576


def test_a_second_run_reads_what_the_first_one_made(runs):
    e = experiment("ci", seed=3)
    assert not is_done(e)
    first = run(e)
    files = {f: f.stat().st_mtime_ns for f in runs.rglob("*.safetensors")}
    second = run(e)
    assert {f: f.stat().st_mtime_ns for f in runs.rglob("*.safetensors")} == files
    assert torch.equal(first.samples, second.samples)
    assert first.numbers == second.numbers
    assert first.samples.dtype == torch.uint8 and first.samples.shape == (64, 1, 8, 8)
    assert first.history["loss"].shape == (e.training.steps,)
    rate = 1 - first.sensitive.float().mean().item()
    assert first.numbers["non_sensitive_rate"] == pytest.approx(rate)
    assert not list(runs.rglob("checkpoint*")), "a finished run keeps no checkpoint"


def test_side_by_side_gives_what_one_by_one_gives(runs, tmp_path, monkeypatch):
    several = [experiment("ci", seed=s) for s in (4, 5)]
    together = run_many(several, workers=2)
    shutil.copytree(runs / "judges", tmp_path / "judges")
    monkeypatch.setenv("PUDM_RUNS", str(tmp_path))
    alone = [run(e) for e in several]
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a.samples, b.samples)


def _ask(seed):
    run(experiment("ci", seed=seed))


def test_two_processes_asking_for_one_run_make_it_once(runs):
    context = multiprocessing.get_context("spawn")
    asking = [context.Process(target=_ask, args=(6,)) for _ in range(2)]
    for process in asking:
        process.start()
    for process in asking:
        process.join(900)  # a deadline for a test that would hang, and no claim
    assert [process.exitcode for process in asking] == [0, 0]
    made = list(folder(experiment("ci", seed=6)).glob("*.safetensors"))
    assert len(made) == 2  # the weights and one result, no leftovers


def test_only_what_matters_makes_a_new_run():
    e = experiment("laptop", method="pu_non_negative")
    key = training_key(e)
    for name, value in (("beta", 0.2), ("seed", 1), ("num_sensitive", 100)):
        assert training_key(experiment("laptop", **{name: value})) != key, name
    for name, value in (("gamma", 0.1), ("checkpoint_every", 7), ("num_samples", 50)):
        assert training_key(experiment("laptop", **{name: value})) == key, name
    assert result_key(experiment("laptop", num_samples=50)) != result_key(e)
    assert result_key(experiment("laptop", sampling_batch=50)) == result_key(e)
    plain = [
        experiment("laptop", method="unsupervised", beta=beta) for beta in (0.0, 0.3)
    ]
    assert training_key(plain[0]) == training_key(plain[1])


def test_a_truncated_result_is_named(runs):
    e = experiment("ci", seed=3)
    run(e)
    path = folder(e) / f"result-{result_key(e)}.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(CheckpointError, match=r"result-.*truncated or damaged"):
        run(e)
    path.write_bytes(content)


def test_a_refused_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PUDM_RUNS", str(tmp_path / "runs"))
    for wrong in ({"normal": "purple"}, {"num_sensitive": 9999}, {"resolution": 7}):
        with pytest.raises(ValueError):
            run(experiment("ci", **wrong))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "huge"}, "preset='huge', must be one of ci, laptop, gpu, paper"),
        ({"metod": "pnu"}, "unknown setting 'metod'; there are: .*method"),
        ({"beta": "0.1"}, "beta='0.1', must be of type float"),
        ({"steps": 2.5}, "steps=2.5, must be of type int"),
        ({"steps": True}, "steps=True, must be of type int"),
        ({"network": "giant"}, "network='giant', must be one of tiny, small"),
        ({"seed": -1}, "seed=-1, must be in"),
        ({"guidance_scale": 2.0}, "guidance_scale=2.0 guides towards a condition"),
        ({"condition": "pairs", "guidance_scale": -1.0}, "guidance_scale=-1.0, must"),
        ({"p_uncond": 1.5}, r"p_uncond=1.5, must be in \[0, 1\]"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        experiment(**settings)


def test_a_conditional_experiment_asks_for_each_condition_in_turn(runs):
    e = experiment("ci", condition="pairs", guidance_scale=2.0, seed=8)
    assert asked_conditions(e)[:7].tolist() == [0, 1, 2, 3, 4, 0, 1]
    guided, network = run(e), load_model(e)
    assert network.config.num_class_embeds == 6
    split = make_split(e.data, 8)
    assert torch.equal(draw(e, Guided(network, 2.0), split), guided.samples)
    plain = run(experiment("ci", condition="pairs", seed=8))
    assert torch.equal(draw(e, Guided(network, 1.0), split), plain.samples)
    assert not torch.equal(plain.samples, guided.samples)
    assert asked_conditions(experiment("ci")) is None


def test_only_a_conditional_experiment_counts_what_is_for_conditions():
    def all_keys(**settings):
        e = experiment("ci", **settings)
        return training_key(e), result_key(e)

    plain, pairs = all_keys(), all_keys(condition="pairs")
    assert all_keys(p_uncond=0.2) == plain
    assert all_keys(condition="pairs", p_uncond=0.2)[0] != pairs[0] != plain[0]
    more = all_keys(condition="pairs", guidance_scale=3.0)
    assert more[0] == pairs[0] and more[1] != pairs[1]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10", "stl10", "celeba"])
def test_every_preset_makes_an_experiment_of_every_set(preset, dataset):
    e = experiment(preset, dataset=dataset)
    assert e.data.dataset == dataset
    assert experiment(preset, **e.flat()) == e


def test_an_automatic_beta_is_a_multiple_of_the_estimate_and_is_kept(runs):
    e = experiment("ci", beta="auto", seed=8)
    split = make_split(e.data, 8)
    estimate = estimate_beta(split.x_unlabeled, split.x_sensitive, seed=8)
    assert e.beta_estimate == estimate
    assert e.training.beta == round(BETA_MULTIPLE * estimate.value, 4) > 0
    given = experiment("ci", beta=e.training.beta, seed=8)
    assert training_key(e) == training_key(given), "one model for both"
    assert result_key(e) != result_key(given)
    run(given)
    run(e)
    _, facts = load_tensors(folder(e) / f"result-{result_key(e)}.safetensors")
    kept = facts["experiment"]["beta_estimate"]
    assert kept["method"] == estimate.method
    beta = facts["experiment"]["training"]["beta"]
    assert beta == round(BETA_MULTIPLE * kept["value"], 4)
    assert [kept["low"], kept["high"]] == [estimate.low, estimate.high]


def test_an_automatic_beta_that_cannot_be_is_refused(monkeypatch):
    def all_of_it(*_, **__):
        return Estimate(0.9, 0.8, 1.0, "dedpul", 0.9, 660, 150)

    monkeypatch.setattr(experiment_settings, "estimate_beta", all_of_it)
    with pytest.raises(ValueError, match=r"times the estimate 0\.900 is not below 1"):
        experiment("ci", beta="auto")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="S must not be larger than U"):
        experiment("ci", beta="auto", num_unlabeled_normal=40, num_sensitive=150)


def test_paper_presets_have_table_1():
    e = experiment("paper", dataset="cifar10", normal="vehicles")
    sizes = (e.data.num_unlabeled_normal, e.data.num_unlabeled_sensitive)
    assert (*sizes, e.data.num_sensitive) == (20_000, 2_000, 2_000)
    assert (e.training.steps, e.training.augmentation) == (18_800, "none")
    assert replace(e.training, steps=1).batching == "random"


def test_a_changed_picture_makes_a_new_run(tmp_path):
    path = tmp_path / "own.npz"
    arrays = {"labels": np.arange(40) % 2}
    np.savez(path, images=np.zeros((40, 8, 8), np.uint8), **arrays)
    e = experiment("ci", dataset=str(path), normal="0")
    before = training_key(e)
    assert training_key(e) == before
    np.savez(path, images=np.ones((40, 8, 8), np.uint8), **arrays)
    os.utime(path, (1, 1))
    assert training_key(e) != before


def _fail_or_wait(item, report):
    name, folder = item
    if name == "fails":
        raise ValueError("this one fails")
    time.sleep(300)
    (folder / "ended").touch()


def test_a_failure_does_not_wait_for_the_other_models(tmp_path):
    items = [("waits", tmp_path), ("fails", tmp_path)]
    with pytest.raises(ValueError, match="this one fails"):
        side_by_side(_fail_or_wait, items, workers=2, total=2)
    assert not (tmp_path / "ended").exists()
