# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Start here
#
# **The question:** what is in this book, does your machine run it, and how do you read its figures and numbers?
#
# | | |
# |---|---|
# | **You will do** | check your machine, train the smallest model of the book, and look at one figure with the numbers behind it |
# | **You will learn** | what the book is after; its symbols; what a preset, a claim and an interval are here |
# | **You need** | Python; for the theory a little probability and calculus. No GPU, no download |
# | **Time** | `ci`, `laptop`, `gpu`, `paper` alike: under half a minute on one core |

# %%
import numpy as np
import pandas as pd

import pudm_lib as pu

# %% tags=["parameters"]
preset = "laptop"  # ci, laptop, gpu or paper
seed = 0  # of the split and of all noise

# %%
page = pu.Page("00_start_here", globals(), presets=("laptop", "gpu", "paper"))
smallest = pu.experiment("ci", seed=seed)
split = pu.make_split(smallest.data, seed)
steps = smallest.training.steps
print(f"{page}; the smallest model: {smallest.network!r}, {steps} steps")

# %% [markdown]
# ## What the book is after
#
# A diffusion model learns to draw what it was shown. Show it a million pictures from the open web and among them are some that nobody wants it to draw: private faces, protected characters, harm. Throwing those out needs labels that nobody has for a million pictures. A few labelled examples are easy to get.
#
# The literature has many answers, from filters to unlearning. This book teaches three of them, one for each place where one can act, on digits that your laptop can train on in a minute:
#
# | answer | when it acts | what it needs |
# |---|---|---|
# | **PUDM**, positive-unlabeled diffusion (Takahashi et al., 2025) | in training | unlabeled images and a few labelled sensitive ones |
# | **Safe Denoiser** (Kim et al., 2025) | in sampling | a trained model and a set of images to stay away from |
# | **SeDID** (Ma et al., 2023) | after the fact | a trained model; tells its images from real ones |
#
# Odd digits play the part of the sensitive images, so nothing on these pages can hurt anyone.
#
# | part | chapter | question |
# |---|---|---|
# | **Foundations** | [01 Noise and denoise](01_noise_and_denoise.ipynb) | what is a diffusion model, where does its ELBO (a lower bound on the log-likelihood) come from, and is the code's number really the ELBO? |
# | | [02 Train a denoiser](02_train_a_denoiser.ipynb) | what is in the training loop, and how often does a model draw what nobody wanted? |
# | | [03 Turn the ELBO into a classifier](03_turn_the_elbo_into_a_classifier.ipynb) | how does the error become a probability, and at which noise levels is it alive? |
# | | [04 Learn from positive and unlabeled](04_learn_from_positive_and_unlabeled.ipynb) | how does one learn what is normal from unlabeled images and a few sensitive ones? |
# | **Protect by training** | [05 Forget the odd digits](05_forget_the_odd_digits.ipynb) | does it work on real digits, and at what cost? |
# | | [06 Choose β](06_choose_beta.ipynb) | where should the method's one knob stand, and can the data tell? |
# | | [07 Scale up](07_scale_up.ipynb) | what changes when images, networks and machines get larger, and what must not? |
# | **Protect by sampling** | [08 Steer without training](08_steer_without_training.ipynb) | can a model stay as it is, and its sampling be moved away from what nobody wants? |
# | | [09 Compare the ways to steer](09_compare_the_ways_to_steer.ipynb) | is the safe denoiser better than its rivals, all tuned alike, and what does it cost? |
# | **Conditions** | [10 Add conditions](10_add_conditions.ipynb) | what changes when a model is asked for a class, with and without guidance? |
# | **Detect** | [13 Detect generated images](13_detect_generated_images.ipynb) | can real and generated images be told apart, and what does a detector really see? |
# | | [14 Test the detector](14_test_the_detector.ipynb) | does the detector hold against rivals with equal tuning, changed images and other models? |
#
# ## Your machine
#
# Versions, cores, memory, data sets. The command `python -m pudm_lib doctor` tells the same and, after timing a few steps, how long each preset's models take here.

