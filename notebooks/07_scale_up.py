# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · Scale up
#
# **The question:** what changes when images, networks and machines get larger, and what must not?
#
# | | |
# |---|---|
# | **You will do** | count what each of the paper's experiments costs before running any; see a loss whose sign decides break when a batch is spread over machines, and mend it; interrupt a training and get the same bits; compare three methods on real MNIST |
# | **You will learn** | where operations and memory go; why sampling can cost more than training; what data parallelism and gradient accumulation do to the PU risk; what a distance on classifier features can say beside an FID |
# | **You need** | chapters 02, 04 and 05; no GPU, no download |
# | **Time** | `ci` seconds · `laptop` under a minute: budgets are computed, the MNIST results are read from committed figures · `gpu` and `paper` as long as their models take, see the budgets |

# %%
import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pudm_lib as pu

# %% tags=["parameters"]
preset = "laptop"  # ci, laptop, gpu or paper
dataset = "mnist"  # mnist, cifar10, stl10, celeba, a folder or an .npz file
normal = "even;odd"  # normal classes, one experiment for each part between semicolons
method = "pu_non_negative"  # pu_non_negative, pu_absolute, pu_unbiased or pnu
beta = 0.1  # assumed share of sensitive images in U, from 0 to below 1
baselines = ["unsupervised", "supervised_code"]  # what it is compared with
seeds = [0, 1, 2]  # a split, weights and noise for each; at least two
steps = 0  # training steps, 0: the preset's
studies = "committed"  # committed: read the figure's numbers; measured: train, sample, measure
peak_tflops = 989.0  # your device's dense bfloat16 peak; an H100's data sheet says 989
share_of_peak = 0.25  # of it that a training reaches

# %%
page = pu.Page("07_scale_up", globals())
quick = preset == "ci"
methods = ["unsupervised", *[m for m in baselines if m not in ("unsupervised", method)], method]
stem, halves = Path(dataset).stem, normal.split(";")
common = {"dataset": dataset, "beta": beta} | ({"steps": steps} if steps else {})
settings = {half: {"normal": half} | common for half in halves}
shown_preset = "laptop" if quick and studies == "committed" else preset  # ci reads laptop's
preset_steps = pu.experiment(shown_preset, dataset=dataset).training.steps
given = {"methods": methods, "seeds": seeds}
recorded = {h: {"steps": preset_steps} | asked | given for h, asked in settings.items()}
if not 0 < share_of_peak <= 1:
    raise ValueError(f"share_of_peak={share_of_peak}, must be above 0 and at most 1")
print(page)

# %% [markdown]
# ## What will it cost?
#
# The paper's Table 1 has eight experiments: four data sets, either half of the classes normal. One network serves them all, the released code's U-Net, and the images grow from 32×32 (MNIST, CIFAR-10) over 96×96 (STL-10) to 256×256 (CelebA). None of that has to be run to be counted. A *fake* tensor has a shape and no numbers, so the largest network passes through a laptop in a second, and each operation is counted on its way:
#
# $$\text{training} = \text{steps} \times \text{batch} \times 3F, \qquad \text{sampling} = \text{images} \times \text{denoising steps} \times F \qquad (1)$$
#
# | symbol | in code | what it is |
# |---|---|---|
# | $F$ | `cost.forward_flops` | operations of one image's forward pass |
# | 3 | `budgets.PASSES` | the backward pass computes two products for each of the forward pass |
# | | `cost.kept_bytes` | what the forward pass keeps for the backward pass, an image |
#
# Memory is the weights five times over (weights, gradients, AdamW's two moments, the averaged weights) and what a batch keeps.
#
# **Predict.** For which of the four sets does drawing 5,000 samples in 1,000 steps cost more than the training?

# %%
TABLE_1 = {"mnist": "even", "cifar10": "vehicles", "stl10": "vehicles", "celeba": "male"}
asked = {name: pu.experiment("paper", dataset=name, normal=half) for name, half in TABLE_1.items()}
budgets = {name: pu.experiments.budget(e) for name, e in asked.items()}
counted = pd.DataFrame([vars(b) | vars(b.cost) for b in budgets.values()], index=list(budgets))
minute = 60 * peak_tflops * 1e12 * share_of_peak  # operations in one

table = pd.DataFrame({"side": [e.data.resolution for e in asked.values()]}, index=list(asked))
table["M parameters"] = counted["parameters"] / 1e6
table["F, GFLOP"] = counted["forward_flops"] / 1e9
table["images seen"] = counted["images_seen"]
table["training, PFLOP"] = counted["training_flops"] / 1e15
table["training, minutes"] = counted["training_flops"] / minute
table["memory, GiB"] = counted["training_bytes"] / 2**30
table["sampling, PFLOP"] = counted["sampling_flops"] / 1e15
table["sampling, minutes"] = counted["sampling_flops"] / minute
print(f"minutes: at {share_of_peak:.0%} of {peak_tflops:g} TFLOP/s; memory in float32")
table.style.format("{:,.4g}")

