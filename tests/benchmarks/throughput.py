"""Images a second of the book's training and sampling, beside two plain loops of the
same network, batch and images, all in one run.

    python tests/benchmarks/throughput.py
    python tests/benchmarks/throughput.py --network paper --resolution 32 --channels 3 \
        --batch 128 --json figures/gpu/07_throughput.json

The default loop is written as diffusers' example for unconditional training has it:
images decoded and transformed one by one in a DataLoader, accelerate, float16 on a GPU
and float32 on a CPU, the loss read after every step. The tuned one has bfloat16 and the
better of 0 and 4 loader workers. The book's own trains by the PU risk, which neither of
the others does; on a CPU it is one process a core, as the book trains its models, and
on a GPU its network is compiled, before the clock starts.

Each loop runs in fresh processes, in turns, so that a slow minute of a shared machine
falls on all of them; what counts are the ratios within a round.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from PIL import Image
from torchvision import transforms

from pudm_lib.diffusion.networks import make_unet
from pudm_lib.diffusion.sampling import SamplingSettings, sample
from pudm_lib.experiments.budgets import PASSES, network_cost
from pudm_lib.machine.compiling import COMPILE, compiled
from pudm_lib.machine.devices import (
    available_cores,
    cpu_threads,
    environment,
    resolve_device,
)
from pudm_lib.machine.paths import write_atomically
from pudm_lib.machine.store import plain
from pudm_lib.training.batches import TrainingImages
from pudm_lib.training.loop import LOOK_EVERY, train
from pudm_lib.training.settings import TrainingSettings

SENSITIVE = 12  # one of so many images in a batch is labelled, as in the paper
INFERENCE_STEPS = 5


def random_images(args) -> np.ndarray:
    """uint8 (N, H, W, C)."""
    shape = (args.images, args.resolution, args.resolution, args.channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def unet(args):
    torch.manual_seed(0)
    size = {"resolution": args.resolution, "channels": args.channels}
    return make_unet(args.network, **size)


def train_ours(args) -> float:
    """Images a second of `pudm_lib.training.loop.train`, PU non-negative."""
    images = torch.from_numpy(random_images(args)).permute(0, 3, 1, 2).contiguous()
    labelled = max(1, args.batch // SENSITIVE)
    warm = LOOK_EVERY * -(-args.warm // LOOK_EVERY)
    steps = warm + LOOK_EVERY * -(-args.steps // LOOK_EVERY)
    settings = TrainingSettings(
        steps=steps,
        batch_unlabeled=args.batch - labelled,
        batch_sensitive=labelled,
        device=args.device,
        compile=args.compile,
    )
    seen = {}

    def stamp(step: int, _: str) -> None:  # after the losses were read: all is done
        seen[step] = time.perf_counter()

    sets = TrainingImages(images[len(images) // 11 :], images[: len(images) // 11])
    train(unet(args), sets, settings, seed=0, report=stamp)
    return args.batch * (steps - warm) / (seen[steps] - seen[warm])


class OneByOne(torch.utils.data.Dataset):
    """Images as files give them: decoded and transformed when asked for."""

    def __init__(self, args):
        self.images = random_images(args)
        self.transform = transforms.Compose(
            [
                transforms.Resize(args.resolution),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.5]),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        pixels = self.images[index]
        return self.transform(Image.fromarray(pixels.squeeze()))


def train_plainly(args, *, tuned: bool, workers: int = 0) -> float:
    """Images a second of a loop as diffusers' example writes it."""
    on_gpu = resolve_device(args.device) == "cuda"
    precision = "bf16" if tuned else "fp16" if on_gpu else "no"
    accelerator = Accelerator(cpu=not on_gpu, mixed_precision=precision)
    model = unet(args)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    total = args.warm + args.steps
    schedule = get_cosine_schedule_with_warmup(optimizer, 10, total)
    loader = torch.utils.data.DataLoader(
        OneByOne(args), batch_size=args.batch, shuffle=True, num_workers=workers
    )
    model, optimizer, loader, schedule = accelerator.prepare(
        model, optimizer, loader, schedule
    )
    noise_scheduler = DDPMScheduler()
    step = 0
    while True:
        for clean in loader:
            noise = torch.randn_like(clean)
            t = torch.randint(1000, (len(clean),), device=clean.device)
            noisy = noise_scheduler.add_noise(clean, noise, t)
            output = model(noisy, t).sample
            loss = torch.nn.functional.mse_loss(output.float(), noise.float())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            loss.detach().item()
            step += 1
            if step == args.warm:
                start = time.perf_counter()
            if step == total:
                return args.batch * args.steps / (time.perf_counter() - start)


def sample_ours(args) -> float:
    device = resolve_device(args.device)
    model = compiled(unet(args).to(device).eval(), args.compile, device)
    shape = (args.channels, args.resolution, args.resolution)

    def draw(count: int) -> None:
        settings = SamplingSettings("ddim", INFERENCE_STEPS, count)
        with cpu_threads(1):
            sample(model, settings, shape=shape, seed=0, precision="auto")

    return _rate_of(draw, args)


def sample_plainly(args, *, tuned: bool) -> float:
    """diffusers' pipeline, which ends with pictures; tuned: in bfloat16."""
    device = resolve_device(args.device)
    pipeline = DDIMPipeline(unet(args).eval(), DDIMScheduler()).to(device)
    pipeline.set_progress_bar_config(disable=True)

    def draw(count: int) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=tuned):
            pipeline(count, num_inference_steps=INFERENCE_STEPS, output_type="np")

    return _rate_of(draw, args)


def _rate_of(draw, args) -> float:
    draw(2 * args.batch)  # the first pass of a batch is slower
    start = time.perf_counter()
    draw(2 * args.batch)
    return 2 * args.batch / (time.perf_counter() - start)