# %%
print("\n".join([*pu.book.doctor.machine(), *pu.book.doctor.packages()]))

# %% [markdown]
# ## Presets
#
# Each chapter's second code cell holds its parameters, and the first of those is the preset. It decides sizes and budgets, never a method.
#
# | preset | data | for |
# |---|---|---|
# | `ci` | digits, a few steps | does every cell run; nothing is claimed |
# | `laptop` | digits, 8×8 pixels | the default; the checks of the text must hold |
# | `gpu` | what `dataset` names, say `mnist`, at 32×32 | a larger network and more steps, on one GPU |
# | `paper` | what `dataset` names, at the paper's sizes | the paper's networks, batches and steps |

# %%
rows = {}
for name in pu.experiments.PRESETS:
    e = pu.experiment(name, dataset="digits" if name in ("ci", "laptop") else "mnist")
    rows[name] = {
        "network": e.network,
        "steps": e.training.steps,
        "U in a batch": e.training.batch_unlabeled,
        "S": e.training.batch_sensitive,
        "samples": e.sampling.num_samples,
        "sampler": f"{e.sampling.sampler} {e.sampling.num_inference_steps}",
    }
pd.DataFrame.from_dict(rows, orient="index")

# %% [markdown]
# Every setting can be changed by name, in a chapter or on the command line (`python -m pudm_lib run --help`). A name or a value that cannot be is refused in one line:

# %%
names = sorted(pu.experiments.setting_fields())
print(f"{len(names)} settings: {', '.join(names)}")
for wrong in ({"beta": 1.5}, {"metod": "pnu"}, {"dataset": "digits", "normal": "purple"}):
    try:
        pu.make_split(pu.experiment(preset, **wrong).data, seed)
    except ValueError as error:
        print("refused:", error)

# %% [markdown]
# ## The data in one picture
#
# **U** is what a model is trained on, unlabeled. **S** is a small labelled set of what it must not draw. Blue is normal and vermillion is sensitive throughout the book; a frame with a dot says the same without colour.
#
# **Predict.** Of 660 unlabeled digits 60 are odd. In a sheet of 40, how many frames do you expect?

# %%
hidden = split.hidden_labels[:40]
framed = int(hidden.sum())
sheets = {
    f"U: {framed} of 40 are sensitive, and nobody told the model": (split.x_unlabeled, hidden),
    "S: a few labelled sensitive images": (split.x_sensitive, np.ones(40, bool)),
}
with page.figure("00_data", 1, 2, figsize=(8.5, 2.6)) as (fig, axes):
    for ax, (title, (images, marked)) in zip(axes, sheets.items(), strict=True):
        pu.style.image_sheet(ax, images[:40], columns=10, marked=marked, title=title)
    fig.numbers(framed_of_40=framed, sensitive_share=split.sensitive_share)
    fig.alt(f"""Two sheets of forty 8 by 8 pixel digits. On the left unlabeled ones, {framed} odd
        ones framed. On the right labelled odd digits, all framed.""")

# %% [markdown]
# *Caption. Forty images of U and of S in the order of the split.*
#
# <details><summary>Answer</summary>
#
# $40 \cdot 60/660 \approx 3.6$, give or take 2. The share 60/660 is the true $\beta$ of this book, one in eleven as in the paper.
#
# </details>
#
# ## Does everything work together?
#
# One call takes an experiment through data, network, training, sampling and metrics, and keeps the result under `runs/`, by a hash of the settings and of the versions of the stages that made it. A second call reads it.

# %%
result = pu.run(smallest)
again = pu.run(smallest)
same = bool((result.samples == again.samples).all())
print(f"the second call reads what the first one made: {same}")
assert same, "a second call must read what the first one made"

# %% [markdown]
# Twenty steps teach a network nothing, so its samples are noise, and the judge's opinion of noise means nothing. It is here to show the parts in their places: `result.samples`, `result.sensitive`, `result.numbers`, `result.history`. The **judge** is a small classifier that says which images are sensitive; the **Fréchet distance** says how far two sets of images are apart, and its **floor** is the same between two sets of real images (chapter 02).