# %%
flops = table[["training, PFLOP", "sampling, PFLOP"]].set_axis(["training", "sampling"], axis=1)
memory = pd.DataFrame({"weights × 5": 20 * counted["parameters"] / 2**30})
memory["kept by a batch"] = table["memory, GiB"] - memory["weights × 5"]
dear = (flops["sampling"] / flops["training"])["celeba"]
size, work = table.loc["cifar10", ["M parameters", "F, GFLOP"]]
with page.figure("07_budgets", 1, 2, figsize=(9, 3.4)) as (fig, axes):
    flops.plot.bar(ax=axes[0], rot=0, width=0.8, logy=True, color=[pu.BLUE, pu.ORANGE])
    axes[0].set_title("Large images: sampling is what costs")
    axes[0].set_ylabel("operations, in 10¹⁵")
    memory.plot.bar(ax=axes[1], rot=0, width=0.8, stacked=True, color=[pu.GREY, pu.GREEN])
    axes[1].set_title("... and batches are what fill memory")
    axes[1].set_ylabel("memory of training, GiB")
    fig.numbers(**counted.drop(columns=["cost", "kept_bytes"]).to_dict("index"))
    fig.check("the paper's network has 61.5 M parameters", size, at_least=61.45, at_most=61.55)
    fig.check("... and 8.8 GFLOP forward at 32×32", work, at_least=8.75, at_most=8.85)
    fig.check("CelebA: 5,000 samples in 1,000 steps cost at least ten trainings", dear, at_least=10)
    fig.alt(f"""Left: operations of training and of sampling for the paper's four data sets, on a
        logarithmic axis. For CelebA sampling costs {dear:.0f} times the training. Right: memory
        of training; the weights take little of it, what a batch keeps takes most, and by far
        the most for CelebA at 256×256.""")

# %% [markdown]
# *Caption. The paper's sizes, batches and steps (Table 1 and section 5.3); 5,000 samples a model by DDPM in 1,000 steps, as the paper draws from models that it trains from scratch (CelebA's it only fine-tunes).*
#
# <details><summary>Answer</summary>
#
# For STL-10 and CelebA, by far for CelebA: 5,000 times 1,000 passes are many more than its short training has. From its fine-tuned models the paper draws by DDIM in 50 steps, a twentieth of that, and exercise 3 counts it anew. It is also why this book's smaller presets sample by DDIM in 25.
#
# </details>
#
# ## What does a machine reach?
#
# Operations a second on paper are not images a second. `tests/benchmarks/throughput.py` trains and samples with one network in several ways, in turns and in one run, so that a slow minute of the machine falls on all: as this book does it; by a *default* loop, written as diffusers' example for unconditional training has it (images decoded and transformed one by one in a loader, the loss read after every step); and by a *tuned* one (the same in bfloat16, with the better of 0 and 4 loader workers). The book's loop keeps the images on the device as bytes, draws a batch by an index, never waits for a loss and, on a CPU, trains one model on each core: experiments come with several seeds anyway, and two threads that share a small network wait for each other. And it keeps the memory that a step frees for the next one, which the C library would give back to the system and ask for again. On a GPU the network computes in bfloat16 and is compiled by `torch.compile` in training and in sampling (`compile="off"` disables this; identical architectures share compiled code). The numbers are of the machine and the network that the record names.
#
# **Predict.** By how much is the book's loop ahead of the default one, on a CPU with two cores? And which grows faster than the number of images: a larger batch, a higher resolution, a larger data set?

# %%
file = "07_throughput.json"
own = (pu.book.committed_folder(preset) / file).exists()
speed_record = (pu.book.committed_folder(preset if own else "laptop") / file).read_text()
speed_record = json.loads(speed_record)
speed, of = speed_record["numbers"], speed_record["parameters"]
on_cpu = speed_record["environment"]["device"] == "cpu"
print(f"{speed_record['environment']['device']}: {of['network']} network,", end=" ")
print(f"{of['resolution']}×{of['resolution']}, batch {of['batch']}; of the largest matrix", end=" ")
print(f"product's rate, training: {np.median(speed['share_of_peak']):.0%}")
loops = pd.DataFrame({"images/s": speed["rates"], "MiB": speed["memory_mib"]})
loops = loops.loc[list(speed["memory_mib"])]
loops.round()

# %%
ratios = pd.DataFrame(speed["ratios"])  # a row a round
ahead, tuned = ratios["training over default"], ratios["training over tuned"]
rounds = f"(median of {len(ratios)} rounds, and their range)"
if on_cpu:
    words = "a model on each core trains at least 1.3 times the default loop's images a second"
    bounds = [(words, ahead, 1.3)]
else:
    words = "at a quarter of the largest matrix product's rate or more"
    bounds = [
        ("trains at least 3 times the default loop's images a second", ahead, 3.0),
        ("... and twice the tuned one's", tuned, 2.0),
        (words, pd.Series(speed["share_of_peak"]), 0.25),
    ]
ratios.agg(["median", "min", "max"]).T.round(2)


# %%
def draw_growth(ax):
    looks = zip((pu.BLUE, pu.VERMILLION, pu.GREEN), "osD", strict=True)
    for (what, rates), (colour, marker) in zip(speed["growth"].items(), looks, strict=True):
        sizes, seconds = np.array(list(rates), float), 1 / np.array(list(rates.values()))
        look = {"color": colour, "marker": marker, "label": what}
        ax.plot(sizes / sizes[1], seconds / seconds[1], **look)
    ax.set(xscale="log", yscale="log", xlabel="times as large", ylabel="time of an image")
    ax.set_xticks([0.1, 0.25, 1, 4, 10], ["0.1", "0.25", "1", "4", "10"])
    ax.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    ax.minorticks_off()
    ax.set_title("Time of an image, over the middle case")
    ax.legend()


