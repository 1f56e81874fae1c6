# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · Turn the ELBO into a classifier
#
# **Can the loss that a diffusion model already has say "normal" or "sensitive", and does it then push sensitive images away?**
#
# > **You will do.** Minimise the classifier's loss where its minimum is known; find where its formula breaks in float32; measure on real digits at which noise levels its gradient is alive; train with a mean in place of a sum and watch what happens.
# >
# > **You will learn.** Where $p(y{=}0 \mid x) = e^{-\ell}$ comes from and what minimises it; why a floor under $\ell$ keeps the minimum out of reach; that the number of pixels decides whether the term acts; why the supervised loss of the released code has little to act with.
# >
# > **You need.** Chapter 01's $\ell$, a logarithm's derivative, binary cross-entropy. The trained denoiser is chapter 02's; it is trained here if it is not there yet.
# >
# > **Time and hardware.** Presets `laptop`, `gpu` and `paper`: about 40 seconds on one CPU core, and about a minute more where chapter 02's model must be trained first (the chapter is the same for all three: it is about 8×8 digits). Preset `ci`: seconds, no claim checked.

# %%
import math

import pandas as pd
import torch

import pudm_lib as pu

# %% tags=["parameters"]
preset = "laptop"  # ci, laptop, gpu or paper
seed = 0  # of the split, the model and everything random in this chapter
alive_slope = 0.1  # the term counts as alive where 1 / (e^ell - 1) is above this
num_levels = 25  # noise levels at which ell is measured
num_images = 100  # images for which it is measured, of S and of the test part
run_steps = 200  # training steps of each short run with a sum or a mean

# %%
every_machine = ("laptop", "gpu", "paper")  # the chapter is the same on each
page = pu.Page("03_turn_the_elbo_into_a_classifier", globals(), presets=every_machine)
quick = preset == "ci"
if quick:
    num_levels, num_images, run_steps = 5, 16, 12
num_train_timesteps = 1000
alphas_cumprod = pu.diffusion.alphas_cumprod_of(pu.diffusion.linear_betas(num_train_timesteps))
levels = ((torch.arange(num_levels) + 0.5) * num_train_timesteps / num_levels).long()
print(page, f"indices {levels[0]} to {levels[-1]}")

# %% [markdown]
# ## The symbols of this chapter
#
# | symbol | in code | meaning |
# |---|---|---|
# | $x$, $y$ | | an image; its label, 0 normal, 1 sensitive |
# | $\ell(x)$ | `ell` | the denoising error of chapter 01, summed over the $D$ numbers of the image |
# | $\tau$ | `tau` | temperature: $e^{-\ell/\tau}$ in place of $e^{-\ell}$; 1 unless said otherwise |
# | $U$, $S$ | `x_unlabeled`, `x_sensitive` | unlabeled images (some of them secretly sensitive); labelled sensitive images |
# | $n_U$, $n_S$ | `n_u`, `n_s` | how many of each are in a batch |
# | $\beta$ | `beta` | share of sensitive images in $U$ |
# | $\ell_{\mathrm{BCE}}$ | | binary cross-entropy made of $\ell$ |
#
# ## A probability out of a loss
#
# The ELBO bounds $\log p_\theta(x)$, and $\ell$ is the part of it that is trained, with a minus sign: a small $\ell$ says "this looks like my training data". PUDM makes a probability of it (its eq. 10),
#
# $$p_\theta(y{=}0 \mid x) = e^{-\ell(x)}, \qquad p_\theta(y{=}1 \mid x) = 1 - e^{-\ell(x)}. \tag{1}$$
#
# Since $\ell \ge 0$ both lie between 0 and 1. Minus the logarithm of the right one is the binary cross-entropy (eq. 11):
#
# $$\ell_{\mathrm{BCE}}(x, 0) = \ell(x), \qquad \ell_{\mathrm{BCE}}(x, 1) = -\log\big(1 - e^{-\ell(x)}\big). \tag{2}$$
#
# Compare this with the first wish one has, "maximise $\ell$ on sensitive images". Its cost $-\ell$ has no lower bound; the cost in (2) has, it cannot fall below 0. The price is in the slopes:
#
# $$\frac{d}{d\ell}\,\ell_{\mathrm{BCE}}(x, 0) = 1, \qquad \frac{d}{d\ell}\,\ell_{\mathrm{BCE}}(x, 1) = -\frac{e^{-\ell}}{1 - e^{-\ell}} = -\frac{1}{e^{\ell} - 1}. \tag{3}$$
#
# **Predict, then run.** A labelled sensitive image has $\ell = 6$, which is an error of 0.09 a pixel for an 8×8 digit. How hard does its cost push, compared with the pull of a normal image?

# %%
ell = torch.linspace(0.02, 8, 400, dtype=torch.float64)
costs = {  # (2)
    "normal: $\\ell$": ell,
    "sensitive: $-\\log(1-e^{-\\ell})$": pu.losses.minus_log_one_minus_exp(ell),
}
sizes = {  # (3)
    "pull on a normal image": torch.ones_like(ell),
    "push on a sensitive one": 1 / torch.expm1(ell),
}
even = math.log(2)  # here the two slopes have the same size
places = torch.tensor([even, 6.0], dtype=torch.float64, requires_grad=True)
pu.losses.minus_log_one_minus_exp(places).sum().backward()  # the library's slope, not (3)
push_even, push_at_6 = (-places.grad).tolist()
print(f"the push at ell = 6 is 1/{1 / push_at_6:.0f} of the pull")

