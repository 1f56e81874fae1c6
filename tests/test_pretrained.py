"""Fine-tuning: a pipeline saved here is loaded, one that does not fit refused."""

import json
import os

import pytest
import torch
from conftest import replace_judge
from diffusers import DDPMPipeline, DDPMScheduler
from two_processes import QuickJudge

from pudm_lib.__main__ import main
from pudm_lib.diffusion import pretrained
from pudm_lib.diffusion.networks import make_unet
from pudm_lib.diffusion.pretrained import PretrainedError, load_pretrained
from pudm_lib.experiments import one as experiments
from pudm_lib.experiments.keys import training_key
from pudm_lib.experiments.one import run
from pudm_lib.experiments.settings import experiment


def saved(folder, *, channels=1, **schedule):
    torch.manual_seed(5)
    unet = make_unet("tiny", resolution=8, channels=channels)
    DDPMPipeline(unet, DDPMScheduler(**schedule)).save_pretrained(folder)
    return unet.state_dict()


def load(folder, resolution=8, channels=1, num_train_timesteps=1000):
    return load_pretrained(
        str(folder),
        resolution=resolution,
        channels=channels,
        num_train_timesteps=num_train_timesteps,
    )


@pytest.mark.parametrize("layout", ["pipeline", "flat", "network alone"])
def test_the_weights_are_those_saved(tmp_path, layout):
    folder = tmp_path / "model"
    weights = saved(folder)
    if layout == "network alone":
        folder = folder / "unet"
    elif layout == "flat":  # as google/ddpm-cifar10-32
        for part in ("unet", "scheduler"):
            for file in (folder / part).iterdir():
                file.rename(folder / file.name)
            (folder / part).rmdir()
    found = load(folder).state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    with pytest.raises(PretrainedError, match=r"sample_size=8.*needs sample_size=16"):
        load(folder, resolution=16)


def test_an_experiment_starts_from_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PUDM_RUNS", str(tmp_path / "runs"))
    replace_judge(monkeypatch, QuickJudge)
    weights = saved(tmp_path / "model")
    e = experiment(
        "ci", pretrained=str(tmp_path / "model"), steps=1, learning_rate=1e-9
    )
    assert experiment("ci", **e.flat()) == e
    run(e)
    trained = experiments.load_model(e).state_dict()
    for name in weights:
        torch.testing.assert_close(trained[name], weights[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("made", "asked", "words"),
    [
        ({"channels": 3}, {}, r"in_channels=3, out_channels=3.* needs in_channels=1"),
        ({"beta_end": 0.012}, {}, r"linear from 0.0001 to 0.012.* 0.0001 to 0.02$"),
        ({"beta_schedule": "squaredcos_cap_v2"}, {}, "schedule squaredcos_cap_v2"),
        ({"prediction_type": "v_prediction"}, {}, r"='v_prediction'.*='epsilon'"),
        ({}, {"num_train_timesteps": 50}, "timesteps=1000, .*timesteps=50"),
    ],
)
def test_another_model_or_schedule_is_refused_and_both_are_named(
    tmp_path, made, asked, words
):
    saved(tmp_path / "model", **made)
    with pytest.raises(PretrainedError, match=words):
        load(tmp_path / "model", **asked)


def test_damaged_pickled_and_foreign_weights_are_refused(tmp_path):
    saved(tmp_path / "model")
    path = tmp_path / "model" / "unet" / pretrained.WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PretrainedError, match="cannot be read from"):
        load(tmp_path / "model")
    path.rename(path.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(PretrainedError, match="can run code"):
        load(tmp_path / "model")
    config = tmp_path / "model" / "unet" / "config.json"
    facts = json.loads(config.read_text()) | {"_class_name": "UNet2DConditionModel"}
    config.write_text(json.dumps(facts))
    with pytest.raises(PretrainedError, match="'UNet2DConditionModel'"):
        load(tmp_path / "model")


@pytest.mark.parametrize("settings", ["[]", "null", '"linear"'])
def test_no_hub_is_asked_for_a_scheduler_without_settings(tmp_path, settings):
    saved(tmp_path / "model")
    (tmp_path / "model" / "scheduler" / "scheduler_config.json").write_text(settings)
    with pytest.raises(PretrainedError, match="must be names and values"):
        load(tmp_path / "model")


def test_what_the_hub_does_not_give_is_one_line(monkeypatch, capsys, project):
    def offline(name, **_):
        raise OSError(f"no\nnetwork for {name}")

    monkeypatch.setattr(pretrained.huggingface_hub, "snapshot_download", offline)
    assert main(["run", "--preset", "ci", "--pretrained", "some/model"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "'some/model' is no folder" in lines[0]
    assert "no network for some/model" in lines[0]


def test_the_key_follows_the_content_and_not_the_time(tmp_path):
    saved(tmp_path / "model")
    e = experiment("ci", pretrained=str(tmp_path / "model"))
    before = training_key(e)
    assert before != training_key(experiment("ci"))
    config = tmp_path / "model" / "unet" / "config.json"
    os.utime(config, (1, 1))
    assert training_key(e) == before
    config.write_text(config.read_text() + " ")
    assert training_key(e) != before