# %%
rates = loops["images/s"]
listed = "; ".join(f"{loop} {rate:.0f}" for loop, rate in rates.items())
colours = [pu.BLUE if loop.endswith("ours") else pu.GREY for loop in rates.index]
with page.figure("07_throughput", 1, 2, record=speed_record, figsize=(9, 3.4)) as (fig, axes):
    axes[0].barh(rates.index, rates, color=colours)
    axes[0].set(xlabel="images a second", ylim=(len(rates) - 0.4, -0.6))
    axes[0].set_title(f"Training: {ahead.median():.1f} times the default loop")
    draw_growth(axes[1])
    fig.numbers(**speed)
    for words, values, bound in bounds:
        ends = (values.min(), values.max())
        fig.predict(f"{words} {rounds}", values.median(), at_least=bound, interval=ends)
    fig.alt(f"""Left: images a second of training and sampling in the book's way and in plain
        loops; {listed}. Right: time of an image in training as the batch, the resolution and
        the data set grow, on logarithmic axes.""")

# %% [markdown]
# *Caption. Medians over rounds. Right: each line has three sizes and passes through (1, 1); a horizontal line is work in proportion to the number of images.*
#
# <details><summary>Answer</summary>
#
# By about half, and still ahead of the tuned loop. None of it is a trick of arithmetic: the three loops train the same network on as many images. What the default loop loses is time in which its cores wait, for images, for each other, for memory.
#
# A larger batch makes an image cheaper, a higher resolution dearer by about the number of its pixels, and the size of the data set does not matter, since a batch is drawn by an index. The share of the largest matrix product's rate can pass 100 %: a convolution can be computed with fewer multiplications than are counted for it. It is a yardstick and no bound.
#
# Sampling gains too, less beside the tuned loop, which computes in half the precision.
#
# </details>
#
# `python -m pudm_lib doctor` extrapolates a model of each preset on your machine from a few steps.
#
# ## One risk, many machines
#
# A mean can be taken in pieces. Spread a batch over four GPUs, let each average its own images, average the gradients: with equal pieces the step is the same. Frameworks count on that, and for the unsupervised loss it is true. The non-negative risk of chapter 04 is not a mean:
#
# $$\beta \hat L_S^+ + \max\!\big(0,\ \hat L_U^- - \beta \hat L_S^-\big), \qquad \text{and a step on } -(\hat L_U^- - \beta \hat L_S^-) \text{ where the bracket is negative.} \qquad (2)$$
#
# The sign of the bracket decides which way the step goes, and a small piece of a batch has a sign of its own. Its few images of $S$ may all sit at noise levels where errors are large. The same happens under gradient accumulation, and in any batch that is too large for one device.
#
# **Predict.** The paper's batch has about 117 images of $U$ and 11 of $S$. With the model of chapter 05, in what share of batches does at least one of 8 devices see another sign than the whole batch?

# %%
run = pu.experiment("ci" if quick else "laptop", method="pu_non_negative", seed=0)
page.device = run.training.device
model, split = pu.load_model(run), pu.make_split(run.data, run.seed)
alphas_cumprod = pu.diffusion.alphas_cumprod_of(pu.diffusion.linear_betas())
device, count = next(model.parameters()).device, 500 if quick else 20_000


