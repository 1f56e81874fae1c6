"""The command line: bad input ends in one line that says what is allowed."""

import doctest
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, replace_judge
from PIL import Image

import pudm_lib as pu
from pudm_lib.__main__ import main
from pudm_lib.book import claims, doctor
from pudm_lib.experiments import one as experiments
from pudm_lib.experiments.settings import experiment, setting_fields
from pudm_lib.machine import paths, store, terminal

CI = ("run", "--preset", "ci")


@pytest.fixture
def refused(project, capsys, monkeypatch):
    """Call the command line; its one line of error."""
    # What is refused is refused before the judge is asked; making it takes long.
    replace_judge(monkeypatch, lambda *_, **__: None)

    def call(*arguments: str, code: int = 2) -> str:
        assert main(arguments) == code
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in err and out == ""
        assert not list(project.rglob("*.safetensors")), "something was left"
        return lines[0]

    return call


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--dataset", "minst"), ["'minst'", "digits, mnist", "looked for"]),
        (("--normal", "cat"), ["'cat'", "0, 1, 2"]),
        (("--normal", "0,1,2,3,4,5,6,7,8,9"), ["no sensitive class"]),
        (("--method", "pu"), ["'pu'", "unsupervised", "pnu"]),
        (("--preset", "lap"), ["'lap'", "laptop", "paper"]),
        (("--network", "huge"), ["'huge'", "tiny, small"]),
        (("--beta", "1"), ["beta=1.0", "[0, 1)"]),
        (("--beta", "-0.1"), ["beta=-0.1", "[0, 1)"]),
        (("--beta", "nan"), ["beta=nan", "[0, 1)"]),
        (("--beta", "high"), ["--beta", "'high'", "a number or auto"]),
        (("--betta", "0.1"), ["--betta", "--help"]),
        (("--learning-rate", "inf"), ["learning_rate=inf", "finite and > 0"]),
        (("--guidance-scale", "inf"), ["guidance_scale=inf", "finite and >= 0"]),
        (("--seeds", "-1"), ["seed=-1"]),
        (("--steps", "0"), ["steps=0", ">= 1"]),
        (("--num-sensitive", "5000"), ["num_sensitive=5000", "616 sensitive"]),
        (("--method", "pnu"), ["needs normal images", "num_normal >= 1"]),
        (("--resolution", "7"), ["resolution=7", "multiple of 2"]),
        (("--num-inference-steps", "2000"), ["2000", "num_train_timesteps=1000"]),
        (("--device", "tpu"), ["'tpu'", "auto, cpu, cuda"]),
    ],
)
def test_bad_settings(refused, arguments, words):
    line = refused(*CI, *arguments)
    assert all(word in line for word in words), line


def test_absent_data_says_where_and_how(refused, project):
    line = refused(*CI, "--dataset", "mnist")
    assert str(project / "data") in line
    assert "python -m pudm_lib data fetch mnist" in line and "PUDM_DATA" in line


def test_damaged_mnist(refused, project):
    raw = project / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    assert "data fetch mnist" in refused(*CI, "--dataset", "mnist")


def test_damaged_npz(refused, project):
    arrays = {"images": np.zeros((40, 8, 8), np.uint8), "labels": np.arange(40) % 2}
    path = project / "mine.npz"
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in refused(*CI, "--dataset", str(path), "--normal", "0")


def test_a_file_that_is_no_image(refused, project):
    for label in ("cat", "dog"):
        (project / "mine" / label).mkdir(parents=True)
        for i in range(12):
            picture = Image.fromarray(np.full((8, 8), 20 * i, np.uint8))
            picture.save(project / "mine" / label / f"{i}.png")
    bad = [project / "mine" / "cat" / f"{i}.png" for i in range(12)]
    for path in bad:
        path.write_text("not an image")
    sizes = ("--num-unlabeled-normal", "4", "--num-unlabeled-sensitive", "1")
    line = refused(
        *CI, "--dataset", str(project / "mine"), "--normal", "cat", *sizes,
        "--num-sensitive", "2",
    )  # fmt: skip
    assert any(str(path) in line for path in bad) and "not a readable image" in line


def test_a_truncated_checkpoint_is_named(project, capsys, monkeypatch):
    replace_judge(monkeypatch, lambda *_, **__: None)
    path = experiments.folder(experiment("ci")) / "checkpoint.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert main(CI) == 2
    assert path.read_bytes() == b"\x10\0\0\0\0\0\0\0{", "the damaged file was touched"
    line = capsys.readouterr().err
    assert line.startswith("error: ") and str(path) in line and "delete it" in line


def test_a_loss_that_is_not_a_number(refused):
    line = refused(*CI, "--learning-rate", "1e30")
    assert all(w in line for w in ("not finite at step", "positive=", "negative=")), (
        line
    )