# %%
shown = ["non_sensitive_rate", "rate_low", "rate_high", "judge_accuracy"]
shown += ["frechet_pixels", "frechet_pixels_floor"]
pu.frame([result])[shown].round(3)

# %% [markdown]
# ## What a number means here
#
# A rate from a finite number of samples has an interval. This book uses Wilson's at 95 %: in 19 of 20 repetitions it covers the true rate. The cell below simulates it for a true rate of 0.95, and the check beside the figure tests that sentence at four sample sizes.
#
# **Predict.** You draw 100 images and 95 are normal. Is a model with a true rate of 0.90 ruled out?

# %%
true_rate, repetitions = 0.95, 400 if preset == "ci" else 4000
generator = np.random.default_rng(seed)
sizes = [50, 200, 1000, 2000]
coverage, widths = [], []
for n in sizes:
    counts = generator.binomial(n, true_rate, repetitions)
    known = {k: pu.measures.wilson_interval(k, n) for k in np.unique(counts)}
    ends = np.array([known[k] for k in counts])
    coverage.append(((ends[:, 0] <= true_rate) & (true_rate <= ends[:, 1])).mean())
    widths.append((ends[:, 1] - ends[:, 0]).mean())

# %%
hundred = generator.binomial(200, true_rate, 100)
ends = np.array([pu.measures.wilson_interval(k, 200) for k in hundred])
misses = (ends[:, 0] > true_rate) | (ends[:, 1] < true_rate)
missed = int(misses.sum())

# %%
with page.figure("00_intervals", 1, 2, figsize=(8.5, 2.9)) as (fig, (left, right)):
    for i, k in enumerate(hundred):
        bars = pu.style.error_bars([k / 200], [ends[i]])
        marker, colour = ("s", pu.SENSITIVE) if misses[i] else ("o", pu.NORMAL)
        left.errorbar(i, k / 200, yerr=bars, fmt=marker, color=colour, markersize=4)
    left.axhline(true_rate, color="0.4", linestyle="--")
    left.set(xlabel="repetition", ylabel="rate and interval, n = 200")
    left.set_title(f"{missed} of 100 intervals miss the truth")
    right.loglog(sizes, widths, "o-", color=pu.NORMAL)
    right.set(xlabel="samples", ylabel="width of the interval")
    right.set_title("Four times the samples, half the width")
    fig.numbers(sizes=sizes, coverage=coverage, widths=widths)
    covers = "the Wilson interval covers at least 93 % at every size"
    fig.check(covers, min(coverage), at_least=0.93)
    fig.alt(f"""Left: a hundred simulated rates with intervals, {missed} of which miss the true rate
        of 0.95. Right: the interval's width falls from {widths[0]:.2f} at 50 samples to
        {widths[-1]:.3f} at 2,000, on log axes.""")

# %% [markdown]
# *Caption. Left: square markers are intervals that miss the true rate (dashed). Right: mean width over all repetitions.*
#
# <details><summary>Answer</summary>
#
# No: 95 of 100 has the interval 0.89 to 0.98. This is why the models of this book draw 2,000 images each.
#
# </details>
#
# The numbers that the book's text relies on come from such figures; what a cell only prints is not kept. Beside each figure lies a JSON file with the numbers it shows, the parameters that made it and its **claims**: sentences with a value, a bound and a verdict. There are two kinds.
#
# - A **check** is mathematics, or a bound that was set after its number was seen. It must hold, or the chapter stops.
# - A **prediction** is a sentence about the world, ours or a paper's, written down before its seeds were run. It is judged on its interval: *confirmed* if all of the interval satisfies the bound, *refuted* if none of it does, *undecided* if it straddles. Whatever comes out stays in, and the text says so.
#
# `python -m pudm_lib claims` prints them all.
#
# ## The check
#
# A chapter ends with all of its claims. This one has a single check.

# %%
page.verdict()