@torch.no_grad()
def errors(images, generator):
    """ell of `count` draws of an image, a noise level and noise."""
    x0 = pu.to_model_range(images)[torch.randint(len(images), (count,), generator=generator)]
    t = torch.randint(1000, (count,), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    x_t = pu.diffusion.add_noise(x0, eps, t, alphas_cumprod)
    pieces = zip(x_t.split(500), t.split(500), strict=True)
    eps_hat = [model(x.to(device), level.to(device)).sample.cpu() for x, level in pieces]
    return pu.diffusion.denoising_error(eps, torch.cat(eps_hat))


of_each = {"U": split.x_unlabeled, "S": split.x_sensitive}
drawn = {name: errors(x, pu.random_generator(i + 1)) for i, (name, x) in enumerate(of_each.items())}
print(
    {name: f"mean ell {ell.mean():.2f}, deviation {ell.std():.2f}" for name, ell in drawn.items()}
)


# %%
def one_batch(generator, sizes=(117, 11)):
    """ell of a batch of the paper's size, (128,): first U, then S."""
    pairs = zip(drawn.values(), sizes, strict=True)
    return torch.cat([ell[torch.randint(len(ell), (n,), generator=generator)] for ell, n in pairs])


def weights_of(ell, sizes):
    """d step / d ell, and the sign of the negative risk."""
    risk, weights = pu.losses.risk_and_weights(
        ell, sizes, method="pu_non_negative", beta=beta, gamma=0.0
    )
    return weights, risk.negative >= 0


def piecewise(ell, devices, sizes=(117, 11)):
    """The same batch with a risk for each device and the gradients averaged."""
    pooled, signs = torch.zeros_like(ell), []
    for first in range(devices):
        piece = torch.arange(first, len(ell), devices)
        n_u = int((piece < sizes[0]).sum())
        weights, sign = weights_of(ell[piece], (n_u, len(piece) - n_u, 0))
        pooled[piece] = weights / devices
        signs.append(bool(sign))
    return pooled, signs


# %%
counts, batches = (1, 2, 4, 8, 16), 20 if quick else 1000
found = {devices: {"other sign": [], "gradient": []} for devices in counts}
generator = pu.random_generator(3)
for _ in range(batches):
    ell = one_batch(generator)
    whole, sign = weights_of(ell, (117, 11, 0))
    for devices in counts:
        pooled, signs = piecewise(ell, devices)
        found[devices]["other sign"].append(any(s != bool(sign) for s in signs))
        found[devices]["gradient"].append(float((pooled - whole).norm() / whole.norm()))
shares = {devices: float(np.mean(f["other sign"])) for devices, f in found.items()}
wilson = pu.measures.wilson_interval
intervals = {d: wilson(round(share * batches), batches) for d, share in shares.items()}
off = {d: np.quantile(f["gradient"], (0.5, 0.9, 0.99)) for d, f in found.items()}
bars = pu.style.error_bars(list(shares.values()), list(intervals.values()))
table = pd.DataFrame({"another sign somewhere": shares})
table[["low", "high"]] = list(intervals.values())
table[["weights off, median", "90 %", "99 %"]] = list(off.values())
table.rename_axis("devices").round(3)

# %%
of = {"dataset": "digits", "batch": [117, 11], "batches": batches}
with page.figure("07_sign", 1, 2, made_for=of, figsize=(9, 3.3)) as (fig, axes):
    axes[0].errorbar(counts, list(shares.values()), bars, fmt="o-", color=pu.BLUE, capsize=3)
    axes[0].set(ylabel="share of batches", title="Some device steps the other way")
    looks = {"median": "s-", "90 %": "s--", "99 %": "s:"}
    for (label, look), values in zip(looks.items(), np.transpose(list(off.values())), strict=True):
        axes[1].plot(counts, values, look, color=pu.ORANGE, label=label)
    axes[1].set(ylabel="error of the weights", title="... and every step is off")
    axes[1].legend()
    for ax in axes:
        ax.set(xscale="log", xticks=counts, xticklabels=counts, ylim=(-0.02, None))
        ax.set_xlabel("devices that share a batch of 117 + 11")
        ax.minorticks_off()
    fig.numbers(shares=shares, intervals=intervals, weights_off=off)
    text = "8 devices: some device sees another sign in at least 5 % of batches"
    fig.predict(text, shares[8], at_least=0.05, interval=intervals[8])
    fig.check("one device: none does", shares[1], at_most=0)
    fig.alt(f"""Left: share of batches in which some device sees another sign of the negative risk
        than the whole batch; it rises from 0 with one device to {shares[8]:.2f} with 8. Right:
        relative error of the step's weights; the median rises to {off[8][0]:.2f} with 8.""")

# %% [markdown]
# *Caption. The digits' PU model of chapter 05, errors drawn at random levels. Left: bars are 95 % Wilson intervals. Right: $\lVert \hat w - w \rVert / \lVert w \rVert$ with $w_i = \partial\,\text{step} / \partial \ell_i$.*
#
# <details><summary>Answer</summary>
#
# The figure says it, and it is not rare. The right panel adds that even with all signs equal the step is not the same: a device with one image of $S$ gives it the weight that another divides between two. With pieces this small some have no image of $S$ at all.
#
# </details>
#
# The remedy follows from (2). Whatever the method, its step is a function of the errors $\ell_i$ alone, so once *all* errors are known each image's weight $w_i = \partial\,\text{step} / \partial \ell_i$ is known, and
#
# $$\nabla_\theta\, \text{step} = \sum_i w_i\, \nabla_\theta\, \ell_i, \qquad (3)$$
#
# which *is* a sum and can be taken in pieces by anybody. A few hundred numbers travel between the devices before the backward pass. Under accumulation the errors are computed once without gradients for the weights, then again piece by piece. This is what `training.train` does, for every method of the book; `losses.risk_and_weights` is the whole of it.

# %%
generator = pu.random_generator(4)
torch.manual_seed(0)
toy = pu.networks.MLPDenoiser(2).double()
x0 = torch.randn(128, 2, generator=generator, dtype=torch.float64)
eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
t = torch.randint(1000, (128,), generator=generator)
sizes = (117, 11, 0)
non_negative = pu.losses.METHODS["pu_non_negative"]


def toy_errors(piece):
    x_t = pu.diffusion.add_noise(x0[piece], eps[piece], t[piece], alphas_cumprod)
    return pu.diffusion.denoising_error(eps[piece], toy(x_t, t[piece]).sample) * scale[piece]


def gradient(loss):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(toy.parameters()))])


# Half of S has large errors, so that the pieces' signs differ.
scale = torch.ones(128, dtype=torch.float64)
scale[117::2] = 20.0
everything = toy_errors(slice(None))
whole = gradient(non_negative(*everything.split(sizes), beta=beta).step)

# %%
_, w = pu.losses.risk_and_weights(everything, sizes, method="pu_non_negative", beta=beta, gamma=0.0)
in_pieces, naive = torch.zeros_like(whole), torch.zeros_like(whole)
for first in range(4):
    piece = torch.arange(first, 128, 4)
    in_pieces += gradient((w[piece] * toy_errors(piece)).sum())  # (3)
    n_u = int((piece < 117).sum())
    own = toy_errors(piece).split((n_u, len(piece) - n_u, 0))
    naive += gradient(non_negative(*own, beta=beta).step) / 4
exact, wrong = ((g - whole).norm().item() / whole.norm().item() for g in (in_pieces, naive))
print(f"four pieces: by (3) {exact:.1e} off the whole batch's gradient,", end=" ")
print(f"each by its own risk {wrong:.2f}")
assert exact <= 1e-9 and wrong >= 0.1, "only (3) gives the whole batch's gradient"

# %% [markdown]
# On the command line (`accelerate launch --cpu --num_processes 2` starts one process and does not say so; `torchrun` starts two):
#
# | | |
# |---|---|
# | one GPU, batch in four pieces | `python -m pudm_lib run --preset paper --dataset celeba --normal male --accumulate 4` |
# | two processes, one training | `torchrun --nproc_per_node 2 -m pudm_lib run --preset gpu --dataset mnist` |
# | several models | `python -m pudm_lib run --seeds 0 1 2`: side by side on a CPU, one process each |
#
# ## Stop and go on
#
# A long training will be stopped: by a time limit, by a full disk, by you. All randomness of a step is drawn anew from (seed, step), so a checkpoint needs no state of any generator, and a run that goes on from it ends with the same bits (on a GPU, where sums have no fixed order, rounding differs and the difference can grow). Checkpoints are written beside their place and moved into it, so that there is never half of one; they are safetensors, which hold numbers and no code. Here is a training that is interrupted on purpose.

