"""What tiny runs of every stage give: the numbers of golden/numbers.json, which say
when the version of a stage has to be raised. test_versions.py compares and renews them.

Each stage gets inputs that few others have touched, so that a change moves the numbers
of its own stage, and those of the stages that begin with what it made.
"""

import itertools
import json
import zlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from PIL import Image

from pudm_lib.data.datasets import open_dataset
from pudm_lib.data.pixels import to_model_range
from pudm_lib.data.splits import DataSettings, PUSplit, make_split
from pudm_lib.detection.outcomes import sweep
from pudm_lib.detection.shortcuts import matched_indices, noisy, quantise
from pudm_lib.diffusion.networks import UNETS, make_unet
from pudm_lib.diffusion.sampling import SCHEDULERS
from pudm_lib.experiments.budgets import network_cost
from pudm_lib.experiments.one import draw, folder, load_model, make_network
from pudm_lib.experiments.settings import Experiment, experiment
from pudm_lib.machine.devices import versions
from pudm_lib.machine.store import VERSION, load_tensors
from pudm_lib.measures import judge
from pudm_lib.measures.numbers import measure
from pudm_lib.prior.estimators import ESTIMATORS
from pudm_lib.steering.guidance import Guided
from pudm_lib.studies import beta_estimates, detector_runs
from pudm_lib.studies.detector_tables import SCORES, all_detectors
from pudm_lib.training.augment import AUGMENTATIONS
from pudm_lib.training.losses import METHODS

GOLDEN = Path(__file__).parent / "golden" / "numbers.json"
RENEW = ".venv/bin/python tests/test_versions.py --renew"

# The stages whose versions are in the key of what a stage begins with: where one of
# them is raised, this stage's results are made anew as well.
AFTER = {
    "data": (),
    "training": ("data",),
    "sampling": ("data", "training"),
    "guidance": ("data", "training", "sampling"),
    "judge": ("data",),
    "measures": ("data",),
    "estimates": ("data",),
    "detection": ("data", "training"),
}

FACTORS = {
    "method": tuple(METHODS),
    "augmentation": AUGMENTATIONS,
    "condition": ("none", "pairs"),
    "sampler": tuple(SCHEDULERS),
    "channels": (1, 3),  # a judge of grey images, one of coloured ones
    "batching": ("stratified", "random"),
    "reduction": ("sum", "mean"),
}
# Chosen so that every part of a training shows after a few steps: with this beta the
# negative risk has either sign, with this tau exp(-ell) is neither 0 nor 1.
TINY = {
    "num_unlabeled_normal": 40,
    "num_unlabeled_sensitive": 10,
    "num_sensitive": 12,
    "num_normal": 12,
    "steps": 6,
    "warmup_steps": 2,
    "batch_unlabeled": 8,
    "batch_sensitive": 4,
    "batch_normal": 4,
    "beta": 0.95,
    "gamma": 0.4,
    "tau": 20.0,
    "p_uncond": 0.3,
    "weight_decay": 5.0,
    "num_samples": 6,
    "num_inference_steps": 4,
    "device": "cpu",
}
# Processors round differently, and training carries that on: these are several times
# the differences between those with and without AVX2 and AVX-512. The measures' inputs
# are the same everywhere; the judge's training carries rounding furthest.
TOLERANCE = {"rel": 3e-3, "abs": 1e-3}
TOLERANCE_OF = {
    "measures": {"rel": 3e-3, "abs": 1e-5},
    "judge": {"rel": 5e-3, "abs": 5e-3},
}
# What is made smaller below.
BUDGETS = {"images_seen": dict(judge.IMAGES_SEEN)} | {
    "replicates": {"": beta_estimates.REPLICATES, **beta_estimates.FEW_REPLICATES}
}

Numbers = dict[str, dict[str, list]]  # "stage: run" -> name -> numbers


def pairs_in(values: tuple) -> set:
    """Every two factors' values in one combination."""
    return set(itertools.combinations(enumerate(values), 2))


def pairwise() -> list[tuple]:
    """Combinations in which every pair of values of two factors occurs.

    Every method with every augmentation, in this order, so that a method that is added
    changes none of the runs before; what else, by how many pairs are still missing.
    """
    first, others = list(FACTORS.values())[:2], list(FACTORS.values())[2:]
    missing = set().union(*map(pairs_in, itertools.product(*FACTORS.values())))
    chosen = []
    for head in itertools.product(*first):
        every = [head + tail for tail in itertools.product(*others)]
        chosen.append(max(every, key=lambda values: len(pairs_in(values) & missing)))
        missing -= pairs_in(chosen[-1])
    return chosen