def test_an_unwritable_folder(refused, project, monkeypatch):
    (project / "file").write_text("")
    monkeypatch.setenv("PUDM_RUNS", str(project / "file" / "folder"))
    assert "cannot write in" in refused(*CI)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), ["COMMAND"]),
        (("train",), ["'train'", "run", "book", "claims", "doctor", "data"]),
        (("data", "fetch", "imagenet"), ["'imagenet'", "digits", "celeba"]),
        (("data", "show", "digits"), ["--out"]),
        (("book", "--preset", "lap"), ["'lap'", "laptop"]),
        (("book", "--only", "77"), ["'77'", "01_first"]),
        (("book", "--set", "betta=2"), ["'betta'", "beta"]),
        (("book", "--set", "beta=high"), ["beta='high'", "float"]),
        (("book", "--set", "beta"), ["name=value"]),
        (("book", "--set", "beta=" + "-" * 1000), ["beta='--", "...--", "float"]),
        (("book", "--set", "beta=" + "[" * 1000), ["beta='[[", "float"]),
        (("book", "--only", ""), ["no chapter ''", "01_first"]),
        (("book", "--only", "01, ,"), ["no chapter ''", "01_first"]),
        (("claims", "--preset", "lap"), ["'lap'", "laptop", "paper"]),
        (("book", "--preset", "ci", "--publish"), ["ci"]),
        (("claims",), ["no figures", "make book"]),
        (("claims", "--committed", "--preset", "gpu"), ["no figures", "'gpu'"]),
    ],
)
def test_bad_commands(refused, project, arguments, words):
    chapter = '# %% tags=["parameters"]\npreset = "laptop"\nbeta = 0.1\n'
    (project / "notebooks" / "01_first.py").write_text(chapter)
    line = refused(*arguments)
    assert all(word in line for word in words), line


def test_traceback_when_asked_for(project):
    with pytest.raises(ValueError, match="beta=2"):
        main([*CI, "--beta", "2", "--traceback"])


def test_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "pudm_lib", *CI, "--beta", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: beta=2.0") and done.stderr.count("\n") == 1


def program(*arguments: str, code: str = "", **environment: str):
    """A process of its own, with another environment."""
    run = ["-c", code, *arguments] if code else ["-m", "pudm_lib", *arguments]
    return subprocess.run(
        [sys.executable, *run],
        cwd=ROOT,
        capture_output=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        env=os.environ | environment,
        timeout=600,
    )


LOADED = """
import sys
from pudm_lib.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("loaded", *sys.modules)
"""


@pytest.mark.parametrize("command", ["--help", "data list", "claims --committed"])
def test_what_needs_no_numbers_loads_no_torch(command):
    done = program(*command.split(), code=LOADED)
    text, _, loaded = done.stdout.rpartition("loaded ")
    assert done.returncode == 0 and len(text) > 100, done.stderr
    heavy = {"torch", "torchvision", "diffusers", "accelerate", "matplotlib", "sklearn"}
    assert not heavy & {*loaded.split()}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("command", ["claims --committed", "claims --table"])