# %%
short = {"steps": 75, "checkpoint_every": 20, "device": "cpu"}
short = pu.experiment("ci", method="pu_non_negative", **short).training
sets = pu.training.TrainingImages(split.x_unlabeled, split.x_sensitive)


def fresh():
    torch.manual_seed(0)
    return pu.networks.make_unet("tiny", resolution=8, channels=1)


def stop_at_fifty(step, _):
    if step >= 50:
        raise KeyboardInterrupt(f"stopped at step {step}")


# %%
resumed, uninterrupted = fresh(), fresh()
with tempfile.TemporaryDirectory() as folder:
    checkpoint = Path(folder) / "checkpoint.safetensors"
    try:
        pu.train(resumed, sets, short, seed=0, checkpoint=checkpoint, report=stop_at_fifty)
    except KeyboardInterrupt as reason:
        print(reason, "- there is", sorted(p.name for p in Path(folder).iterdir()))
    resumed = fresh()  # a new process would begin like this
    pu.train(resumed, sets, short, seed=0, checkpoint=checkpoint, report=lambda *_: None)
pu.train(uninterrupted, sets, short, seed=0, report=lambda *_: None)
pairs = zip(resumed.state_dict().values(), uninterrupted.state_dict().values(), strict=True)
different = sum(int((a != b).sum()) for a, b in pairs)
print(f"{different} numbers differ from the uninterrupted training's")
assert different == 0, "a resumed training ends with the same bits"

# %% [markdown]
# SIGTERM, by which a cluster asks a job to end, loses no step: the one at hand is finished and kept. `kill -9` loses at most `checkpoint_every` of them, and so does a machine that goes away; another one that finds the checkpoint goes on. A full disk ends a run in one line and leaves the last checkpoint whole. The test suite does each of these, and `python tests/faults.py` kills twenty runs at random moments and compares the weights.
#
# ## Real handwriting
#
# Now the experiment of chapter 05 on MNIST's real handwriting: 25,000 even digits with 2,500 odd ones hidden among them, 2,500 odd ones labelled, as in the paper's Table 1; then the other half, odd ones normal and even ones hidden. What is *not* the paper's is the budget. These models were trained on one CPU core each, at 16×16, with a network a hundred times smaller; the figure's record names the device. They take minutes each, so this chapter reads their numbers from the committed figures; with the data at hand `studies="measured"` trains them here, and `preset="gpu"` or `"paper"` asks for the larger ones.
#
# **Predict.** Chapter 05's digits have 64 numbers, these have 256. The errors $\ell$, summed over them, are larger, and $-\log(1-e^{-\ell})$ lives at fewer noise levels (chapter 03). Will the supervised form of the released code now differ from the unsupervised model more, or less? And PU?

# %%
names = {half: f"07_{stem}_{half.replace(',', '-')}" for half in halves}
tables, records, asked, pools = {}, {}, {}, {}
for half, name in names.items():
    asked[half] = {"methods": methods, "seeds": seeds, **settings[half]}
    measure = partial(pu.studies.measure_half, preset, **asked[half])
    of = {"made_for": recorded[half], "dataset": dataset}
    tables[half], records[half] = page.study(name, measure, **of)
    numbers, record = tables[half]["numbers"], records[half]
    pools[half] = {m: pu.intervals.pooled_rate(of_seeds) for m, of_seeds in numbers.items()}
    device = record["environment"]["device"] if record else ""
    print(f"{half} normal:", f"read from the figure made on {device}" if record else "made now")


# %%
def seeds_of(half):
    """A row a seed, a column for each number and method."""
    tables_of = {m: pd.DataFrame(numbers) for m, numbers in tables[half]["numbers"].items()}
    return pd.concat(tables_of, axis=1).swaplevel(axis=1)


by_seed = {half: seeds_of(half) for half in halves}
means = pd.concat({half: seeds.mean().unstack(0).loc[methods] for half, seeds in by_seed.items()})
rates = {half: seeds["non_sensitive_rate"] for half, seeds in by_seed.items()}
ends = [pu.intervals.student_interval(rates[half][m])[1] for half, m in means.index]
means[["95 % low", "high"]] = ends
times = means.div(means.xs("unsupervised", level=1), level=0).xs(method, level=1)
means["minutes"] = means["train_seconds"] / 60
shown = ["non_sensitive_rate", "95 % low", "high", "corrected_rate", "frechet_pixels"]
shown += ["frechet_pixels_normal", "frechet_pixels_floor", "frechet_classifier"]
shown += ["frechet_classifier_normal", "frechet_classifier_floor", "minutes"]
print(f"the judge is right on {means['judge_accuracy'].mean():.4f} of held-out images")
means[shown].rename(index=pu.METHOD_LABELS).rename_axis(["half", "method"]).round(3)