# %%
both = (pu.NORMAL, pu.SENSITIVE)
one = {"at_least": 1 - 1e-12, "at_most": 1 + 1e-12}
of_ell = {"subplot_kw": {"xlabel": "$\\ell$"}}
with page.figure("03_two_faces", 1, 2, figsize=(8, 3.3), **of_ell) as (fig, axes):
    axes[1].semilogy(even, 1, "o", color="black", label="equal at $\\ell=\\log 2$", zorder=3)
    pu.style.curves(axes[0], ell, costs, both, loc=(0.38, 0.16))
    pu.style.curves(axes[1], ell, sizes, both, loc="upper right")
    axes[0].set(ylabel="cost (nats)", ylim=(0, 8), title="Both costs are bounded below ...")
    axes[1].set(ylabel="size of slope", ylim=(1e-4, 60), title="... but one of them goes flat")
    fig.numbers(push_at_6=push_at_6, equal_at=even)
    fig.check("at ell = log 2 push and pull are equal", push_even, **one)
    fig.check("at ell = 6 the push is below 1 % of the pull", push_at_6, at_most=0.01)
    fig.alt(f"""Left: the normal cost is the diagonal, the sensitive one falls towards 0. Right,
        logarithmic: a slope of 1, and one that falls from 1 at log 2 to {push_at_6:.4f} at 6.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# With $1/(e^6 - 1) \approx 1/402$ of the pull. The classifier is already sure that this image is sensitive ($p(y{=}1) = 0.998$), so cross-entropy sees nothing left to learn. Whether a trained model's sensitive images have $\ell$ near 0.1 or near 300 therefore decides everything below.
#
# </details>
#
# *Caption. The two costs of (2) and the sizes of their slopes (3).*
#
# ## What the cost asks for
#
# Fix one $x$ and let $P = P(\text{normal} \mid x)$ be the true probability. The expected cost is
#
# $$P\,\ell - (1 - P)\log(1 - e^{-\ell}), \tag{4}$$
#
# a convex function of $\ell$. Its derivative, by (3), is $P - (1 - P)/(e^{\ell} - 1)$, which is zero where
#
# $$e^{-\ell^*} = P, \qquad \ell^*(x) = -\log P(\text{normal} \mid x). \tag{5}$$
#
# So the best $\ell$ is 0 on surely normal images, large on surely sensitive ones, and (1) is then the true probability. To see it happen, take a world of six cells, each with a known $P$, and give every cell its own free $\ell = \mathrm{softplus}(a) \ge 0$.
#
# A denoiser is not that free. The noise in $x_t$ cannot be told exactly from the picture in it, so even the best network keeps $\ell(x) \ge$ some floor. The second run adds one: $\ell = \text{floor} + \mathrm{softplus}(a)$.
#
# **Predict, then run.** With a floor of 1, which cells still reach (5)?

# %%
p_normal = torch.tensor([0.02, 0.1, 0.3, 0.6, 0.9, 0.99], dtype=torch.float64)
best = -p_normal.log()  # (5)


def descend(floor: float, steps: int = 1500) -> torch.Tensor:
    """Gradient descent on (4) for all cells at once; the ell it ends at, (6,)."""
    a = torch.zeros_like(p_normal, requires_grad=True)
    optimizer = torch.optim.Adam([a], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        ell = floor + torch.nn.functional.softplus(a)
        sensitive_cost = pu.losses.minus_log_one_minus_exp(ell)
        (p_normal * ell + (1 - p_normal) * sensitive_cost).sum().backward()  # (4)
        optimizer.step()
    return (floor + torch.nn.functional.softplus(a)).detach()


floor = 1.0
free, floored = descend(0.0), descend(floor)
free_off = (free - best).abs().max()
floored_off = (floored - best.clamp(min=floor)).abs().max()
said = {"e^-ell, free": (-free).exp(), "with a floor": (-floored).exp()}
pd.DataFrame({"P(normal)": p_normal, **said}).round(3)

# %%
line = torch.linspace(0.01, 1, 200)
targets = {"$-\\log P$ (5)": -line.log(), "the floor": torch.full_like(line, floor)}
with page.figure("03_minimiser", figsize=(8, 3.4)) as (fig, ax):
    ax.plot(p_normal, free, "o", color=pu.BLUE, label="reached, free $\\ell$", zorder=3)
    ax.plot(p_normal, floored, "s", mfc="none", ms=9, color=pu.ORANGE, label="with a floor")
    pu.style.curves(ax, line, targets, (pu.GREY, pu.ORANGE), loc="best")
    ax.set(xlabel="true $P$(normal | $x$)", ylabel="$\\ell$")
    ax.set_title("The best $\\ell$ is $-\\log P$, unless a floor is in the way")
    fig.numbers(p_normal=p_normal, free=free, floored=floored, floor=floor)
    fig.check("a free ell reaches -log P(normal|x)", free_off, at_most=0.001)
    fig.check("with a floor it ends at the larger of the two", floored_off, at_most=0.01)
    fig.alt("""Six cells and the curve minus log P. Free values of ell lie on it. With a floor of 1
        only those above 1 do; the likely normal cells stop at the line of the floor.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Those with $-\log P \ge 1$, that is $P \le e^{-1} \approx 0.37$: the sensitive-looking half. Every cell that deserves the word "normal" is stuck at the floor, where (1) gives it $e^{-1}$ at best. The higher the floor, the less (1) can say: above a floor of 5 no image, however normal, gets more than $e^{-5} < 0.01$. The second half of the chapter measures how high a trained model's floor is.
#
# </details>
#
# *Caption. Circles: gradient descent on (4) with a free $\ell$ in each cell. Squares: the same above a floor (dashed).*
#
# ## The same formula in float32
#
# $-\log(1 - e^{-\ell})$ looks harmless. In float32 it is not, at both ends. For small $\ell$ the difference $1 - e^{-\ell}$ loses its digits, and at $\ell = 10^{-8}$ it is $\log 0$. From $\ell \approx 17$ on, $e^{-\ell}$ is below half the distance between 1 and its neighbour, so the difference is exactly 1 and the cost exactly 0.
#
# `losses.minus_log_one_minus_exp` takes `expm1` below $\log 2$ and `log1p` above. The released code adds $10^{-6}$ inside the logarithm instead. The cell compares all three with a float64 reference.
#
# **Predict, then run.** What sign has the released code's cost at $\ell = 20$?


# %%
def naive(ell: torch.Tensor) -> torch.Tensor:
    return -torch.log(1 - torch.exp(-ell))


def released(ell: torch.Tensor) -> torch.Tensor:
    return -torch.log(1 - torch.exp(-ell) + 1e-6)


places = torch.logspace(-8, math.log10(80), 400)  # float32
exact = pu.losses.minus_log_one_minus_exp(places.double())
two_ways = -torch.log(-torch.expm1(-places[:150].double()))
assert (two_ways / exact[:150] - 1).abs().max() < 1e-12
at_20 = released(torch.tensor([20.0], dtype=torch.float64)).item()
print(f"naive form at ell = 1e-8: {naive(torch.tensor(1e-8))}, released at 20: {at_20:.2e}")
forms = {"naive": naive, "released": released, "safe": pu.losses.minus_log_one_minus_exp}
errors, gradients = {}, {}
for name, form in forms.items():
    leaf = places.clone().requires_grad_()
    values = form(leaf)
    values.sum().backward()
    gradients[name] = -leaf.grad
    errors[name] = (values.detach().double() / exact - 1).abs()
safe_slope_off = (gradients["safe"].double() * torch.expm1(places.double()) - 1).abs().max()  # (3)

# %%
largest = {name: error.max() for name, error in errors.items()}
lost = errors["naive"][places > 17.5].min()
drawn_errors = {name: error.clamp(1e-9, 10) for name, error in errors.items()}
colours, dashes = (pu.ORANGE, pu.PURPLE, pu.BLUE), ("-", "--", "-")
right = "the safe form is right to 1e-6 for ell from 1e-8 to 80"
both_logs = {"subplot_kw": {"xscale": "log", "yscale": "log", "xlabel": "$\\ell$"}}
with page.figure("03_safe_log", 1, 2, figsize=(8, 3.4), **both_logs) as (fig, axes):
    for ax, part in zip(axes, (drawn_errors, gradients), strict=True):
        pu.style.curves(ax, places, part, colours, dashes)
    axes[0].set(ylabel="relative error", title="The naive form breaks at both ends")
    axes[1].set(ylabel="size of the slope", ylim=(1e-14, 1e9))
    axes[1].set_title("$10^{-6}$ caps the slope at a million")
    pu.style.legend_below(fig, axes[0])
    fig.numbers(largest_relative_error=largest, released_at_20=at_20)
    fig.check(right, largest["safe"], at_most=1e-6)
    fig.check("so is its slope, to 1e-5", safe_slope_off, at_most=1e-5)
    fig.check("the naive form loses every digit above ell = 17", lost, at_least=0.99)
    fig.check("the released form is negative at ell = 20", at_20, at_most=-1e-7)
    fig.alt("""Left: the safe form's relative error stays near 1e-7; the others' reach 1 below ell
        1e-6 or above 14. Right: for tiny ell the released slope levels off at a million.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Negative: $-\log(1 + 10^{-6}) \approx -10^{-6}$, though a cross-entropy cannot be. It does no harm, as the slope there is $2 \times 10^{-9}$ either way. But a cost that a log shows as $-10^{-6}$ at every step is a sign worth knowing: the term is switched off.
#
# </details>
#
# *Caption. Left: relative error in float32, drawn no lower than $10^{-9}$. Right: size of the gradient that automatic differentiation returns.*
#
# ## Where the gradient lives: a trained model
#
# Now the number that decides. Take chapter 02's unsupervised model of the 8×8 digits, trained on $U$ alone (even digits are normal, odd ones sensitive), and measure $\ell$ on the labelled sensitive images $S$ at noise levels from 0 to $T$. One image's $\ell$ is drawn at one level in training, so what matters is $\ell$ *per level*, and with it the slope $1/(e^\ell - 1)$.
#
# One knob changes all: the scale of $\ell$. Summed over pixels, as the paper has it, $\ell$ grows with $D$; a mean over pixels is the same thing divided by $D$. Both are the temperature $\tau$ in $e^{-\ell/\tau}$:
#
# $$\text{sum: } \tau = 1, \qquad \text{mean: } \tau = D, \qquad \text{a picture of } D' \text{ numbers with the same error a pixel: } \tau = D / D'. \tag{6}$$
#
# The last line lets our 64-pixel digits stand in for the paper's $D' = 3072$. It is a thought experiment: no one knows that a large model on colour images has the same error a pixel, and the chapter claims nothing about it.

# %%
digits = pu.experiment("ci" if quick else "laptop", method="unsupervised", seed=seed)
model = pu.load_model(digits)
split = pu.make_split(digits.data, seed)
device = next(model.parameters()).device
page.device = device.type  # that of all figures from here on


@torch.no_grad()
def ell_by_level(images: torch.Tensor, stream: int) -> torch.Tensor:
    """ell of each image, one draw of the noise at each level: (levels, images)."""
    x0 = pu.to_model_range(images).to(device)
    rows = []
    for index in levels.tolist():
        generator = pu.random_generator(seed, stream, index)
        eps = torch.randn(x0.shape, generator=generator).to(device)
        t = torch.full((len(x0),), index, device=device)
        x_t = pu.diffusion.add_noise(x0, eps, t, alphas_cumprod)
        rows.append(pu.diffusion.denoising_error(eps, model(x_t, t).sample))
    return torch.stack(rows).double().cpu()


ell_s = ell_by_level(split.x_sensitive[:num_images], 0)
ell_test = ell_by_level(split.x_test[:num_images], 1)
print(f"mean ell: S {ell_s.mean():.2f}, normal {ell_test.mean():.2f}")

# %% [markdown]
# The table puts the three scales side by side. "Alive" is the share of (image, level) pairs, called draws from here on, whose slope is above `alive_slope`, which for 0.1 means $\ell/\tau < \log 11 \approx 2.4$. The slope beside it is the median over the draws.
#
# The floor of "What the cost asks for" shows as well. Averaged over levels, as the paper writes $\ell$, what does (1) say of images that *are* normal and were never trained on? The two lines above the table tell.

# %%
p_said = (-ell_test.mean(0)).exp()  # (1), one value for each held-out normal image
assert p_said.max() <= 0.5 or not page.judged, "(1) calls a held-out image normal"
ranks = (ell_s.mean(0)[:, None] > ell_test.mean(0)).double().mean()
print(f"p(y=0) of normal images: mean {p_said.mean():.4f}, largest {p_said.max():.3f}")
print(f"a sensitive image has the larger ell in {ranks:.0%} of pairs with a normal one")
dims = split.x_sensitive[0].numel()  # D = 64
scales = {"sum, D = 64": 1.0, "sum, D = 3072": dims / 3072, "mean over pixels": float(dims)}
slopes = {name: 1 / torch.expm1(ell_s / tau) for name, tau in scales.items()}
alive = {name: (s > alive_slope).double().mean().item() for name, s in slopes.items()}
table = pd.DataFrame({"tau": scales, "alive": alive})
table["mean ell/tau"] = float(ell_s.mean()) / table["tau"]
table["median slope"] = [s.median().item() for s in slopes.values()]
table["mean slope"] = [s.mean().item() for s in slopes.values()]
costs = {name: pu.losses.minus_log_one_minus_exp(ell_s / tau) for name, tau in scales.items()}
table["BCE on S"] = [cost.mean().item() for cost in costs.values()]
table.map("{:.3g}".format)

# %% [markdown]
# As a calibrated probability, (1) is far off: it calls every normal image sensitive. As a way to turn "push $\ell$ up" into a cost with a lower bound, it can still do its work wherever its slope is alive. The share of pairs says how well $\ell$ ranks the two kinds before anything pushes: this model has seen both.
#
# **Predict, then run.** Which noise levels are the alive ones: those with a little noise, where detail is decided, or those where the picture has drowned?

# %%
sum_name, paper_name, mean_name = scales
look = tuple(zip((pu.BLUE, pu.VERMILLION, pu.GREEN), "os^", strict=True))


def draw_alive(by_levels, by_slope):
    for (name, s), (colour, marker) in zip(slopes.items(), look, strict=True):
        share = 100 * (s > alive_slope).double().mean(1)
        by_levels.plot(levels, share, marker=marker, ms=4, color=colour, label=name)
        counts = torch.histc(s.clamp(1e-12).log10(), bins=32, min=-12, max=4)
        edges = torch.linspace(-12, 4, 33)
        by_slope.stairs(100 * counts / s.numel(), edges, color=colour, linewidth=1.8)
    by_levels.set(xlabel="index $t$", ylabel="alive images of $S$ (%)")
    by_levels.set_title("$D$ decides how much is alive, and where")
    by_slope.axvline(math.log10(alive_slope), color="black", linestyle=":", linewidth=1)
    by_slope.set(xlabel="$\\log_{10}$ of $1/(e^{\\ell/\\tau}-1)$", ylabel="draws (%)")
    by_slope.set_title("How hard each draw pushes")


# %%
half = "summed over 64 pixels the term is alive at about half of all draws: at least 0.3"
few, most = alive[paper_name], alive[mean_name]
median_ell = ell_s.median(1).values
with page.figure("03_alive", 1, 2, figsize=(8, 3.6)) as (fig, axes):
    draw_alive(*axes)
    pu.style.legend_below(fig, axes[0])
    fig.numbers(alive=alive, t=levels, mean_ell=ell_s.mean(), median_ell_by_t=median_ell)
    fig.check(half, alive[sum_name], at_least=0.3)
    fig.check("... and at most 0.7", alive[sum_name], at_most=0.7)
    fig.check("at D = 3072 and the same error a pixel, at few", few, at_most=0.2)
    fig.check("averaged over pixels it is alive nearly everywhere", most, at_least=0.95)
    fig.alt(f"""Left: share of alive images by noise level, nearly 100 % with a mean over pixels,
        climbing at the middle levels summed over 64 ({alive[sum_name]:.0%} in all), near 0 at
        D = 3072 ({few:.0%}). Right: histograms of the slope, D = 3072 piled up at 1e-12.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Where the picture has drowned. There the noise is nearly all of $x_t$, so it is easy to predict, $\ell$ is small, and the classifier is still in doubt. At little noise the error is large for sensitive and normal images alike, and the term is asleep.
#
# </details>
#
# *Caption. Left: share of the images of $S$ with a slope above 0.1 (`alive_slope`), by noise level. Right: all slopes; values below $10^{-12}$ stand in the first bin, the dotted line is 0.1.*
#
# The right panel puts all levels into one histogram. The next figure keeps them apart: each column of a panel is the histogram of one noise level, of $\ell/\tau$ above and of the slope below.
#
# **Predict, then run.** From the first noise level to the last, how many powers of ten does the error $\ell$ span, and how many the slope at $D = 3072$?

# %%
fifth = max(1, num_levels // 5)
medians = {name: (ell_s / tau).median(1).values for name, tau in scales.items()}
# log10 of the slope as -ell - log(1 - e^-ell): the slope itself underflows to 0.
slope_logs = {n: -(m + (-torch.expm1(-m)).log()) / math.log(10) for n, m in medians.items()}
ends = {
    name: [(part > alive_slope).double().mean().item() for part in (s[:fifth], s[-fifth:])]
    for name, s in slopes.items()
}
decades = {
    "ell": (medians[paper_name].max() / medians[paper_name].min()).log10().item(),
    "slope": (slope_logs[paper_name].max() - slope_logs[paper_name].min()).item(),
}
print(f"medians span {decades['ell']:.1f} powers of ten of ell,")
print(f"at D = 3072 {decades['slope']:.0f} of the slope; alive at the ends:")
pd.DataFrame(ends, index=["first fifth of the levels", "last fifth"]).T.round(3)


# %%
def draw_scales(fig, axes):
    edges, sleepy = (0, num_train_timesteps), math.log1p(1 / alive_slope)
    errors = [ell_s / tau for tau in scales.values()]  # asleep above `sleepy`
    rows = [
        ("$\\log_{10}(\\ell/\\tau)$", errors, (-4, 3.5), sleepy, 970, "asleep"),
        ("$\\log_{10}$ of slope", slopes.values(), (-12, 4), alive_slope, 370, "alive"),
    ]
    for row, (label, parts, span, limit, x, above) in zip(axes.reshape(2, 3), rows, strict=True):
        for ax, part in zip(row, parts, strict=True):
            image = pu.style.histogram_columns(ax, edges, part.log10(), *span)
            ax.axhline(math.log10(limit), color="white", linestyle="--", linewidth=1.2)
        row[0].set_ylabel(label)
        row[0].text(x, math.log10(limit) + 0.2, above, color="white", ha="right")
    pu.style.titles(axes[:3], *scales)
    axes[4].set_xlabel("index $t$")
    fig.colorbar(image, ax=axes.tolist(), label="images of $S$ (% of a level)", extend="max")
    fig.suptitle("One set of errors: the scale moves it across the alive limit", x=0.01, ha="left")


# %%
asleep = "sum over 64 pixels: asleep in the first fifth of the levels"
half = "D = 3072, same error a pixel: alive in the last fifth at most half of the draws"
shared = {"sharex": True, "sharey": "row"}
with page.figure("03_histogram", 2, 3, figsize=(8.6, 5.6), **shared) as (fig, axes):
    draw_scales(fig, axes)
    fig.numbers(t=levels, tau=scales, alive_in_first_and_last_fifth=ends)
    fig.numbers(median_ell_over_tau_by_t=medians, log10_of_median_slope_by_t=slope_logs)
    fig.numbers(powers_of_ten_over_levels=decades)
    fig.check(asleep, ends[sum_name][0], at_most=0.05)
    fig.check("... and alive in the last fifth", ends[sum_name][1], at_least=0.9)
    fig.check(half, ends[paper_name][1], at_most=0.5)
    fig.check("mean over pixels: alive even in the first fifth", ends[mean_name][0], at_least=0.7)
    fig.check("by level, ell spans at most four powers of ten", decades["ell"], at_most=4)
    fig.check("... and the slope at D = 3072 a hundred or more", decades["slope"], at_least=100)
    fig.alt(f"""Six heat maps over the noise level: the error falls, the slope rises, the scale
        moves the band. Summed over 64 it crosses the dashed limit in the middle, at D = 3072
        {ends[paper_name][1]:.0%} of the last fifth do; averaged, nearly all is alive.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The cell prints both. The error spans a few powers of ten at most; the slope is exponential in $\ell/\tau$, so at $D = 3072$ it spans hundreds, most of them below the panel. A loss that mixes all levels, as training does, therefore gets its push from a few of them.
#
# </details>
#
# *Caption. Rows: $\log_{10}$ of $\ell/\tau$ and of $1/(e^{\ell/\tau} - 1)$. Columns: the three scales. Each column of pixels is one noise level; brighter is more of the images of $S$. Dashed: the limit of `alive_slope`. Slopes below $10^{-12}$ stand in the lowest row.*
#
# ## A mean in place of a sum
#
# Deep-learning habit is to average the squared error over pixels. In the paper's eq. 9, the unsupervised loss, that changes a constant and nothing else. In (2) it is $\tau = D$, and by the table above the BCE term is then alive nearly everywhere. At the mean $\ell/\tau$, about 0.1, its slope is $1/(e^{0.1} - 1) \approx 10$ against a pull of 1; but the slope is convex, so its *mean*, which is what a batch feels, is far larger: it is the table's last column but one.
#
# The next cell trains a tiny network for a few steps, with the supervised loss (eq. 12) and with PU absolute (chapter 04), each with a sum and with a mean. Errors are shown in the same unit, summed over pixels; predicting "no noise" costs 64.
#
# What that means differs between the two. Under eq. 12 the push on $S$ as a whole is then the mean slope times the pull on $U$. PU absolute weighs it by $\beta$ (its push is $\beta$ times 1 + slope, see (8) below): a tenth of that, and still many times the pull. The noisiest levels, where $\ell$ is smallest, make most of it.
#
# **Predict, then run.** With the mean, what becomes of the error on $U$, which contains the normal images: under eq. 12, and under PU absolute? Suppose that the network cannot tell $S$ from $U$ yet, so that both have one $\ell$: at which $\ell$ do push and pull cancel?

# %%
images = pu.training.TrainingImages(split.x_unlabeled, split.x_sensitive)
short = {"beta": 0.1, "steps": run_steps, "warmup_steps": min(50, run_steps // 4), "device": "cpu"}
histories = {}
for method in ("supervised", "pu_absolute"):
    for reduction in ("sum", "mean"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = pu.networks.make_unet("tiny", resolution=8, channels=1)
        settings = pu.training.TrainingSettings(method=method, reduction=reduction, **short)
        histories[method, reduction] = pu.train(net, images, settings, seed=seed)
last, final = max(run_steps // 10, 3), {}
for (method, reduction), history in histories.items():
    to_sum = dims if reduction == "mean" else 1  # (6)
    end = {name: history[name][-last:].mean().item() for name in history}
    final[method, reduction] = {
        "ell_unlabeled": to_sum * end["ell_unlabeled"],
        "ell_sensitive": to_sum * end["ell_sensitive"],
        "share": end["positive"] / (end["positive"] + abs(end["negative"])),
    }
pd.DataFrame(final).T.round(3)

# %%
window, part_names = max(1, run_steps // 25), ("unlabeled", "sensitive")
errors, shares = {"supervised": {}, "pu_absolute": {}}, {}
for (method, reduction), history in histories.items():
    smooth = {name: pu.studies.running_mean(values, window) for name, values in history.items()}
    for part in part_names:
        to_sum = dims if reduction == "mean" else 1  # (6)
        errors[method][f"$\\ell$ on {part[0].upper()}, {reduction}"] = (
            to_sum * smooth[f"ell_{part}"]
        )
    if method == "pu_absolute":
        size = pu.studies.running_mean(history["negative"].abs(), window)
        shares[reduction] = 100 * smooth["positive"] / (smooth["positive"] + size)
worse = {m: final[m, "mean"]["ell_unlabeled"] / final[m, "sum"]["ell_unlabeled"] for m in errors}
stays = "eq. 12 with a mean: the error on U stays at least twice as large"
larger = "PU absolute with a mean: the error on U is larger"
small = "with a sum the BCE term is a small share of the PU objective"

# %%
steps = range(run_steps - window + 1)
by_part, by_reduction = (pu.NORMAL, pu.SENSITIVE) * 2, ("-", "-", "--", "--")
titles = ("Supervised (eq. 12)", "PU absolute", "BCE share, PU absolute")
with page.figure("03_mean_or_sum", 1, 3, figsize=(8.6, 3.4)) as (fig, axes):
    for ax, lines in zip(axes, errors.values(), strict=False):
        pu.style.curves(ax, steps, lines, by_part, by_reduction)
    pu.style.curves(axes[2], steps, shares, ("black", "black"), loc="best")
    pu.style.titles(axes, *titles, xlabel="step", ylim=(0, None))
    axes[0].set_ylabel("squared error of an image")
    axes[2].set(ylabel="BCE term (% of objective)", ylim=(0, 100))
    pu.style.legend_below(fig, axes[0], 4)
    fig.suptitle("With a mean over pixels the push keeps the error on U up", x=0.01, ha="left")
    fig.numbers(**{" ".join(key): value for key, value in final.items()})
    fig.check(stays, worse["supervised"], at_least=2)
    fig.check(larger, worse["pu_absolute"], at_least=1.1)
    fig.check(small, final["pu_absolute", "sum"]["share"], at_most=0.05)
    fig.check("with a mean it is a large one", final["pu_absolute", "mean"]["share"], at_least=0.2)
    fig.alt(f"""With a sum the error on U falls to {final["supervised", "sum"]["ell_unlabeled"]:.0f}
        of 64. With a mean it ends {worse["supervised"]:.1f} (supervised) and
        {worse["pu_absolute"]:.1f} times (PU) as large; the BCE share is large, not near 0.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The network shares its weights between normal and sensitive images; early on it cannot push one error up and the other down. With one $\ell$ for both, eq. 12 is even where $1/(e^{\ell/\tau} - 1) = 1$, at $\ell = \tau \log 2 \approx 44$ of 64: above it the pull is the stronger side, below it the push. So the error on $U$ comes down to about there and stays. For PU absolute, $\beta (1 + 1/(e^{\ell/\tau} - 1)) = 1$ at $\ell = -\tau \log(1 - \beta) \approx 7$: nothing stops it up there. But a trained model's $\ell$ is below 7 at most noise levels, and all of that way is braked. Whether a longer training gets through, `python -m pudm_lib run --method pu_absolute --reduction mean` tells: it trains the whole model and prints its rate. The sum in the paper's eq. 8 is part of the method, not a matter of taste.
#
# </details>
#
# *Caption. Running means over a few steps. Blue: unlabeled images; orange-red: labelled sensitive ones. Solid: sum; dashed: mean over pixels, multiplied by 64 for drawing.*
#
# ## Why the supervised loss has so little to act with
#
# The paper writes the supervised loss with separate means (eq. 12); the released code takes one mean over the whole batch:
#
# $$\text{eq. 12: } \frac1{n_U} \sum_{U} \ell + \frac1{n_S} \sum_{S} -\log(1 - e^{-\ell}), \qquad \text{code: } \frac1{n_U + n_S} \Big( \sum_{U} \ell + \sum_{S} -\log(1 - e^{-\ell} + 10^{-6}) \Big). \tag{7}$$
#
# Count in units of the pull of one unlabeled image. By (3), one labelled sensitive image pushes with
#
# $$\text{eq. 12: } \frac{n_U}{n_S} \cdot \frac1{e^\ell - 1}, \qquad \text{code: } \frac1{e^\ell - 1}, \qquad \text{PU: } \beta\,\frac{n_U}{n_S} \Big( 1 + \frac1{e^\ell - 1} \Big). \tag{8}$$
#
# The PU line is chapter 04's: its 1 comes from the term $-\beta \ell$ on $S$ and does not go flat. And what must be pushed against? The paper's batches of 128 hold one labelled image for eleven of $U$, on average $n_U = 117.3$ and $n_S = 10.7$, and a share of 1/11 of $U$, 10.7 images again, is sensitive and pulls. So each labelled one has to push with 1 to break even. For PU this is no matter of measurement: by (8) it breaks even wherever $\beta\,(1 + \text{slope})$ is at least the true share, so with $\beta = 0.1$ everywhere.
#
# **Predict, then run.** At $D = 3072$, at what share of the noise levels does the released code's push break even?

# %%
n_u, n_s, beta = 128 * 11 / 12, 128 / 12, 0.1  # the paper's batch on average, and its beta
break_even = (n_u / 11) / n_s  # hidden sensitive images for each labelled one


def pushes(ell, tau):
    """method -> the push of one labelled image, of the shape of ell."""
    slope = 1 / torch.expm1(ell / tau)  # (3)
    return {
        "supervised": n_u / n_s * slope,  # (8)
        "supervised_code": slope,
        "pu_absolute": beta * n_u / n_s * (1 + slope),
    }


mean_pushes = {  # (levels,), over the images of S
    name: {method: push.mean(1) for method, push in pushes(ell_s, scales[name]).items()}
    for name in (sum_name, paper_name)
}
enough = {
    name: {m: (p >= break_even).double().mean().item() for m, p in by_method.items()}
    for name, by_method in mean_pushes.items()
}
at_64, at_3072 = (enough[name]["supervised_code"] for name in (sum_name, paper_name))
pd.DataFrame(enough).map("{:.0%}".format).rename_axis("breaks even at")

# %%
every = "PU pushes enough at every level, whatever D"
few = "at D = 3072 and the same error a pixel, the released form pushes enough at few levels"
fewer = "the larger D, the fewer levels at which it pushes enough"
colours = [*(pu.METHOD_COLOURS[method] for method in enough[sum_name]), "black"]
with page.figure("03_push", 1, 2, figsize=(8, 3.7), sharey=True) as (fig, axes):
    for ax, by_method in zip(axes, mean_pushes.values(), strict=True):
        drawn = {pu.METHOD_LABELS[method]: push.clamp(1e-6) for method, push in by_method.items()}
        drawn["break even"] = torch.full((num_levels,), break_even)
        pu.style.curves(ax, levels, drawn, colours, ("-", "--", "-.", ":"))
    pu.style.titles(axes, *mean_pushes, xlabel="index $t$", yscale="log", ylim=(1e-6, 1e4))
    axes[0].set_ylabel("push of one labelled image")
    pu.style.legend_below(fig, axes[0], 4)
    fig.suptitle("Only PU pushes hard enough at every noise level", x=0.01, ha="left")
    fig.numbers(break_even=break_even, share_of_levels_with_enough=enough)
    fig.check(every, min(e["pu_absolute"] for e in enough.values()), at_least=1)
    fig.check(few, at_3072, at_most=0.2)
    fig.check(fewer, at_64 - at_3072, at_least=0.1)
    fig.alt(f"""Push of one labelled image by noise level, logarithmic. The supervised forms rise by
        many orders of magnitude; PU stays near 1 and rises at the noisiest levels. At D = 3072
        the released form is above the break-even line at {at_3072:.0%} of the levels.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# At none, or at the noisiest few, in this thought experiment. Elsewhere the loss is the unsupervised one times $n_U / (n_U + n_S)$. The paper finds its supervised baseline hardly better than the unsupervised one and blames the sensitive images hidden in $U$. The arithmetic here offers a second reason, and the two do not exclude each other. Neither is settled by 8×8 digits: with $D = 64$ the term is alive at half of the levels, eq. 12 weighs it ten times as much as the code does, and chapter 05 measures what all three do.
#
# </details>
#
# *Caption. Equation (8) with the mean slope over $S$ at each level, drawn no lower than $10^{-6}$. Dotted: the push that cancels the hidden sensitive images. Slopes are with respect to $\ell$; how far a step moves $\ell$ is the network's business.*
#
# **Try it.** The next figure is the function `pushes`, equation (8), for one image with $\ell = 6$, the chapter's first question, and $\tau = 1$. In JupyterLab you can move both. Lower $\ell$ until all three pushes are alive. Then put $\ell$ back to 6 and wake them by $\tau$ alone: which way must it go, and what does the left panel say about the probability meanwhile? At $\tau = 0.0208$, the thought experiment of $D = 3072$, look for an $\ell$ that a trained model could have and at which the supervised losses are awake.

# %%
pu.widgets.explore_loss(pushes, alive_slope=alive_slope)

# %% [markdown]
# $\ell$ and $\tau$ act through their ratio alone, so a larger $\tau$ wakes the supervised pushes as a smaller $\ell$ does, and the price is a classifier that calls everything normal. At $\tau = 0.0208$ no position of the slider wakes them. The PU push needs no waking.
#
# ## One draw is not the mean
#
# The paper puts $\ell(x) = \mathbb E_t[\ell_t(x)]$ into (2). Code, the released one and ours, draws *one* level for each image, puts $\ell_t(x)$ into (2) and averages the costs. For $y = 0$ this is the same. For $y = 1$ the cost is convex, and Jensen's inequality says
#
# $$\mathbb E_t\big[-\log(1 - e^{-\ell_t})\big] \ \ge\ -\log\big(1 - e^{-\mathbb E_t[\ell_t]}\big). \tag{9}$$
#
# How far apart are the two sides?

# %%
code_side = pu.losses.minus_log_one_minus_exp(ell_s).mean(0)  # (9) left, (images,)
paper_side = pu.losses.minus_log_one_minus_exp(ell_s.mean(0))  # (9) right
print(f"mean of costs {code_side.mean():.3f}, cost of the mean {paper_side.mean():.5f}")
assert (code_side >= paper_side).all(), "(9) is an inequality of Jensen: it cannot fail"
assert code_side.mean() >= 10 * paper_side.mean() or not page.judged, "ten times, at least"

# %% [markdown]
# So the code's term is not the paper's: it is larger, and all of it comes from the noisiest levels, where the image can hardly be seen. As written in the paper, with the mean inside, the BCE term would be smaller still.
#
# ## Check
#
# Every claim of this chapter with the number that was measured and its bound. All are checks: mathematics, or bounds that were set after the numbers had been seen.

# %%
page.verdict()

# %% [markdown]
# ## What could go wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | The loss becomes `inf` or NaN in the first steps, or late at the noisiest levels | $\log(1 - e^{-\ell})$ written as it stands; $\ell$ below $10^{-8}$ | `losses.minus_log_one_minus_exp` |
# | Samples are noise, the error on $U$ stays far above what a sum reaches | $\ell$ averaged over pixels: $\tau = D$, and the BCE term drowns the rest | sum over pixels, or choose $\tau$ on purpose and watch the share of the BCE term |
# | The BCE term is logged as $-10^{-6}$ or 0 at every step, and supervised looks like unsupervised | $\ell$ of tens or hundreds: the slope is flat | nothing is broken; use a PU risk, whose push does not go flat |
#
# The first of the three, on purpose:

# %%
tiny = torch.tensor([3e-9, 0.5, 20.0], requires_grad=True)
try:
    cost = naive(tiny).mean()
    cost.backward()
    assert torch.isfinite(cost) and torch.isfinite(tiny.grad).all(), (
        f"cost {cost.item()}, gradient {tiny.grad.tolist()}"
    )
except AssertionError as error:
    print("caught:", error)
print("safe:", pu.losses.minus_log_one_minus_exp(tiny).mean().item())

# %% [markdown]
# ## Limits
#
# - The model here is small and its digits have 64 pixels. The column $D = 3072$ assumes the same error a pixel; a real model's error depends on data, size and level, and must be measured on that model.
# - The slopes are those of an *unsupervised* model. Training with a push changes $\ell$ on $S$, and with it the slope; the picture is the start of that story.
# - $\ell$ leaves out the ELBO's weights (chapter 01), so even a perfect $\ell$ is not minus the log-likelihood, and (1) is a model of the label, not Bayes' rule.
# - The paper justifies the BCE loss in an appendix that we have not seen; (4) and (5) are our own derivation.
# - Paper and code differ twice in this chapter: in the means of (7), and in the side of (9). We follow the paper's eq. 12 as `supervised`, the code as `supervised_code`, and the code in (9).
#
# ## Exercises
#
# **1. How far does $10^{-6}$ reach? (easy)** Below which $\ell$ does the slope of the released form differ from (3) by more than one per cent? Derive it, then check.
#
# *Hint.* The slope with $\epsilon = 10^{-6}$ is $-e^{-\ell} / (1 - e^{-\ell} + \epsilon)$.
#
# <details><summary>Solution</summary>
#
# The ratio of the slopes is $(1 - e^{-\ell}) / (1 - e^{-\ell} + \epsilon)$, which is 0.99 where $1 - e^{-\ell} = 99\,\epsilon$, so at $\ell \approx 9.9 \times 10^{-5}$.
#
# ```python
# grid = torch.logspace(-7, 0, 2000, dtype=torch.float64, requires_grad=True)
# released(grid).sum().backward()
# ratio = -grid.grad * torch.expm1(grid.detach())
# reach = grid.detach()[ratio < 0.99].max().item()
# print(f"off by more than 1 % below ell = {reach:.2e}")
# assert abs(reach / 9.9e-5 - 1) < 0.02
# ```
#
# </details>
#
# **2. Choose the temperature (easy).** Which $\tau$ makes the term alive at 90 % of the draws on $S$? And what is the mean of $\ell/\tau$ then?
#
# *Hint.* Alive means $\ell/\tau < \log(1 + 1/\text{slope})$: a quantile of $\ell$ does it.
#
# <details><summary>Solution</summary>
#
# ```python
# threshold = math.log1p(1 / alive_slope)
# chosen_tau = (ell_s.flatten().quantile(0.9) / threshold).item()
# share = (1 / torch.expm1(ell_s / chosen_tau) > alive_slope).double().mean()
# print(f"tau = {chosen_tau:.2f}: alive at {share:.0%}, mean {ell_s.mean() / chosen_tau:.2f}")
# ```
#
# </details>
#
# **3. What eq. 12 really asks for (medium).** Equation (4) weighs the labels by their true probabilities. Eq. 12 puts the mean over $U$ and the mean over $S$ together instead, and $U$ is contaminated. With $p_U(x)$ and $p_S(x)$ the densities in a cell, what is its minimiser? Check it with gradient descent on three cells.
#
# *Hint.* In a cell the cost is $p_U \ell - p_S \log(1 - e^{-\ell})$; compare with (4).
#
# <details><summary>Solution</summary>
#
# Divide by $p_U + p_S$ and it is (4) with $P = p_U / (p_U + p_S)$, so $e^{-\ell^*} = p_U / (p_U + p_S)$. On a purely sensitive cell $p_U = \beta p_S$, and $e^{-\ell^*} = \beta / (1 + \beta)$: not 0. The contamination keeps the best $\ell$ finite there, at 2.5 for $\beta = 1/11$.
#
# ```python
# p_u, p_s = torch.tensor([0.5, 0.4, 0.1]), torch.tensor([0.01, 0.2, 0.9])
# a = torch.zeros(3, requires_grad=True)
# optimizer = torch.optim.Adam([a], lr=0.1)
# for _ in range(1000):
#     optimizer.zero_grad()
#     ell = torch.nn.functional.softplus(a)
#     (p_u * ell + p_s * pu.losses.minus_log_one_minus_exp(ell)).sum().backward()
#     optimizer.step()
# print((-torch.nn.functional.softplus(a)).exp().tolist(), (p_u / (p_u + p_s)).tolist())
# assert ((-torch.nn.functional.softplus(a)).exp() - p_u / (p_u + p_s)).abs().max() < 1e-2
# ```
#
# </details>
#
# **4. Between sum and mean (hard).** Train PU absolute for 30 steps with $\tau = 8$ and print the share of the BCE term in the objective at the end, next to those of $\tau = 1$ and $\tau = 64$. Which way does it go, and which of the three can you tell from the loss curve alone?
#
# *Hint.* `training.TrainingSettings` takes `tau`; `histories` above was made in the same way.
#
# <details><summary>Solution</summary>
#
# ```python
# for tau in (1.0, 8.0, 64.0):
#     with torch.random.fork_rng(devices=[]):
#         torch.manual_seed(seed)
#         net = pu.networks.make_unet("tiny", resolution=8, channels=1)
#     settings = pu.training.TrainingSettings(
#         method="pu_absolute",
#         tau=tau,
#         beta=0.1,
#         steps=30,
#         warmup_steps=5,
#         device="cpu",
#     )
#     history = pu.train(net, images, settings, seed=seed)
#     end = {name: history[name][-10:].mean().item() for name in history}
#     share = end["positive"] / (end["positive"] + abs(end["negative"]))
#     print(f"tau {tau:4.0f}: share {share:.1%}, ell_U {tau * end['ell_unlabeled']:.1f}")
# ```
#
# The share rises with $\tau$. The curve of the total loss looks much the same for all three; that is why the history keeps the parts.
#
# </details>
#
# ## What we learnt
#
# - $p(y{=}0 \mid x) = e^{-\ell}$ makes cross-entropy of a denoising error; its minimiser is $\ell^* = -\log P(\text{normal} \mid x)$, and a floor under $\ell$ keeps it out of reach.
# - The formula needs `expm1` and `log1p`; the released code's $10^{-6}$ makes it finite, not accurate.
# - The push on sensitive images is $1/(e^\ell - 1)$. Summed over 64 pixels it is alive at about half of the draws; the more pixels, the fewer. A mean over pixels makes it drown the rest. Sum, mean and temperature are one knob.
# - The released code's supervised loss weighs the term about a tenth as much as eq. 12 does. Only PU's push does not go flat.
#
# **Next.** Chapter 04 derives that PU push, on a toy where the truth is known.
#
# ## References
#
# - Takahashi et al. (2025), *Positive-unlabeled diffusion models for preventing sensitive data generation* (PUDM). Section 3.1 is this chapter's subject; read it for the argument why $-\ell$ alone will not do.
# - Yamanaka et al. (2019), *Autoencoding binary classifiers for supervised anomaly detection*. Where $e^{-\text{loss}}$ as a probability comes from, with autoencoders.
# - Ruff et al. (2020), *Deep semi-supervised anomaly detection*. The alternative $1/\ell$, with the weight it needs.
# - Mächler (2012), *Accurately computing log(1 − exp(−|a|))*. Why the switch is at $\log 2$.
# - Ho, Jain, Abbeel (2020), *Denoising diffusion probabilistic models*. The loss $\ell$, and its sum over pixels.
