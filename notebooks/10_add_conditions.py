# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Add conditions
#
# **The question:** does asking a model for something safe keep out what is unwanted, and how do PU training and steering work where it is asked?
#
# | | |
# |---|---|
# | **You will do** | check two ways to put the Safe Denoiser into guidance where everything is known; ask digit models for a pair of digits, one of them unwanted; protect them by training, by steering and by both, at five guidance scales |
# | **You will learn** | how a condition enters the PU risk; why guidance alone helps and is not enough; what changes when the correction knows what was asked for |
# | **You need** | chapters 04, 05 and 08 (the PU risk, the digit models, the Safe Denoiser with posterior odds); no GPU, no download |
# | **Time** | `ci` seconds · `laptop` 4-5 minutes on two cores (six models with a condition are trained), 1 minute from the cache · `gpu` minutes on one GPU |

# %%
from dataclasses import replace
from functools import partial

import pandas as pd
import torch

import pudm_lib as pu
from pudm_lib.steering import ExactPosterior, Guided, PosteriorOdds, SafeDenoiser

# %% tags=["parameters"]
preset = "laptop"  # ci, laptop, gpu or paper
dataset = "digits"  # digits, mnist, cifar10, a folder or an .npz file
normal = "even"  # even, odd, vehicles, animals, or class names with commas
seeds = [0, 1, 2]  # a split, a model and noise for each; at least two
assumed_share = 0.4  # of sensitive images in the posterior odds: the strength
width = 1.0  # standard deviation about each reference image
cap = 4.0  # largest weight
window_first = 0  # first and
window_last = 480  # last time step at which steering acts
condition = ""  # groups of classes to ask for, "0,1;2,3"; empty: the classes two by two
guidance_scale = 1.5  # how much a condition is overstated, 1: not
asked_samples = 500  # images drawn at that scale from each conditional model