# %%
def predict_half(fig, half):
    """Bounds were named before these seeds were run; disjointness has no interval, so a check."""
    rate, name = rates[half], f"{stem} {half}"
    gain, _, ends = pu.intervals.paired_t_test(rate[method], rate["unsupervised"])
    text = f"{name}: PU lifts the mean rate by at least 5 points"
    fig.predict(text, gain, at_least=0.05, interval=ends)
    apart = pools[half][method][1][0] - pools[half]["unsupervised"][1][1]
    text = f"{name}: the pooled intervals of PU and unsupervised are disjoint"
    fig.check(text, apart, at_least=0)
    pixels = by_seed[half]["frechet_pixels"]
    _, ends = pu.intervals.student_interval(pixels[method] / pixels["unsupervised"])
    text = f"{name}: PU's Fréchet distance (pixels) is at most 1.5 times the unsupervised one"
    fig.predict(text, times.loc[half, "frechet_pixels"], at_most=1.5, interval=ends)
    if "supervised_code" in methods:
        pair = (rate["supervised_code"], rate["unsupervised"])
        gain, _, ends = pu.intervals.paired_t_test(*pair)
        text = "supervised (released code) differs from unsupervised by at most 0.03 in rate"
        near = {"at_least": -0.03, "at_most": 0.03, "interval": ends, "source": "paper"}
        fig.predict(f"{name}: {text}", gain, **near)


# %%
def draw_half(axes, half):
    rate, seeds = rates[half], by_seed[half]
    pu.style.interval_rows(axes[0], pools[half], rate)
    data = pu.experiment(preset, **settings[half]).data
    share = data.num_unlabeled_normal / (data.num_unlabeled_normal + data.num_unlabeled_sensitive)
    axes[0].axvline(share, color=pu.SENSITIVE, linestyle="--", label="normal share of U")
    axes[0].legend(loc="upper right")
    gain = rate[method].mean() - rate["unsupervised"].mean()
    axes[0].set_title(f"{half} normal: PU {100 * gain:.1f} points higher")
    axes[0].set_xlabel("share of samples called normal")
    for ax, kind in zip(axes[1:], ("pixels", "classifier"), strict=True):
        drawn = seeds[f"frechet_{kind}"]
        for m in methods:
            look = {"color": pu.METHOD_COLOURS[m]}
            ax.plot(drawn[m], rate[m], "o", alpha=0.45, **look)
            ax.plot(drawn[m].mean(), rate[m].mean(), "D", markersize=8, **look)
        ax.axvline(seeds[f"frechet_{kind}_floor"][method].mean(), color=pu.GREY, linestyle=":")
        ax.set(xlabel=f"Fréchet distance, {kind}", ylabel="share called normal", xlim=(0, None))
        ax.set_title(f"PU: {times.loc[half, f'frechet_{kind}']:.2f} of unsupervised")


# %%
page.device = "auto"
for half, name in names.items():
    listed = "; ".join(f"{pu.METHOD_LABELS[m]} {rate:.3f}" for m, (rate, _) in pools[half].items())
    of = {"record": records[half], "made_for": recorded[half]}
    wide = {"figsize": (9.8, 3.2), "width_ratios": [1.5, 1, 1]}
    pixels, classifier = times.loc[half, ["frechet_pixels", "frechet_classifier"]]
    with page.figure(name, 1, 3, **of, **wide) as (fig, axes):
        draw_half(axes, half)
        fig.numbers(**tables[half])
        predict_half(fig, half)
        fig.alt(f"""Left: dot plot of the share of normal samples on {stem}, {half} ones normal:
            {listed}. Middle and right: the same against the Fréchet distance on pixels and on
            classifier features; PU's is {pixels:.2f} and {classifier:.2f} times the
            unsupervised one.""")

# %% [markdown]
# *Caption. Diamonds: all samples of a method with their 95 % Wilson interval (left), means over seeds (right); dots: seeds. Dashed: the normal share of $U$; dotted: real against real images. Settings were chosen on the even half and other seeds; the odd half was run with them as they were.*
#
# <details><summary>Answer</summary>
#
# The supervised form gains two points on either half, as it does on the small digits; where its three seeds agree closely that is more than chance, and it is little. The paper's prediction, that it stays within three points of the unsupervised model, is confirmed on the odd half; on the even half three seeds leave it undecided. PU gains several times as much. And on average its samples lie *nearer* to real ones than the unsupervised model's, in both kinds of features. But look at the columns that end in `_normal`, the distances of those samples alone that the judge calls normal: on pixels PU's are *larger* on both halves. So all of the gain is what PU leaves out, which was itself a distance, and the normal images that it draws are a little worse.
#
# </details>
#
# The samples themselves, first seed, in the order they were drawn.

# %%
SHEET = pu.studies.SHEET
for half, name in names.items():
    record, marks = records[half], tables[half]["sensitive"]
    draw_sheet = partial(pu.studies.sheet_of_half, preset, **asked[half])
    sheet = page.sheet(f"{name}_sheet.png", record, draw_sheet)
    samples = pu.data.from_png(sheet, len(methods), SHEET)  # (methods, SHEET, C, H, W)
    framed = {m: sum(marks[m]) for m in methods}
    listed = ", ".join(f"{pu.METHOD_LABELS[m]} {count}" for m, count in framed.items())
    of = {"record": record, "made_for": recorded[half], "figsize": (9, len(methods))}
    with page.figure(f"{name}_samples", len(methods), **of) as (fig, axes):
        for ax, m, images in zip(axes, methods, samples, strict=True):
            pu.style.image_sheet(ax, images, columns=30, marked=marks[m])
            words = f"{half} normal. {pu.METHOD_LABELS[m]}: {framed[m]} of {SHEET} sensitive"
            ax.set_title(words, fontsize=9)
        fig.numbers(**{f"framed_of_{SHEET}": framed})
        fig.alt(f"""Strips of {SHEET} samples of {stem}, {half} ones normal, one strip for each
            method, sensitive ones framed: {listed}.""")