def peak(args) -> float:
    """Operations a second of a large matrix product, in the loop's best precision."""
    device = resolve_device(args.device)
    n, dtype = (8192, torch.bfloat16) if device == "cuda" else (2048, torch.float32)
    a, b = (torch.rand(n, n, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(8):
        start = time.perf_counter()
        (a @ b)[0, 0].item()
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times)


LOOPS = {
    "train ours": train_ours,
    "train default": lambda args: train_plainly(args, tuned=False),
    "train tuned": lambda args: train_plainly(args, tuned=True),
    "train tuned, 4 workers": lambda args: train_plainly(args, tuned=True, workers=4),
    "sample ours": sample_ours,
    "sample default": lambda args: sample_plainly(args, tuned=False),
    "sample tuned": lambda args: sample_plainly(args, tuned=True),
    "peak": peak,
}


def measured(name: str, args, **changed) -> tuple[float, float]:
    """(rate, largest memory in MiB) of a loop in processes of its own."""
    on_cpu = resolve_device(args.device) == "cpu"
    copies = available_cores() if on_cpu and name.endswith("ours") else 1
    settings = {k: v for k, v in vars(args).items() if k not in ("one", "json")}
    command = [sys.executable, __file__, "--one", name]
    for key, value in (settings | changed).items():
        command += [f"--{key}", str(value)]
    jobs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(copies)
    ]
    found = [json.loads(job.communicate()[0].splitlines()[-1]) for job in jobs]
    if any(job.returncode for job in jobs):
        raise SystemExit(f"{name} failed: run `{' '.join(command)}`")
    rates, memory = zip(*found, strict=True)
    return sum(rates), sum(memory)


def memory_mib(device: str) -> float:
    if resolve_device(device) == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def compare(args) -> dict:
    """All loops in turns; "ratios": {"training over default": [one a round], ...}."""
    names = [n for n in LOOPS if n != "peak"]
    rounds = []
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
        rounds.append({name: measured(name, args) for name in names})
        rounds[-1]["peak"] = measured("peak", args)

    def rate(row, name):
        tuned = [v[0] for k, v in row.items() if k.startswith(name)]
        return max(tuned)

    ratios = {
        f"{word} over {other}": [
            rate(row, f"{verb} ours") / rate(row, f"{verb} {other}") for row in rounds
        ]
        for verb, word in (("train", "training"), ("sample", "sampling"))
        for other in ("default", "tuned")
    }
    cost = network_cost(
        args.network, resolution=args.resolution, channels=args.channels
    )
    work = PASSES * cost.forward_flops
    growth = {
        "batch": (args.batch // 4, args.batch, 4 * args.batch),
        "resolution": (args.resolution // 2, args.resolution, 2 * args.resolution),
        "images": (args.images // 10, args.images, 10 * args.images),
    }
    return {
        "rates": {n: median(r[n][0] for r in rounds) for n in LOOPS},
        "memory_mib": {n: max(r[n][1] for r in rounds) for n in names},
        "ratios": ratios,
        "share_of_peak": [work * r["train ours"][0] / r["peak"][0] for r in rounds],
        "growth": {
            key: {str(v): measured("train ours", args, **{key: v})[0] for v in values}
            for key, values in growth.items()
        },
    }


def record(found: dict, args, path: Path) -> dict:
    """As `book.Page.figure` writes it, without a picture yet."""
    return {
        "figure": path.stem,
        "chapter": "07_scale_up",
        "preset": path.parent.name,
        "alt": "",
        "parameters": {k: v for k, v in vars(args).items() if k not in ("one", "json")},
        "environment": environment(args.device),
        "numbers": plain(found),
        "claims": [],
    }


def table(found: dict) -> str:
    lines = [f"{'loop':<24}{'images/s':>10}{'MiB':>8}"]
    for name, memory in found["memory_mib"].items():
        lines.append(f"{name:<24}{found['rates'][name]:>10.1f}{memory:>8.0f}")
    for name, values in found["ratios"].items():
        low, high = min(values), max(values)
        lines.append(f"{name}: {median(values):.2f} ({low:.2f} to {high:.2f})")
    share = found["share_of_peak"]
    lines.append(f"training, share of the largest matrix product: {median(share):.1%}")
    for key, rates in found["growth"].items():
        grown = ", ".join(f"{v}: {rate:.0f}" for v, rate in rates.items())
        lines.append(f"images/s by {key}: {grown}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="small", help="a key of networks.UNETS")
    parser.add_argument("--resolution", type=int, default=16, help="pixels a side")
    parser.add_argument("--channels", type=int, default=1, help="1 or 3")
    parser.add_argument("--batch", type=int, default=72, help="images in a step")
    parser.add_argument("--images", type=int, default=5000, help="in the data set")
    parser.add_argument("--warm", type=int, default=25, help="steps before the clock")
    parser.add_argument("--steps", type=int, default=50, help="steps on the clock")
    parser.add_argument("--rounds", type=int, default=3, help="of all loops")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--compile", choices=COMPILE, default="auto", help="ours")
    parser.add_argument("--one", choices=LOOPS, help="this loop alone, here")
    parser.add_argument("--json", type=Path, help="also write a figure's record here")
    return parser.parse_args()


if __name__ == "__main__":
    args = arguments()
    if args.one:
        # Whatever the environment says: one a process for ours, all for the others.
        torch.set_num_threads(1 if args.one.endswith("ours") else available_cores())
        rate = LOOPS[args.one](args)
        print(json.dumps([rate, memory_mib(args.device)]))
    else:
        found = compare(args)
        print(table(found))
        if args.json:
            kept = record(found, args, args.json)
            write_atomically(args.json, json.dumps(kept, indent=1) + "\n")
