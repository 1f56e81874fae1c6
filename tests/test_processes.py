"""A batch over two processes or in four pieces makes the step of the whole batch: the
sign of its risk is nobody's own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import replace_judge
from two_processes import CASES, SETTINGS, QuickJudge, first_step

from pudm_lib.diffusion.networks import make_unet
from pudm_lib.experiments import one as experiments
from pudm_lib.experiments.keys import training_key
from pudm_lib.experiments.settings import experiment
from pudm_lib.machine.store import load_tensors
from pudm_lib.training.batches import TrainingImages, batch_pieces
from pudm_lib.training.loop import train
from pudm_lib.training.losses import METHODS


def assert_same_step(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            other[name], one[name], rtol=1e-5, atol=1e-5, equal_nan=True, msg=name
        )
    gradients = [
        torch.cat([x.flatten() for n, x in sorted(y.items()) if n.endswith("exp_avg")])
        for y in (one, other)
    ]
    assert (gradients[0] - gradients[1]).norm() <= 1e-5 * gradients[0].norm()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two processes left, under gloo on the CPU."""
    folder = tmp_path_factory.mktemp("together")
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    # A free port: two test runs on one machine do not meet.
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(script)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUDM_RUNS", str(folder / "runs"))
        done = subprocess.run(
            [*command, str(folder)], capture_output=True, text=True, timeout=900
        )
    assert done.returncode == 0, done.stderr
    return folder


def local_risk(ell, sizes, piece, method, beta):
    """The negative risk that the holder of a piece would see by itself."""
    mine = torch.zeros(len(ell), dtype=torch.bool)
    mine[piece] = True
    whose = zip(ell.split(sizes), mine.split(sizes), strict=True)
    own = [part[kept] for part, kept in whose]
    return METHODS[method](*own, beta=beta, gamma=0.1).negative.item()


@pytest.mark.parametrize(("method", "beta"), CASES)
def test_two_processes_make_the_step_of_one(
    together, method, beta, tmp_path, monkeypatch
):
    seen = []
    whole = METHODS[method]

    def watched(*parts, **options):
        seen.append((torch.cat(parts).detach(), [len(p) for p in parts]))
        return whole(*parts, **options)

    monkeypatch.setitem(METHODS, method, watched)
    one, end = first_step(method, beta, tmp_path / "one.safetensors")
    monkeypatch.undo()
    if method.startswith(("pu", "pnu")):
        pieces = [
            batch_pieces(len(seen[0][0]), processes=2, rank=r, accumulate=1)[0]
            for r in (0, 1)
        ]
        local = [local_risk(*seen[0], piece, method, beta) for piece in pieces]
        assert min(local) < 0 < max(local), "the ranks' own signs do not differ"
        negative = one["history"][0, 2]
        assert negative > 0 if beta == 0.75 else negative < 0
    if method in ("unsupervised", "pu_non_negative", "pnu") and beta == 0.9:
        norm = sum(x.square().sum() for n, x in one.items() if n.endswith("exp_avg"))
        assert norm.sqrt() < 0.09, "clipped: a wrong scale would not be seen"
    assert_same_step(one, load_tensors(together / f"{method}-{beta}.safetensors")[0])
    ends = [
        load_tensors(together / f"{method}-{beta}-end-{r}.safetensors") for r in (0, 1)
    ]
    assert [facts["processes"] for _, facts in ends] == [2, 2]
    for name in end:
        torch.testing.assert_close(
            ends[0][0][name], ends[1][0][name], rtol=0, atol=0, equal_nan=True
        )


@pytest.mark.parametrize(("method", "beta"), CASES)
def test_four_pieces_make_the_step_of_the_whole(method, beta, tmp_path):
    one, _ = first_step(method, beta, tmp_path / "one.safetensors")
    path = tmp_path / "four.safetensors"
    assert_same_step(one, first_step(method, beta, path, accumulate=4)[0])


def test_two_processes_run_one_experiment(together, tmp_path, monkeypatch):
    ends = [load_tensors(together / f"experiment-{r}.safetensors")[0] for r in (0, 1)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    made = sorted((together / "runs").rglob("*.safetensors"))
    assert len(made) == 2, "the weights and one result"
    monkeypatch.setenv("PUDM_RUNS", str(tmp_path))
    replace_judge(monkeypatch, QuickJudge)
    alone = experiments.run(experiment("ci", device="cpu"))
    # Twenty steps of Adam amplify rounding, which in one step is below 1e-5.
    torch.testing.assert_close(
        ends[0]["loss"], alone.history["loss"], rtol=1e-3, atol=0
    )


def test_a_batch_smaller_than_its_pieces_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"accumulate=9 .* batch of 8 images into 9"):
        first_step("supervised", 0.1, tmp_path / "x.safetensors", accumulate=9)


def test_accumulation_makes_no_new_run():
    keys = [training_key(experiment("ci", accumulate=n)) for n in (1, 4)]
    assert keys[0] == keys[1]


def test_conditions_go_with_their_images(tmp_path):
    generator = torch.Generator().manual_seed(0)
    u = torch.randint(256, (12, 1, 8, 8), generator=generator, dtype=torch.uint8)
    conditions = {"unlabeled": torch.arange(12) % 3, "sensitive": torch.arange(5) % 3}
    seen = TrainingImages(u, 255 - u[:5], None, conditions)
    steps = []
    for accumulate in (1, 3):
        torch.manual_seed(3)
        model = make_unet("tiny", resolution=8, channels=1, num_conditions=3)
        settings = replace(SETTINGS, accumulate=accumulate)
        path = tmp_path / f"{accumulate}.safetensors"
        train(model, seen, settings, seed=0, checkpoint=path)
        steps.append(load_tensors(path)[0])
    assert_same_step(*steps)