# %% [markdown]
# *Caption. A frame is the judge's word. All strips begin with the same noise, column by column.*
#
# And how training went there: the error on $U$, which all methods push down, and on the labelled $S$, which only some see.


# %%
for half, name in names.items():
    of = {"record": records[half], "made_for": recorded[half], "figsize": (9, 3.2)}
    stretch, ends = tables[half]["stretch"], []
    with page.figure(f"{name}_curves", 1, 2, **of) as (fig, axes):
        for ax, number in zip(axes, ("ell_unlabeled", "ell_sensitive"), strict=True):
            curves = {m: kept[number] for m, kept in tables[half]["curves"].items()}
            curves = pd.DataFrame(curves, dtype=float).dropna(axis=1, how="all")  # some see no S
            for m, ell in curves.items():
                look = {"color": pu.METHOD_COLOURS[m], "label": pu.METHOD_LABELS[m]}
                ax.plot(stretch * (0.5 + ell.index), ell, **look)
            ax.set(yscale="log", xlabel="step")
            last = curves.iloc[-1].rename(pu.METHOD_LABELS).round(1)
            ends.append(", ".join(f"{ell} ({label})" for label, ell in last.items()))
        axes[0].set(ylabel="error ℓ on U", title=f"{half} normal. U: all learn it alike")
        axes[1].set(ylabel="error ℓ on S", title="S: PU holds it above")
        pu.style.legend_below(fig, axes[0], len(methods))
        fig.numbers(**tables[half]["curves"], stretch=stretch)
        fig.alt(f"""Learning curves of the first seed, {half} ones normal. Left: the error on U
            falls, for all methods nearly alike, to {ends[0]}. Right: that on S: {ends[1]}.""")

# %% [markdown]
# *Caption. Means over stretches of a fortieth of the training.*
#
# ## Beside the paper
#
# The paper's Table 3 gives FIDs of models trained from scratch, its Table 4 non-sensitive rates of fine-tuned ones, each over five seeds. The tables between, rates from scratch and FIDs fine-tuned, are not in the text that we could find, and no number of theirs is given here; of the first the text says only that the unsupervised rates lie between 0.762 and 0.917.
#
# | Table 3, FID from scratch | unsupervised | supervised | proposed |
# |---|---|---|---|
# | MNIST even | 3.530 ± .137 | 3.469 ± .130 | 4.969 ± .537 |
# | MNIST odd | 3.379 ± .034 | 3.366 ± .058 | 5.718 ± .652 |
# | CIFAR-10 vehicles | 34.400 ± .622 | 34.310 ± .424 | 32.463 ± .970 |
# | CIFAR-10 animals | 34.448 ± .504 | 34.613 ± .530 | 39.586 ± .573 |
# | STL-10 vehicles | 122.797 ± 3.539 | 122.267 ± 2.114 | 120.633 ± 4.256 |
# | STL-10 animals | 135.999 ± 2.203 | 135.324 ± 1.309 | 149.775 ± 1.522 |
#
# | Table 4, rate, fine-tuned | unsupervised | supervised | proposed | pretrained |
# |---|---|---|---|---|
# | CIFAR-10 vehicles | .741 ± .006 | .763 ± .006 | .858 ± .009 | .318 ± .004 |
# | CIFAR-10 animals | .876 ± .006 | .892 ± .005 | .954 ± .005 | .681 ± .003 |
# | CelebA male | .866 ± .023 | .868 ± .020 | .973 ± .010 | .249 ± .003 |
# | CelebA female | .905 ± .012 | .907 ± .007 | .942 ± .011 | .751 ± .004 |
#
# Ours are from scratch, mean ± deviation over seeds, and the distance is a Fréchet distance on the judge's features, no FID:


# %%
def spread(values):
    return f"{values.mean():.3f} ± {values.std():.3f}"


numbers = ["frechet_classifier", "non_sensitive_rate"]
ours = {half: seeds[numbers].agg(spread).unstack()[methods] for half, seeds in by_seed.items()}
pd.concat(ours, names=["half", "number"]).rename(columns=pu.METHOD_LABELS)

# %% [markdown]
# What can be compared? The *order* and the *ratios* within a row, never a number with a number. The paper's FID has Inception's features, trained on photographs, at 32×32 and with as many samples as test images; ours has 64 features of a small judge that was trained to tell these ten digits apart, at 16×16 and with a thousand samples. Such features are blind to what does not matter for telling digits apart, so our distance can miss a loss of variety within a class, and it is quick to see a class that is missing or too frequent; sensitive digits among the samples raise it, and that is why PU *lowers* it here while it raises the paper's FID on MNIST by about half. The pixel distance has the opposite blindness. Chapter 05 shows both for that reason, and `run --inception` computes the FID where Inception's weights are at hand.
#
# ## Many runs
#
# Data set × method × β × seed is a grid of independent runs. On one machine `run_many` does it, several at a time. On a cluster a workflow engine does it better than any loop of ours: it knows what is done, what failed and what depends on what. `workflow/grid.yaml` writes a grid down, and the rules beside it call the same commands that one would type, so every job goes on from its checkpoint and a finished one is read.
#
# | | |
# |---|---|
# | what would be done | `snakemake --profile workflow/profiles/local -n` |
# | do it here, two jobs at a time | `snakemake --profile workflow/profiles/local --cores 2` |
# | on SLURM | `snakemake --profile workflow/profiles/slurm --config preset=gpu data=mnist/even` |
# | on Kubernetes | `snakemake --profile workflow/profiles/kubernetes --config preset=gpu data=mnist/even` |
#
# A job is due when the key of its result has changed: a setting, the library's code, the data. A chapter is due when its cells are. The last two rows need `pip install -e ".[cluster]"` and the names of your partition or volume in the profile.
#
# ## The check