def test_prints_in_plain_letters_where_the_terminal_has_no_others(command, encoding):
    done = program(*command.split(), PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stderr == "" and ">= 0.95" in done.stdout
    assert doctest.testmod(terminal) == (0, 1)


def test_reads_and_prints_where_the_locale_knows_ascii_only():
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = program("claims", "--committed", **plain)
    assert done.returncode == 0 and ">= 0.95" in done.stdout, done.stderr
    done = program("data", "fetch", "caf\udcc3\udca9 τ", PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: argument name: invalid choice: 'caf")


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1"},
        {"WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "one", "LOCAL_RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "-1", "LOCAL_RANK": "0", "WORLD_SIZE": "2"},
    ],
)
def test_half_of_what_torchrun_says_is_refused(refused, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    line = refused(*CI)
    assert "RANK below WORLD_SIZE" in line and "torchrun" in line
    assert all(f"{name}='{value}'" in line for name, value in variables.items())


def test_a_distance_that_is_no_number_says_why(monkeypatch, capsys):
    monkeypatch.setattr("pudm_lib.measures.numbers.copies_share", lambda *_: 0.0)
    few = ["--num-unlabeled-normal", "1", "--seeds", "2"]
    assert main([*CI, *few]) == 0
    out = capsys.readouterr().out
    for kind in ("pixels", "classifier"):
        assert f"frechet_{kind}_floor is not a number: it was to compare 1 of" in out
    assert out.count("is not a number") == 2


def test_help_gives_ranges_and_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--beta FLOAT share of sensitive images in U, in [0, 1)" in text
    for name in setting_fields():
        assert name == "seed" or f"--{name.replace('_', '-')} " in text


def test_run_prints_a_row_a_seed(capsys):
    # The same seed twice is one model, so it needs no second process.
    assert main([*CI, "--seeds", "1", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[1] == rows[2] and rows[1].split()[0] == "1"
    numbers = experiments.run(experiment("ci", seed=1)).numbers
    assert f"{numbers['non_sensitive_rate']:.3f}" in rows[1]


def record(name: str, preset: str, *made: dict) -> dict:
    return {"figure": name, "preset": preset, "claims": store.plain(list(made))}


@pytest.fixture
def written(project):
    def write(folder, *records):
        for r in records:
            text = json.dumps(r)
            paths.write_atomically(folder / r["preset"] / f"{r['figure']}.json", text)

    return write


HOLDS = claims.check("rate is high", 0.97, at_least=0.95, interval=(0.96, 0.98))
FAILS = claims.check("distance is | low", 9.0, at_most=1.0)
REFUTED = claims.predict(
    "nothing changes", 0.4, at_most=0.1, interval=(0.3, 0.5), source="paper"
)
UNMEASURED = claims.check("rate is there", float("nan"), at_least=0, at_most=1)


@pytest.mark.parametrize(
    "made, code, words",
    [
        ([record("05_a", "laptop", HOLDS)], 0, ["0.97 [0.96, 0.98], ≥ 0.95"]),
        ([record("05_a", "laptop", HOLDS, FAILS)], 1, ["FAILS", "1 FAILS, 1 holds"]),
        ([record("05_a", "laptop", REFUTED)], 0, ["refuted", "paper", "0.5], ≤ 0.1"]),
        ([record("05_a", "laptop", UNMEASURED)], 1, ["not a number, ≥ 0 and ≤ 1"]),
    ],
)
def test_claims(written, capsys, made, code, words):
    written(paths.figures_root(), *made)
    assert main(["claims"]) == code
    out = capsys.readouterr().out
    assert all(word in out for word in words), out


def test_claims_of_one_preset(written, capsys):
    written(
        paths.figures_root(),
        record("05_a", "laptop", HOLDS),
        record("05_a", "gpu", FAILS),
    )
    assert main(["claims", "--preset", "laptop"]) == 0
    assert main(["claims", "--preset", "gpu"]) == 1
    assert main(["claims"]) == 1


def test_readme_table_comes_from_the_committed_figures(written, project, capsys):
    written(paths.curated_figures_root(), record("05_a", "laptop", HOLDS, FAILS))
    readme = project / "README.md"
    readme.write_text(f"before\n{claims.BEGIN}\nold\n{claims.END}\nafter\n")
    assert main(["claims", "--table"]) == 1
    table = capsys.readouterr().out.strip()
    row = "| laptop | 05_a | rate is high | check | ours | 0.97 [0.96, 0.98] | ≥ 0.95 |"
    assert row in table
    assert "distance is \\| low" in table
    main(["claims", "--write-readme"])
    assert readme.read_text() == (
        f"before\n{claims.BEGIN}\n{table}\n{claims.END}\nafter\n"
    )
    readme.write_text("no markers")
    assert main(["claims", "--write-readme"]) == 2
    assert readme.read_text() == "no markers"


def test_data_list_and_fetch(project, capsys):
    raw = project / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "digits   inside scikit-learn" in out
    assert "mnist    not found; `python -m pudm_lib data fetch mnist`" in out
    assert str(project / "data") in out
    (raw / "train-images-idx3-ubyte").touch()
    assert main(["data", "list"]) == 0
    assert f"mnist    in {raw}\n" in capsys.readouterr().out
    assert {*pu.data.known.FOLDERS} == {*pu.data.NAMES} - {"digits"}
    reading = "\n".join(pu.book.readable_sets())
    assert "digits   1,221 train + 576 test" in reading
    assert "mnist    unreadable" in reading or "mnist    not found" in reading
    assert main(["data", "fetch", "digits"]) == 0
    assert "1,221 train + 576 test images" in capsys.readouterr().out


def test_data_show_writes_a_picture(tmp_path):
    out = tmp_path / "digits.png"
    assert main(["data", "show", "digits", "--out", str(out)]) == 0
    assert Image.open(out).width > 500


def test_doctor(monkeypatch, capsys):
    # The timing itself is seconds of training; its arithmetic is tested below.
    monkeypatch.setattr(doctor, "seconds_a_model", lambda *_: (7200.0, 90.0, "steps"))
    monkeypatch.setitem(doctor.WIDGETS, "ipywidgets", "7")
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "no-such-package     MISSING: python -m pip install" in out
    assert "WRONG, widgets need ipywidgets 7" in out
    assert "measured here" in out and "training about 2 h, sampling about 90 s" in out
    assert out.count("training about") == 4


def test_doctor_times_the_presets_budget(monkeypatch):
    monkeypatch.setattr(doctor, "_train_seconds", lambda *_: 0.01)
    monkeypatch.setattr(doctor, "_sampling_seconds", lambda *_: 0.001)
    settings = experiment("laptop")
    training, sampling, measured = doctor.seconds_a_model(settings, 8, 1)
    batch = settings.training.batch_unlabeled + settings.training.batch_sensitive
    assert training == pytest.approx(0.01 * settings.training.steps)
    draws = settings.sampling.num_samples * settings.sampling.num_inference_steps
    assert sampling == pytest.approx(0.001 * draws)
    assert measured == f"5 steps of {batch} images"


def test_doctor_trains_a_few_real_steps():
    line = doctor._budget("ci")
    assert line.strip().startswith("ci")