def made_now(path: Path) -> Numbers:
    """All numbers; what the library keeps on disk it keeps below `path`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUDM_RUNS", str(path / "runs"))
        found = _of_data(path) | _of_networks() | _of_measures() | _of_detection()
        for seed, values in enumerate(pairwise()):
            change = dict(zip(FACTORS, values, strict=True))
            if change["condition"] != "none":
                change["guidance_scale"] = 3.0
            e = experiment("ci", seed=seed, **TINY, **change)
            found |= _of_run(e, " ".join(map(str, values)))
        few = dict.fromkeys(("digits", str(path / "small.npz")), 640)  # ten steps
        patch.setattr(judge, "IMAGES_SEEN", few)
        patch.setattr(beta_estimates, "REPLICATES", 4)
        patch.setattr(beta_estimates, "FEW_REPLICATES", {})
        return found | _of_judges(path) | _of_estimates()


def _of_run(e: Experiment, name: str) -> Numbers:
    split = make_split(e.data, e.seed)
    before, model = make_network(e, split), load_model(e)
    kept, _ = load_tensors(folder(e) / "model.safetensors")
    history = [kept[n][-1] for n in sorted(kept) if n.startswith("history.")]
    pairs = zip(model.parameters(), before.parameters(), strict=True)
    with torch.no_grad():
        moved = torch.cat([(a - b).flatten() for a, b in pairs]).norm()
        noise = torch.randn(
            before.config.in_channels, 8, 8, generator=torch.Generator().manual_seed(0)
        )
        x_t, t = noise.expand(4, -1, -1, -1), torch.tensor([10, 300, 600, 990])
        c = () if split.conditions is None else (torch.tensor([0, 1, 4, 5]),)
        eps_hat = model(x_t, t, *c).sample
    found = {
        f"data: {name}": _split_numbers(split),
        f"training: {name}": {
            "history": _rounded(*history),
            "moved": _rounded(moved),
            "eps_hat": _rounded(*eps_hat.abs().mean((1, 2, 3)), eps_hat.std()),
        },
        f"sampling: {name}": _image_numbers(draw(e, model, split)),
    }
    if split.conditions is not None:
        guided = draw(e, Guided(model, e.sampling.guidance_scale), split)
        found[f"guidance: {name}"] = _image_numbers(guided)
    return found


def _of_data(path: Path) -> Numbers:
    """Own files, which have to be read, cut, resized and made grey."""
    generator = np.random.default_rng(0)
    # These are read as they are, by the judge.
    labels = np.arange(400) % 3
    small = (
        generator.integers(0, 180, (400, 8, 8, 3)) + 25 * labels[:, None, None, None]
    )
    np.savez(path / "small.npz", images=small.astype(np.uint8), labels=labels)
    photos = generator.integers(0, 256, (60, 12, 10, 3), np.uint8)
    np.savez(path / "photos.npz", images=photos, labels=np.arange(60) % 3)
    for i, photo in enumerate(photos):
        file = path / "folder" / f"class{i % 3}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo[: 12 - i % 2]).save(file)
    found = {}
    for name, normal in (("photos.npz", "0"), ("folder", "class0")):
        settings = DataSettings(str(path / name), normal, 8, 3, 4, 2, 8, 1)
        found[f"data: {name}"] = _split_numbers(make_split(settings, 0))
    return found


def _of_networks() -> Numbers:
    """Those that are too large to be trained here are counted."""
    costs = {size: network_cost(size, resolution=8, channels=1) for size in UNETS}
    parts = {size: [c.parameters, c.forward_flops] for size, c in costs.items()}
    return {"training: networks": parts}


class _BrightIsSensitive:
    """A judge that no training and no rounding moves."""

    sensitivity, specificity, accuracy = 0.9, 0.95, 0.93

    def __call__(self, images):
        features = images.flatten(1)[:, 3::7].float() / 255
        return features.mean(1) > 0.3, features


def _of_measures() -> Numbers:
    found = {}
    for name, channels, times in (("8x8", 1, 1), ("8x8 rgb", 3, 1), ("24x24", 1, 3)):
        settings = DataSettings("digits", "even", 60, 10, 20, channels=channels)
        split = _enlarged(make_split(settings, 1), times)
        # Copies, images as far from U as real ones are, and others.
        parts = split.x_unlabeled[:8], split.x_test[:40], split.x_sensitive
        numbers, _ = measure(torch.cat(parts), split, _BrightIsSensitive())
        found[f"measures: {name}"] = {n: _rounded(v) for n, v in numbers.items()}
    return found


def _enlarged(split: PUSplit, times: int) -> PUSplit:
    """By repeated pixels, which are the same on every processor."""
    kinds = ("x_unlabeled", "x_sensitive", "x_normal", "x_test")
    larger = {
        kind: getattr(split, kind)
        .repeat_interleave(times, 2)
        .repeat_interleave(times, 3)
        for kind in kinds
    }
    return replace(split, **larger)


def _of_judges(path: Path) -> Numbers:
    """Trained for so few steps that rounding does not grow; and the rule by which a
    judge calls an image sensitive, with weights so large that no image is on the edge.
    """
    found = {"judge: budgets": {n: [v] for n, v in BUDGETS["images_seen"].items()}}
    for name, settings in {
        "grey": DataSettings(),
        "colour": DataSettings(channels=3),
        "photos": DataSettings(str(path / "small.npz"), "0"),
    }.items():
        made = judge.load_judge(settings)
        source = open_dataset(settings.dataset)
        pixels = source.read("test", np.arange(len(source.labels["test"])))
        pixels = pixels.expand(-1, settings.channels or -1, -1, -1)
        _, features = made(pixels)
        with torch.no_grad():
            logits = made.network(to_model_range(pixels))
        labels = torch.as_tensor(source.labels["test"]).long()
        loss = torch.nn.functional.cross_entropy(logits, labels)
        # Of all images together: each alone moves with the processor's rounding.
        spreads = [f(x) for x in (features, logits) for f in (torch.std, _size)]
        found[f"judge: {name}"] = {"outputs": _rounded(*spreads, loss)}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = judge.JudgeNetwork(1, 10)
        network.head.weight *= 30
    size = DataSettings(resolution=8, channels=1)
    tested = judge._tested(network, open_dataset("digits"), size)
    shares = tested.accuracy, tested.sensitivity, tested.specificity
    return found | {"judge: rule": {"right": _rounded(*shares, tested.num_test)}}


def _of_estimates() -> Numbers:
    wanted = beta_estimates.Draw(DataSettings("digits", "even", 120, 40, 30), 0)
    facts = beta_estimates.measure_draw(wanted)
    found = {n: _rounded(*facts["estimates"][n][:3]) for n in ESTIMATORS}
    found["p"] = _rounded(facts["selection_p"])
    budgets = {n: [count] for n, count in BUDGETS["replicates"].items()}
    return {"estimates: digits": found, "estimates: budgets": budgets}


def _of_detection() -> Numbers:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make_unet("tiny", resolution=8, channels=1).eval()
    x = make_split(DataSettings(), 0).x_test
    images = quantise(x[:24], 17), quantise(noisy(x[24:48], 25), 17)
    errors = sweep(model, *images, (165, 330))
    outcomes = all_detectors(model, errors, *images, seed=0, network_steps=2)
    found = {}
    for name, outcome in outcomes.items():
        (real, generated), scale = outcome.scores, outcome.scores[0].std()
        # Free of scale: some detectors' scores are about 1e-4.
        shape = real.mean(), generated.mean(), generated.std()
        parts = np.log(scale), *(number / scale for number in shape)
        found[name] = _rounded(*parts, outcome.accuracy)
    real, generated = zip(*errors.values(), strict=True)
    labels = torch.arange(60) % 7
    found["errors"] = _rounded(*(np.mean(s) for s in (*real, *generated)))
    found["levels"] = [t for _, levels, _ in SCORES.values() for t in levels]
    found["coarse"] = [detector_runs.COARSE_LEVELS]
    found["matched"] = matched_indices(labels, labels[:20] % 3, limit=12).tolist()
    return {"detection: digits": found}


def _split_numbers(split: PUSplit) -> dict[str, list]:
    images = split.x_unlabeled, split.x_sensitive, split.x_normal, split.x_test
    found = {
        "indices": [_checksum(i) for i in split.indices.values()],
        "hidden": [_checksum(split.hidden_labels.numpy())],
        # Not their checksums: processors resize differently, by a level.
        "pixels": _rounded(*(f(x / 255) for x in images for f in (torch.mean, _wave))),
    }
    if split.conditions is not None:
        parts = split.conditions.values()
        found["conditions"] = [_checksum(c.numpy()) for c in parts]
    return found


def _image_numbers(images: torch.Tensor) -> dict[str, list[float]]:
    x = to_model_range(images)
    return {
        "means": _rounded(*x.mean((1, 2, 3))),
        "spreads": _rounded(*x.std((1, 2, 3))),
        "waves": _rounded(*map(_wave, x)),
    }


def _size(x: torch.Tensor) -> torch.Tensor:
    return x.abs().mean()


def _wave(x: torch.Tensor) -> torch.Tensor:
    """A mean that depends on which number stands where."""
    x = x.flatten().double()
    return (x * torch.arange(len(x)).sin()).abs().mean() + (
        x * torch.arange(len(x)).cos()
    ).mean()


def _checksum(numbers: np.ndarray) -> int:
    return zlib.crc32(numbers.astype("<i8").tobytes())


def _rounded(*numbers) -> list[float]:
    return [float(f"{float(number):.6g}") for number in numbers]


def moved(found: Numbers, kept: Numbers) -> dict[str, list[str]]:
    """stage -> what has moved in it. Counts and checksums have to be the same, the
    others nearly; runs that one of the two lacks say nothing about the others."""
    lines: dict[str, list[str]] = {}
    for run in found.keys() & kept.keys():
        stage = run.split(":")[0]
        for name in found[run].keys() & kept[run].keys():
            now, before = found[run][name], kept[run][name]
            if not _alike(now, before, **TOLERANCE_OF.get(stage, TOLERANCE)):
                lines.setdefault(stage, []).append(f"{run}, {name}: {before} -> {now}")
    return {stage: sorted(lines[stage]) for stage in AFTER if stage in lines}


def _alike(now: list, before: list, **tolerance) -> bool:
    if len(now) != len(before):
        return False
    return all(
        a == b
        if isinstance(b, int)
        else a == pytest.approx(b, nan_ok=True, **tolerance)
        for a, b in zip(now, before, strict=True)
    )


def complaint(found: Numbers, kept: dict, versions_now=VERSION) -> str:
    """Which versions to raise, "" if none. `kept` as of `record`.

    A stage that begins with what another one made moves with it. So the first ones are
    named: those that have moved although nothing they begin with has, and whose version
    is what it was.
    """
    lines = moved(found, kept["numbers"])
    raised = {s for s in versions_now if versions_now[s] != kept["versions"].get(s)}
    owing = [s for s in lines if not raised & {s, *AFTER[s]}]
    first = [s for s in owing if not set(owing) & set(AFTER[s])]
    if not first:
        return ""
    words = " and ".join(f'VERSION["{stage}"]' for stage in first)
    text = f"what {', '.join(first)} computes has changed. If that is meant, raise "
    text += f"{words} in pudm_lib/machine/store.py and renew the numbers by: {RENEW}"
    if kept["packages"] != versions():
        text += f"\n(or other packages are the reason: made with {kept['packages']}, "
        text += f"now {versions()}. Keys have these in them: then renew them alone)"
    return "\n".join([text, *(line for s in first for line in lines[s][:3])])


def record(found: Numbers) -> dict:
    return {"versions": VERSION, "packages": versions(), "numbers": found}


def as_text(kept: dict) -> str:
    """A line for each run of each stage, so that a difference can be read."""
    lines = [f"  {json.dumps(n)}: {json.dumps(v)}" for n, v in kept["numbers"].items()]
    head = [
        f" {json.dumps(n)}: {json.dumps(kept[n])}" for n in ("versions", "packages")
    ]
    body = ' "numbers": {\n' + ",\n".join(lines) + "\n }"
    return "{\n" + ",\n".join([*head, body]) + "\n}\n"


def renew(path: Path = GOLDEN) -> str:
    """Write the numbers anew; or say which version has to be raised first."""
    with TemporaryDirectory() as folder_of_runs:
        found = made_now(Path(folder_of_runs))
    kept = json.loads(path.read_text()) if path.exists() else record({})
    words = complaint(found, kept)
    if words and kept["packages"] == versions():
        return words
    path.write_text(as_text(record(found)))
    return ""