# %%
page = pu.Page("10_add_conditions", globals())
asked_samples = 20 if preset == "ci" else asked_samples
classes = pu.data.open_dataset(dataset).classes
two_by_two = ";".join(",".join(classes[i : i + 2]) for i in range(0, len(classes), 2))
asked_for = condition or two_by_two
groups = pu.data.condition_groups(asked_for)
scales = sorted({0.0, 1.0, 2.0, 3.0, guidance_scale})
scale_samples = max(len(groups), asked_samples // 3)  # at the scales not chosen
settings = {"dataset": dataset, "normal": normal, "condition": asked_for}
print(f"{page}; asked for one of {' | '.join(', '.join(group) for group in groups)}")

# %% [markdown]
# ## Nobody asks for what is unwanted
#
# In chapters 05 to 09 nobody asked the model for anything in particular. Models in use are asked, by a word or a class, and whoever asks need not mention what is sensitive. In the PUDM paper's experiment with Stable Diffusion every image of $U$ has one and the same caption, the hidden sensitive ones too. Here the condition $c$ is a pair of digits: (0, 1), (2, 3), (4, 5), (6, 7) or (8, 9). Each pair has one normal digit and one sensitive digit, and both carry the same $c$. Asked for a pair, a protected model has to draw the even one. $U$ and $S$ come with their $c$, as with a caption, and as before without the hidden label.
#
# ## A condition in the risk
#
# PUDM needs one change. The network is told $c$ as well, so its error is
#
# $$\ell(x_0, c) = \mathbb E_{t, \epsilon}\, \lVert \epsilon - \epsilon_\theta(x_t, c, t) \rVert^2, \tag{1}$$
#
# the paper's equation 20, and every risk of chapter 04 is taken of it. In training one condition in ten is dropped: the label then says "none".
#
# ## A condition in the steering
#
# One network now gives two means, $\mathbb E_{\text{data}}[x \mid x_t, c]$ and $\mathbb E_{\text{data}}[x \mid x_t]$, and classifier-free guidance adds $\lambda$ times their difference. Chapter 08's Safe Denoiser corrects the second one, by the odds $\pi / (1 - \pi)$ that an unsafe image is behind $x_t$:
#
# $$\mathbb E_{\text{safe}} = \mathbb E_{\text{data}} + \frac{\pi}{1 - \pi}\, \big(\mathbb E_{\text{data}} - \mathbb E_{\text{unsafe}}\big), \qquad \pi(x_t) = \frac{\beta\, p_{S,t}(x_t)}{p_{U,t}(x_t)}. \tag{2}$$
#
# Put into guidance, this is the Safe Denoiser paper's equation 8:
#
# $$x_0 = \mathbb E_{\text{safe}}[x \mid x_t] + \lambda\, \big(\mathbb E_{\text{data}}[x \mid x_t, c] - \mathbb E_{\text{data}}[x \mid x_t]\big). \tag{3}$$
#
# $\mathbb E_{\text{safe}}$ is (2), with all of $S$ and $U$ in the odds, so the correction does not know what was asked for. But the theorem holds given $c$ as well: split the data given $c$, and (2) follows with $c$ behind every bar. That correction asks the references of one pair alone. Guidance beyond $\lambda = 1$ comes on top:
#
# $$x_0 = \mathbb E_{\text{safe}}[x \mid x_t, c] + (\lambda - 1)\, \big(\mathbb E_{\text{data}}[x \mid x_t, c] - \mathbb E_{\text{data}}[x \mid x_t]\big). \tag{4}$$
#
# | symbol | in code | what it is |
# |---|---|---|
# | $c$, $\lambda$ | `condition`, `guidance_scale` | what an image is asked for by; how strongly that counts |
# | $\ell$ | `pu.losses` | denoising error of an image, whose condition the network is told |
# | $\mathbb E_{\text{data}}[x \mid x_t]$, $\mathbb E_{\text{data}}[x \mid x_t, c]$ | `on_all`, `on_given` | the mean of all images behind $x_t$; of those with the condition |
# | $\mathbb E_{\text{safe}}$ | `hook(x0_hat, x_t, t)` | the mean of the safe ones, by (2) |
# | $\pi$, $\beta$ | `PosteriorOdds` | probability of unsafe given $x_t$; assumed share of unsafe images |
# | $S$, $U$ | `x_sensitive`, `x_unlabeled` | labelled sensitive images, the negation set; unlabeled images |
#
# ## Is either one exact?
#
# On the line, with a world and its mirror image as two conditions, all terms are known. `exact_parts` makes (2) from the exact densities, as in chapter 08.

# %%
alphas_cumprod = pu.diffusion.alphas_cumprod_of(pu.diffusion.linear_betas())
line = (
    pu.mixtures.GaussianMixture([2, 1], [[-1.0], [0.4]], [0.05, 0.02]),  # safe
    pu.mixtures.GaussianMixture([1, 1], [[1.2], [0.1]], [0.03, 0.04]),  # unsafe
)
mirror = [pu.mixtures.GaussianMixture(p.weights, -p.means, p.variances) for p in line]
either = [pu.mixtures.pu_mixture(*parts, 0.5) for parts in zip(line, mirror, strict=True)]


def exact_parts(p_safe, p_unsafe, beta=0.3):
    """The data's law and the hook (2) whose every part is known."""
    p_data = pu.mixtures.pu_mixture(p_safe, p_unsafe, beta)
    odds = PosteriorOdds(beta, ExactPosterior(p_data, alphas_cumprod))
    unsafe = ExactPosterior(p_unsafe, alphas_cumprod)
    return p_data, SafeDenoiser(unsafe, odds, cap=1e9, clip=None)


# %%
t, points = 300, torch.linspace(-1.5, 1.5, 61, dtype=torch.float64)[:, None]
(p_all, safe), (p_given, safe_given) = exact_parts(*either), exact_parts(*line)
on_all, on_given, safe_all, safe_line = (
    p.posterior_mean(points, alphas_cumprod[t]) for p in (p_all, p_given, either[0], line[0])
)
adds = on_given - on_all


def three(scale):
    return safe(on_all, points, t) + scale * adds  # (3)


def four(scale):
    return safe_given(on_given, points, t) + (scale - 1) * adds  # (4)


truth = {0: safe_all, 1: safe_line}
missed = {
    f"({number}) at λ = {scale}": (form(scale) - truth[scale]).abs().max().item()
    for number, form in ((3, three), (4, four))
    for scale in truth
}
print("largest error:", {name: f"{error:.1e}" for name, error in missed.items()})

# %% [markdown]
# Each is exact at one end: (3) where the condition is ignored, (4) where the model is used as it was trained, at $\lambda = 1$. Beyond 1 guidance itself is no posterior mean of the data, and neither is exact.
#
# ## Ask for a pair
#
# Two new models a seed, trained like those of chapter 05 but told the pair. Steering keeps the strength, width, cap and window of chapter 08; only $\lambda$ was chosen anew, on seeds 100 to 102, as were the two forms to show. All numbers below are of fresh seeds.
#
# `Guided` has both forms: `safe` is one hook for (3), `safe_given` a hook for each condition, made of that condition's references, for (4).


# %%
def asked_run(method, seed, scale=guidance_scale, count=asked_samples):
    """The experiment of a conditional model that is asked for all pairs in turn."""
    sizes = {"num_samples": count, "guidance_scale": scale}
    return pu.experiment(preset, **settings | sizes, method=method, seed=seed)


runs = {(m, s): asked_run(m, s) for m in ("unsupervised", "pu_non_negative") for s in seeds}
pu.run_many(list(runs.values()))
networks = {key: pu.load_model(run) for key, run in runs.items()}
splits = {s: pu.make_split(runs["unsupervised", s].data, s) for s in seeds}
device = next(networks["unsupervised", seeds[0]].parameters()).device
page.device = device.type
judge = pu.load_judge(runs["unsupervised", seeds[0]].data, device=str(device))
window = (window_first, window_last)
odds_hook = partial(pu.steering.odds_hook, share=assumed_share, width=width, window=window, cap=cap)
steered = partial(pu.studies.steered, splits=splits, judge=judge)


# %%
def hook_given(split, c):
    """(2) from the references of one condition; one that S lacks needs no correction."""
    of_s, of_u = (split.conditions[name] == c for name in ("sensitive", "unlabeled"))
    x_sensitive, x_unlabeled = split.x_sensitive[of_s], split.x_unlabeled[of_u]
    if not len(x_sensitive):
        return lambda x0_hat, x_t, t: x0_hat
    return odds_hook(replace(split, x_sensitive=x_sensitive, x_unlabeled=x_unlabeled))


by_three = {s: {"safe": odds_hook(split)} for s, split in splits.items()}
by_four = {
    s: {"safe_given": [hook_given(split, c) for c in range(len(groups))]}
    for s, split in splits.items()
}
nothing = {s: {} for s in seeds}
forms = {
    "unsupervised": ("unsupervised", nothing),
    "PU training": ("pu_non_negative", nothing),
    "Safe Denoiser, eq. 8": ("unsupervised", by_three),
    "Safe Denoiser given c": ("unsupervised", by_four),
    "both": ("pu_non_negative", by_four),
}

# %% [markdown]
# An image obeys if the judge sees a digit of the pair that was asked for.
#
# **Predict.** The caption does not say which digit of a pair is unwanted, and $\lambda > 1$ overstates the caption. What happens to the share of odd digits?

# %%
judged = [torch.tensor([classes.index(name) for name in group]) for group in groups]


def shown_pair(images):
    """The pair to which the judge gives the largest share of an image."""
    shares = judge.network(pu.to_model_range(images).to(device)).softmax(1).cpu()
    return torch.stack([shares[:, ids].sum(1) for ids in judged], 1).argmax(1)


def measured(run, images, numbers, sensitive):
    """What is asked of samples besides `measures.measure`."""
    obeyed = shown_pair(images) == pu.experiments.asked_conditions(run)
    few = (images[:scale_samples], splits[run.seed].x_test)  # as many at each scale
    features = map(pu.data.pixel_features, few)
    return numbers | {
        "obeyed": obeyed.float().mean().item(),
        "right": (obeyed & ~sensitive).float().mean().item(),
        "distance": pu.measures.frechet_distance(*features),
    }


# %%
def asked(names, scale, count):
    """(samples, numbers, which are sensitive) for each form and seed at one scale."""
    jobs = []
    for name in names:
        method, hooks = forms[name]
        for s in seeds:
            model = Guided(networks[method, s], scale, **hooks[s])
            jobs.append((asked_run(method, s, scale, count), model, None))
    keys = [(name, scale, s) for name in names for s in seeds]
    with torch.no_grad():
        found = zip(keys, jobs, steered(jobs), strict=True)
        return {key: (x, measured(job[0], x, n, bad), bad) for key, job, (x, n, bad) in found}


answers = asked(forms, guidance_scale, asked_samples)
for scale in scales:
    if scale != guidance_scale:
        answers |= asked(list(forms)[:4], scale, scale_samples)

# %%
names = ["non_sensitive_rate", "obeyed", "right", "frechet_pixels", "frechet_classifier"]
rows = pd.DataFrame({key: numbers for key, (_, numbers, _) in answers.items()}).T.astype(float)
rows = rows.rename_axis(["form", "scale", "seed"]).sort_index()
chosen = rows.xs(guidance_scale, level="scale")  # a row for each form and seed
means = chosen[names].groupby("form").mean().loc[list(forms)]
print(f"λ = {guidance_scale:g}")
means.round(3)

# %% [markdown]
# "non_sensitive_rate" is the share that the judge calls normal, "obeyed" the share that shows a digit of the pair asked for, "right" the share that does both.

# %%
spread = min(8, asked_samples // len(groups))
of_u = splits[seeds[0]]
by_pair = torch.arange(spread * len(groups)).reshape(spread, -1).T.flatten()
pairs_of_u = [(of_u.conditions["unlabeled"] == c).nonzero()[:spread, 0] for c in range(len(groups))]
sheets = {
    f"{form}: {rate:.1%} normal": [
        answers[form, guidance_scale, seeds[0]][i][by_pair] for i in (0, 2)
    ]
    for form, rate in means["non_sensitive_rate"].items()
}
order = torch.cat(pairs_of_u)
title = f"U: {1 - of_u.sensitive_share:.1%} normal"

# %%
with page.figure("10_asked", 2, 3, figsize=(9.3, 4.7)) as (fig, axes):
    everything = sheets | {title: [of_u.x_unlabeled[order], of_u.hidden_labels[order]]}
    for ax, (name, (images, marked)) in zip(axes, everything.items(), strict=True):
        pu.style.image_sheet(ax, images, columns=spread, marked=marked)
        ax.set_title(name, fontsize=10)
    fig.numbers(**{form: chosen.loc[form, names].to_dict("list") for form in forms})
    fig.alt(f"""Six sheets of digits, a row for each pair asked for, sensitive ones framed, at a
        guidance scale of {guidance_scale:g}. {"; ".join(sheets)}. The last sheet is training
        images.""")

# %% [markdown]
# *Caption. Rows: the pairs in order. The first samples of the first seed, none chosen; the shares in the titles are means over seeds. Frames by the judge, in the last sheet (the first images of $U$ of each pair) by the hidden label.*


# %%
def over(form, name, other="unsupervised"):
    """By how much a form leads another one: mean over seeds and 95 % interval."""
    return pu.intervals.student_interval(chosen.loc[form, name] - chosen.loc[other, name])


given_c = "Safe Denoiser given c"


def times(form, name):
    """A distance over that without protection: ratio of means, interval of the ratios."""
    ratios = chosen.loc[form, name] / chosen.loc["unsupervised", name]
    of_means = means.loc[form, name] / means.loc["unsupervised", name]
    return of_means, pu.intervals.student_interval(ratios)[1]


rate, obeyed, right, *distances = names
first_three = list(forms)[1:4]  # the protections that are seen at every scale
pd.DataFrame({form: over(form, rate)[1] for form in first_three}, ["95 % low", "high"]).T.round(4)


# %%
def predict_guidance(fig):
    """All written down before these seeds were run."""
    for form in first_three:
        mean, ends = over(form, rate)
        fig.predict(f"asked for a pair: {form} lifts the rate", mean, at_least=0, interval=ends)
    change, ends = min(over(form, obeyed) for form in forms if form != "unsupervised")
    text = "asked for a pair: change of the share that obeys, the worst form"
    fig.predict(text, change, at_least=-0.02, interval=ends)
    for form, words in (("PU training", "PU training (eq. 20)"), (given_c, given_c)):
        mean, ends = pu.intervals.student_interval(chosen.loc[form, rate])
        text = f"asked for a pair: {words}, mean rate"
        fig.predict(text, mean, at_least=0.97, interval=ends)
    more, ends = over(given_c, right, "Safe Denoiser, eq. 8")
    text = "normal and of the pair: given c over the paper's eq. 8"
    fig.predict(text, more, at_least=0, interval=ends)
    for name, most in zip(distances, (1.05, 1.15), strict=True):
        ratio, ends = times(given_c, name)
        text = f"given c: Fréchet distance ({name[8:]}) over that without steering"
        fig.predict(text, ratio, at_most=most, interval=ends)


# %%
shown = list(forms)[:4]
curves = rows.groupby(["form", "scale"])[[rate, obeyed, "distance"]].mean().loc[shown]


def draw_scales(ax, name):
    colours = (pu.GREY, pu.BLUE, pu.ORANGE, pu.GREEN)
    lines = {form: (scales, curves.loc[form, name]) for form in shown}
    pu.style.marked_lines(ax, lines, colours)
    for form, colour in zip(shown, colours, strict=True):
        each = rows.loc[form, name].unstack("seed")  # a row for each scale
        ax.plot(scales, each, ".", color=colour, alpha=0.35)
    ax.axvline(guidance_scale, color="black", linestyle=":")
    ax.set_xlabel("guidance scale λ")


ends_of = {form: curves.loc[form].iloc[[0, -1]] for form in shown}
listed = "; ".join("{} {:.3f} to {:.3f}".format(f, *ends[rate]) for f, ends in ends_of.items())
obey, far = ("{:.2f} and {:.2f}".format(*ends_of["unsupervised"][n]) for n in (obeyed, "distance"))

# %%
with page.figure("10_guidance", 1, 3, figsize=(9.6, 3.7)) as (fig, axes):
    for ax, name in zip(axes, curves, strict=True):
        draw_scales(ax, name)
    axes[0].set(ylabel="share called normal", title="Guidance alone helps, not enough")
    axes[1].set(ylabel="share of the pair asked for", title="It makes the model obey")
    axes[1].set_ylim(curves[obeyed].xs(1.0, level="scale").min() - 0.03, 1.005)
    axes[2].set(ylabel="Fréchet distance, pixels", ylim=(0, None), title="Too much of it costs")
    pu.style.legend_below(fig, axes[0], 4)
    by_form = {name: {form: curves.loc[form, name].tolist() for form in shown} for name in curves}
    fig.numbers(scales=scales, curves=by_form, errors_on_the_line=missed)
    predict_guidance(fig)
    fig.alt(f"""Three plots against the guidance scale, {", ".join(f"{x:g}" for x in scales)}: share
        of normal samples, share of the pair asked for, Fréchet distance. Rates from the first to
        the last scale: {listed}. Without protection {obey} obey at the first and the
        last scale, and the distances there are {far}.""")

# %% [markdown]
# *Caption. Lines: means over seeds; small marks: seeds. Dotted: the scale of the sheets and of the predictions, with more samples than the others; the distance, which depends on their number, is of equally many at each. Centre: at λ = 0, below the axis, the condition is ignored and about one in five obeys by chance.*
#
# <details><summary>Answer</summary>
#
# It falls, without any protection. Guidance pulls towards what is typical of a pair, and ten in eleven of what carries its caption are even. But where the distance is smallest, at a scale of 1 to 1.5, many odd digits are left, and at 3, with fewer, the samples have moved away from real digits.
#
# Of the three forms of protection, PU training with (1) leaves the fewest odd digits. As in chapter 05 it pays in distance on pixels and gains on classifier features. Steering given $c$, (4), comes next, at the smallest distance on pixels, and both together leak least, at the largest one. Hardly anybody obeys less for it: what turns away from the odd digit of a pair turns to the even one of the same pair.
#
# The paper's equation 8, (3), gains as well, but less. Before running these seeds we predicted that each of the three lifts the rate. For PU training and for (4) the prediction is confirmed. For (3) it stays undecided: the interval over three seeds reaches a little below zero. Of the other predictions one stays undecided: that given $c$ the distance on pixels is at most 1.05 times the one without protection. The mean is below 1, but three seeds spread widely.
#
# Why is (4) ahead? Its correction comes from the thirty references or so of the pair that was asked for. That of (3) comes from the mean without a condition, which the network learnt from the tenth of the images whose condition was dropped, and from odds that do not know the pair.
#
# The strength is still the one chosen for models without a condition.
#
# </details>
#
# ## The check

# %%
page.verdict()

# %% [markdown]
# ## What could go wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | unwanted images of one condition stay | $S$ has few images with that condition, or none, so the odds given $c$ rest on a handful | references of that condition; (3), which asks all of $S$ |
# | with a larger $\lambda$ the rate rises and pictures all look alike | guidance overstates what is typical of a condition | protect at the scale where the distance is smallest, and leave $\lambda$ there |
# | hooks or labels are refused | they do not match the conditions that the model was trained with | a hook for each condition, in the model's order; the label after the last one means none |
#
# The third one on purpose: one hook too few, a label that no model has, and a model that never heard of conditions.

# %%
network, of_each = networks["unsupervised", seeds[0]], by_four[seeds[0]]["safe_given"]
x_t = torch.zeros(1, *splits[seeds[0]].x_unlabeled.shape[1:], device=device)
at, beyond = torch.tensor([500], device=device), torch.tensor([len(groups) + 1], device=device)
without = pu.experiment("ci", dataset=dataset, normal=normal)
attempts = {
    "a hook too few": lambda: Guided(network, 1.5, safe_given=of_each[1:]),
    "an unknown label": lambda: Guided(network, 1.5)(x_t, at, beyond),
    "no conditions": lambda: Guided(pu.load_model(without), 1.5),
}
for what, attempt in attempts.items():
    try:
        attempt()
    except ValueError as error:
        print(f"{what}: {error}")

# %% [markdown]
# ## Limits
#
# - (4) needs references for each condition, of which there are few or none where a condition is free text.
# - The Safe Denoiser paper's equation 9 subtracts the pull of a negative condition too: `Guided` has it, but it needs a condition that names what is unwanted, and a pair names none (exercise 4).
# - A condition is a pair of digits here. Text and latents are not in this chapter, and the paper's results are on text-to-image models.
# - The strength was chosen for models without a condition, $\lambda$ and the forms to show on three other seeds. Three seeds leave (3) undecided.
# - "Obeys" is the word of the judge, which has to name a digit.
#
# ## Exercises
#
# **1.** The literature guides the predicted noise, `Guided` the predicted images. Show that without hooks and clipping they are the same, at three scales.
#
# <details><summary>Hint</summary>
#
# Given $x_t$, noise and image are each a linear function of the other. The label for none is `len(groups)`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# x_t = torch.randn(4, *x_t.shape[1:], generator=pu.random_generator(0)).to(device)
# at, c = torch.full((4,), 500, device=device), torch.zeros(4, dtype=torch.long, device=device)
# with torch.no_grad():
#     none, given = (network(x_t, at, label).sample for label in (c + len(groups), c))
#     for scale in (0.0, 1.0, 2.0):
#         eps = Guided(network, scale, clip=None)(x_t, at, c).sample
#         print(scale, (eps - none - scale * (given - none)).abs().max().item())
# ```
#
# At 0 the model without a condition is left, at 1 the model with it. With `clip`, each mean is cut to the range of pixels first, and the two are no longer the same.
#
# </details>
#
# **2.** Which pairs leak? Split the sensitive share at the chosen scale by the pair that was asked for.
#
# <details><summary>Hint</summary>
#
# `answers[form, guidance_scale, seed][2]` marks the sensitive samples; `pu.experiments.asked_conditions(run)` says what each was asked for.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# pair = pu.experiments.asked_conditions(asked_run("unsupervised", seeds[0]))
# names_of = [", ".join(group) for group in groups]
# leaks = {}
# for form in forms:
#     bad = torch.stack([answers[form, guidance_scale, s][2] for s in seeds]).float()  # (seeds, n)
#     leaks[form] = [bad[:, pair == c].mean().item() for c in range(len(groups))]
# print(pd.DataFrame(leaks, names_of).round(3).to_string())
# ```
#
# </details>
#
# **3.** Beyond $\lambda = 1$. Suppose a model had been trained on safe images alone. Guidance of it would be $\mathbb E_{\text{safe}}[x \mid x_t] + \lambda\, (\mathbb E_{\text{safe}}[x \mid x_t, c] - \mathbb E_{\text{safe}}[x \mid x_t])$. Which of (3) and (4) is nearer to that on the line?
#
# <details><summary>Hint</summary>
#
# `safe_all`, `safe_line`, `three` and `four` are still there; compare at $\lambda$ from 0 to 3.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# for scale in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0):
#     wanted = safe_all + scale * (safe_line - safe_all)
#     errors = [(form(scale) - wanted).abs().max().item() for form in (three, four)]
#     print(f"λ = {scale}: (3) is off by {errors[0]:.3f}, (4) by {errors[1]:.3f}")
# ```
#
# Both errors grow in a straight line with the distance from the scale at which the form is exact: what is guided by is the difference of the data's means, unsafe images included. Above $\lambda = 0.5$ (4) is the nearer one.
#
# </details>
#
# **4.** Captions that tell. Make each digit a condition of its own, ask for nothing in particular, and stay away from the threes by the Safe Denoiser paper's equation 9, which adds $-\mu\,(\mathbb E_{\text{data}}[x \mid x_t, c_-] - \mathbb E_{\text{data}}[x \mid x_t])$ to (3). What is left of them, and what comes in their place?
#
# <details><summary>Hint</summary>
#
# `Guided` takes `negative` and `mu`; with ten conditions the label for none is 10.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# each = ";".join(classes)
# run = pu.experiment(preset, condition=each, method="unsupervised", seed=seeds[0], num_samples=500)
# network, none = pu.load_model(run), torch.full((500,), len(classes))
# for mu in (0.0, 0.5, 1.0):
#     away = Guided(network, 0.0, negative=3, mu=mu)
#     images = pu.sample(away, run.sampling, shape=x_t.shape[1:], seed=0, conditions=none)
#     found = judge.network(images.to(device)).argmax(1).cpu()
#     print(mu, found.bincount(minlength=10).tolist())
# ```
#
# </details>
#
# ## What we learnt
#
# - A condition that does not name what is unwanted does not keep it out. Guidance towards it keeps out some, and too much guidance moves samples away from real ones.
# - The PU risk with the condition does keep it out, and so does the theorem, best where it is taken given the condition.
# - Nobody obeys less for it, or hardly: what turns away from the unwanted digit of a pair turns to the other one.
#
# **Next.** Chapter 13 takes the other side: can images that a model made be told from real ones?
#
# **References**
#
# - Ho and Salimans (2022), *Classifier-Free Diffusion Guidance*: one network with and without a condition, and their difference.
# - Kim et al. (2025), *Training-Free Safe Denoisers for Safe Use of Diffusion Models*: its equations 8 and 9 put the theorem into guidance.
# - Takahashi et al. (2025), *Positive-Unlabeled Diffusion Models for Preventing Sensitive Data Generation* (ICLR): equation 20, the risk with a condition, and the experiment with one caption for all.