# %% [markdown]
# ## Symbols
#
# | symbol | in code | meaning |
# |---|---|---|
# | $x_0$, $x_t$ | `x0`, `x_t` | clean image in $[-1,1]$; the same with noise of level $t$ |
# | $T$, $t$ | `num_train_timesteps`, `t` | number of noise levels; one of them |
# | $\beta_t$, $\bar\alpha_t$ | `betas`, `alphas_cumprod` | the noise schedule, always plural in code |
# | $\epsilon$, $\epsilon_\theta$ | `eps`, `eps_hat` | the noise; the network's guess of it |
# | $\ell(x)$ | `ell` | denoising error of an image, shape (B,) |
# | $\beta$ | `beta` | share of sensitive images in U, always singular in code |
# | $\tau$ | `tau` | temperature in $p(\text{normal}\mid x)=e^{-\ell/\tau}$ |
# | $p_N, p_S, p_U$ | | densities of normal, sensitive and unlabeled images |
# | U, S, N | `x_unlabeled`, `x_sensitive`, `x_normal` | unlabeled, labelled sensitive, labelled normal images |
# | | `non_sensitive_rate` | share of samples that the judge calls normal |
#
# ## What could go wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | `No module named pudm_lib` | the notebook runs in another Python than the one the book was installed in | `make lab`, or choose the kernel of `.venv` |
# | a data set is not found | it lies elsewhere | set `PUDM_DATA` to the folder that holds it; `python -m pudm_lib data list` says where it looked |
# | an old result seems to come back | it does not: the key holds the settings and the versions of the stages | delete `runs/` if in doubt; everything in it can be made again |
#
# The second one on purpose:

# %%
try:
    pu.data.open_dataset("no_such_folder")
except pu.data.DataError as error:
    print(str(error).split("; ")[0])

# %% [markdown]
# ## Limits
#
# - Digits of 8×8 pixels show every effect of the methods and not the size of it on photographs.
# - "Sensitive" here is a class that can be counted. In the world it is a judgement, and the labelled examples carry someone's.
# - None of the methods is a guarantee.
#
# ## Exercises
#
# **1.** How many samples does a rate of about 0.95 need for an interval 0.01 wide?
#
# <details><summary>Hint</summary>
#
# The width falls with the square root of the number of samples. Try `pu.measures.wilson_interval` with growing $n$.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# n = 100
# while np.diff(pu.measures.wilson_interval(round(0.95 * n), n))[0] > 0.01:
#     n = int(n * 1.1)
# print(n)
# assert 6000 < n < 9000
# ```
#
# </details>
#
# **2.** Which images of U are sensitive? Find the first five, and their positions in the data set's own training part.
#
# <details><summary>Hint</summary>
#
# `split.hidden_labels` and `split.indices["unlabeled"]` have the same order.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# positions = split.hidden_labels.nonzero()[:5, 0]
# print(positions.tolist(), split.indices["unlabeled"][positions].tolist())
# assert split.hidden_labels[positions].all()
# ```
#
# </details>
#
# **3.** Are U and S disjoint? Check it for three seeds.
#
# <details><summary>Hint</summary>
#
# `np.intersect1d` of the indices.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# for s in range(3):
#     indices = pu.make_split(smallest.data, s).indices
#     assert len(np.intersect1d(indices["unlabeled"], indices["sensitive"])) == 0
# print("disjoint")
# ```
#
# </details>
#
# ## What we learnt
#
# - What the book is after, and that this machine runs it.
# - The symbols, and the colours with their meaning.
# - A preset decides sizes; a claim is a sentence with a bound, a check or a prediction; a rate has an interval.
#
# **Next:** chapter 01 noises a picture, takes the noise away again, and finds out what that has to do with probability.
#
# **References**
#
# - Takahashi et al. (2025), *Positive-Unlabeled Diffusion Models for Preventing Sensitive Data Generation*: the paper of chapters 02 to 05.
# - Kim et al. (2025), *Training-Free Safe Denoisers for Safe Use of Diffusion Models*: protection at sampling time.
# - Ma et al. (2023), *Exposing the Fake: Effective Diffusion-Generated Images Detection*: SeDID.
# - Wilson (1927), *Probable inference, the law of succession, and statistical inference*: the interval used throughout.