# %%
page.verdict()

# %% [markdown]
# ## What could go wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | out of memory in the first step | a batch keeps more than fits, see the budget | `accumulate`, a smaller `resolution`, or both; the step stays that of the whole batch |
# | the rate falls when devices are added | each device takes the sign of its own piece | the weights of (3), as `training.train` has them |
# | a resumed run says "belongs to another model or budget" | settings changed under the same checkpoint | delete it, or give the run another seed |
# | the rate is high and samples look alike | β above the share of sensitive images, too many steps | chapter 06; look at the distances |
#
# The third on purpose: a checkpoint of one network given to another.

# %%
with tempfile.TemporaryDirectory() as folder:
    checkpoint = Path(folder) / "checkpoint.safetensors"
    try:
        pu.train(fresh(), sets, short, seed=0, checkpoint=checkpoint, report=stop_at_fifty)
    except KeyboardInterrupt:
        pass
    try:
        pu.train(pu.networks.MLPDenoiser(64), sets, short, seed=0, checkpoint=checkpoint)
    except pu.machine.CheckpointError as error:
        print(str(error).replace(folder, "..."))

# %% [markdown]
# ## Limits
#
# - No number of this chapter comes from a GPU yet; the records name their device. What the loop does there and not on a CPU (bfloat16, compilation) is tested on a CPU, where a compiled step is the plain one but for rounding; how fast it is on a GPU has not been measured. On this CPU neither compilation nor `channels_last` makes training of the small network faster, and on a GPU `channels_last` has not been tried. Presets `gpu` and `paper` are written to the paper's sizes and have been budgeted, not run.
# - Three seeds of one data set, 16×16, a small network, a short training. The paper has eight such experiments with five seeds each.
# - A budget counts operations. Time also depends on how well they are batched and on everything that is none; memory on the library's workspaces. Half precision about halves what a batch keeps.
# - The figure of signs draws its errors from one trained model on digits. Early in training, or with other noise levels in a batch, its numbers are others; that signs differ is not.
# - (3) costs one more forward pass under accumulation. Keeping the gradients of the two parts of the risk apart would cost memory in its place.
#
# ## Exercises
#
# **1.** How many images of CelebA can one training step take in 24 GiB, and in how many pieces has the paper's batch to be taken?
#
# <details><summary>Hint</summary>
#
# `budgets["celeba"].cost.kept_bytes` is for one image; the weights take five times their size.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# cost = budgets["celeba"].cost
# fits = int((24 * 2**30 - 20 * cost.parameters) // cost.kept_bytes)
# print(f"{fits} images at once, so {-(-16 // fits)} pieces of the paper's 16, in float32")
# ```
#
# </details>
#
# **2.** Does sharing a batch hurt the absolute risk as well? Repeat the figure of signs for `pu_absolute` with 8 devices.
#
# <details><summary>Hint</summary>
#
# $|\cdot|$ has a sign too. `pu.losses.risk_and_weights` takes the method's name.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# differ = []
# for k in range(50):
#     ell = one_batch(pu.random_generator(5, k))
#     _, whole_weights = pu.losses.risk_and_weights(ell, (117, 11, 0), method="pu_absolute", beta=beta, gamma=0.0)
#     pooled_weights = torch.zeros_like(ell)
#     for first in range(8):
#         piece = torch.arange(first, 128, 8)
#         n_u = int((piece < 117).sum())
#         _, own = pu.losses.risk_and_weights(ell[piece], (n_u, len(piece) - n_u, 0), method="pu_absolute", beta=beta, gamma=0.0)
#         pooled_weights[piece] = own / 8
#     differ.append(float((pooled_weights - whole_weights).norm() / whole_weights.norm()))
# print(f"weights off by {np.median(differ):.0%} (median)")
# ```
#
# </details>
#
# **3.** The paper fine-tunes CelebA and draws 7,715 images from the model of male faces by DDIM in 50 steps. What does sampling cost then, beside the training?
#
# <details><summary>Hint</summary>
#
# `pu.experiments.budget` takes any experiment; `sampler`, `num_inference_steps` and `num_samples` are settings.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# drawn_quickly = {"sampler": "ddim", "num_inference_steps": 50, "num_samples": 7715}
# b = pu.experiments.budget(pu.experiment("paper", dataset="celeba", normal="male", **drawn_quickly))
# print(f"{b.sampling_flops / b.training_flops:.1f} times the training")
# ```
#
# </details>
#
# ## What we learnt
#
# - What an experiment costs can be counted before it is run; for large images and 1,000 steps, sampling costs far more than training.
# - The PU risk is not a mean. Its sign belongs to the whole batch, and a step is exact in pieces once every image's weight is known.
# - A run that draws its randomness from (seed, step) can be stopped anywhere and ends with the same bits, on a CPU.
# - On real handwriting PU keeps most sensitive digits out, on either half; the released supervised form does little; a distance can be compared within a row, not across tables.
#
# **References**
#
# - Takahashi et al. (2025), *Positive-Unlabeled Diffusion Models for Preventing Sensitive Data Generation* (ICLR): the experiments budgeted and compared here.
# - Kiryo et al. (2017), *Positive-Unlabeled Learning with Non-Negative Risk Estimator*: why the risk is clipped, and the step where it is.
# - Hammoudeh and Lowd (2020), *Learning from Positive and Unlabeled Data with Arbitrary Positive Shift*: the absolute value in its place.
# - Heusel et al. (2017), *GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium*: the Fréchet Inception distance.
