# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Learn from positive and unlabeled data
#
# **How can a model learn what is normal when nobody has labelled a single normal point, and why does a larger error at a place mean fewer samples there?**
#
# > **You will do.** Subtract one density from another; estimate a risk 20,000 times and see which estimate is biased and by how much; watch a bump vanish from a density; train models in the plane that lose what theory says they lose; let one run away; turn the knobs of Algorithm 1.
# >
# > **You will learn.** The mixture trick and the risk it gives; unbiased, non-negative and absolute risk; what the error has to do with the samples; why Algorithm 1 of PUDM steps on *minus* the negative part; what a few labelled normal points add (PNU).
# >
# > **You need.** Chapter 01's toy, chapter 03's two costs, expectations and variances.
# >
# > **Time and hardware.** Presets `laptop`, `gpu` and `paper`: about two minutes on one CPU core (the chapter is the same for all three: it is about a toy whose truth is known). Preset `ci`: seconds, no claim checked.

# %%
import math
from functools import partial

import pandas as pd
import torch

import pudm_lib as pu
from pudm_lib.training import TrainingImages

# %% tags=["parameters"]
preset = "laptop"  # ci, laptop, gpu or paper
studies = "committed"  # read the two studies over seeds, or "measured": 7 minutes
seed = 20  # of everything random in this chapter; settings were chosen on 100 to 103
study_seeds = [20, 21, 22, 23, 24]  # U, S and models of the studies, to see what is chance
beta = 0.09090909  # true share of sensitive points in U, 1/11 as in the paper
num_few = 20  # labelled points where they are few, sensitive or normal
fewest = 5  # labelled sensitive points where the three risks part
num_draws = 20_000  # draws of (U, S) for each size at which the risk is estimated
forgetting = 2.0  # how strongly the fixed model of that experiment has forgotten S
steps = 4000  # training steps of a model in the plane, half of them where that is enough
num_samples = 4000  # points drawn from each model

# %%
every = ("laptop", "gpu", "paper")
page = pu.Page("04_learn_from_positive_and_unlabeled", globals(), presets=every)
quick = preset == "ci"
if quick:
    num_draws, steps, num_samples = 200, 60, 100
alphas_cumprod = pu.diffusion.alphas_cumprod_of(pu.diffusion.linear_betas(1000))
p_normal, p_sensitive = pu.mixtures.pu_toy()
p_unlabeled = pu.mixtures.pu_mixture(p_normal, p_sensitive, beta)  # (1)
streams = iter(range(1, 1000))
print(page)

# %% [markdown]
# ## The symbols of this chapter
#
# | symbol | in code | meaning |
# |---|---|---|
# | $p_N$, $p_S$, $p_U$ | `p_normal`, `p_sensitive`, `p_unlabeled` | densities of normal, sensitive and unlabeled points |
# | $\beta$ | `beta` | share of sensitive points in $p_U$ |
# | $\ell(x)$ | `ell` | denoising error of a point, summed over its coordinates |
# | $L_U^-$, $L_S^-$ | | mean of $\ell$ over $U$; over $S$ |
# | $L_S^+$ | `positive` / $\beta$ | mean of $-\log(1 - e^{-\ell})$ over $S$ |
# | $R$, $\hat R$ | `negative` | risk on normal points, $(1-\beta)\,\mathbb E_{p_N}[\ell]$; its estimate $L_U^- - \beta L_S^-$ |
# | $\tau$ | `tau` | temperature of chapter 03: every $\ell$ that is trained on is divided by it |
# | $\gamma$ | `gamma` | weight of labelled normal points in PNU |
#
# "Positive" is the PU literature's word for the labelled class. Here that class is the *sensitive* one. The superscripts say what a point is treated as: with $+$ it pays the cost of a sensitive point, $-\log(1 - e^{-\ell})$, with $-$ that of a normal one, $\ell$. `positive` and `negative` in the code are the same two words.
#
# ## The mixture trick
#
# Unlabeled data are normal data with a share $\beta$ of sensitive ones mixed in (PUDM eqs. 13 and 14):
#
# $$p_U(x) = \beta\, p_S(x) + (1 - \beta)\, p_N(x) \quad\Longleftrightarrow\quad (1 - \beta)\, p_N(x) = p_U(x) - \beta\, p_S(x). \tag{1}$$
#
# Nobody can sample from the right-hand side, but every *expectation* under it is a difference of two that can be estimated:
#
# $$(1 - \beta)\, \mathbb E_{p_N}[f(x)] = \mathbb E_{p_U}[f(x)] - \beta\, \mathbb E_{p_S}[f(x)]. \tag{2}$$
#
# The toy is chapter 01's: five normal blobs on a ring, two sensitive ones, one of which overlaps a normal blob. Its densities are known, so (1) can be checked, and then done with points as we would have to in real life.
#
# **Predict, then run.** Put $U$ and twenty points of $S$ on a grid and subtract $\beta$ times the one share from the other, cell by cell. What appears that no density can have?


# %%
def draw(mixture: pu.mixtures.GaussianMixture, n: int) -> torch.Tensor:
    """n points from a stream of randomness of their own."""
    return mixture.sample(n, pu.random_generator(seed, next(streams)))


def shares(points: torch.Tensor) -> torch.Tensor:
    counts, _ = torch.histogramdd(points, bins=[edges, edges])
    return counts / len(points)


edges = torch.linspace(-2.6, 2.6, 27, dtype=torch.float64)
cells = torch.cartesian_prod(*[(edges[1:] + edges[:-1]) / 2] * 2)
exact = p_unlabeled.log_prob(cells).exp() - beta * p_sensitive.log_prob(cells).exp()
identity_off = (exact - (1 - beta) * p_normal.log_prob(cells).exp()).abs().max()  # (1)
x_unlabeled, x_few = draw(p_unlabeled, 2000), draw(p_sensitive, num_few)
difference = shares(x_unlabeled) - beta * shares(x_few)  # (1) with points
negative_mass = -difference.clamp(max=0).sum().item()

# %%
with page.figure("04_subtract", 1, 3, figsize=(8.6, 3.2)) as (fig, axes):
    axes[0].plot(*x_unlabeled.T, ".", ms=2, color=pu.GREY)
    axes[0].set_title(f"$U$: {len(x_unlabeled):,} unlabeled")
    axes[1].plot(*x_few.T, "x", color=pu.SENSITIVE)
    axes[1].set_title(f"$S$: {num_few} sensitive")
    image = axes[2].pcolormesh(edges, edges, difference.T, cmap="PuOr", vmin=-0.01, vmax=0.01)
    axes[2].set_title("$U$ minus $\\beta S$")
    fig.colorbar(image, ax=axes[2], label="share in a cell", extend="both")
    pu.style.toy_plane(axes)
    fig.suptitle("Subtracting points leaves holes below zero", x=0.01, ha="left")
    fig.numbers(negative_mass=negative_mass, identity_off=identity_off)
    fig.check("p_U - beta p_S is (1 - beta) p_N", identity_off, at_most=1e-12)
    fig.check("with points, the difference has cells below zero", negative_mass, at_least=0.01)
    fig.alt(f"""Left: 2,000 unlabeled points in a ring of five blobs and a faint blob in the middle.
        Centre: {num_few} sensitive points in the middle and beside the top blob.
        Right: on a grid, the difference of shares is positive on the ring and negative in
        the cells of the labelled sensitive points.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Cells below zero. With twenty labels, each takes $\beta / 20$ away from its cell, as much as nine unlabeled points bring, and many cells hold fewer. The densities' difference is never negative; the points' difference is, wherever $S$ has more than its share. Keep this picture: a model flexible enough to act on single cells is *paid* for a large error there.
#
# </details>
#
# *Caption. Right: share of $U$ in each cell minus $\beta$ times the share of $S$. Purple: above zero, orange: below.*
#
# ## The risk without normal labels
#
# With normal data, chapter 03's costs would give the risk (PUDM eq. 15)
#
# $$L_{PN} = \beta\, \mathbb E_{p_S}\big[-\log(1 - e^{-\ell})\big] + (1 - \beta)\, \mathbb E_{p_N}[\ell]. \tag{3}$$
#
# Put (2) with $f = \ell$ into its second part (eqs. 16 to 18), and replace expectations by means:
#
# $$\hat L = \beta L_S^+ + \underbrace{L_U^- - \beta L_S^-}_{\hat R}. \tag{4}$$
#
# If $\beta$ is the true share and the points of $S$ are drawn at random from $p_S$, $\hat R$ is *unbiased*: its expectation is $R = (1 - \beta)\,\mathbb E_{p_N}[\ell] \ge 0$. But it can be negative itself, and then it is certainly wrong. Two repairs (eq. 19 and the text after it):
#
# $$\hat R_{\text{nn}} = \max(0, \hat R) \quad \text{(non-negative)}, \qquad \hat R_{\text{abs}} = |\hat R| = 2 \max(0, \hat R) - \hat R \quad \text{(absolute)}. \tag{5}$$
#
# Both pay with bias: from $\max(0, \hat R) = \hat R + \max(0, -\hat R)$,
#
# $$\mathbb E[\hat R_{\text{nn}}] - R = \mathbb E[\max(0, -\hat R)], \qquad \mathbb E[\hat R_{\text{abs}}] - R = 2\, \mathbb E[\max(0, -\hat R)]. \tag{6}$$
#
# To measure this we need a fixed model that is good on normal points and bad on sensitive ones, as a model that has learnt to forget is. Chapter 01's exact denoisers give one without training: from the best prediction for $p_N$, step further away from the best one for $p_U$,
#
# $$\hat\epsilon = \epsilon_N + w\, (\epsilon_N - \epsilon_U), \tag{7}$$
#
# which changes next to nothing where no sensitive point can be.
#
# The errors of 200,000 points of each kind are the population here, and every estimate takes its few from it at random; so $R$ is known exactly, and (6) can be read off.
#
# **Predict, then run.** The sizes of $U$ and $S$ double four times. Whose bias shrinks, and whose standard deviation?


# %%
def ell_of(mixture: pu.mixtures.GaussianMixture, n: int, noise_predictor) -> torch.Tensor:
    """ell of n fresh points of a mixture, one draw of (t, eps) each: (n,)."""
    generator = pu.random_generator(seed, next(streams))
    x0 = mixture.sample(n, generator)
    t = torch.randint(1000, (n,), generator=generator)
    eps = torch.randn(x0.shape, dtype=x0.dtype, generator=generator)
    x_t = pu.diffusion.add_noise(x0, eps, t, alphas_cumprod)
    return pu.diffusion.denoising_error(eps, noise_predictor(x_t, t))


def forgetful(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    eps_normal = p_normal.eps(x_t, alphas_cumprod[t])
    eps_unlabeled = p_unlabeled.eps(x_t, alphas_cumprod[t])
    return eps_normal + forgetting * (eps_normal - eps_unlabeled)  # (7)


many = 2000 if quick else 200_000
ell_u, ell_s, ell_n = (ell_of(p, many, forgetful) for p in (p_unlabeled, p_sensitive, p_normal))
truth = (ell_u.mean() - beta * ell_s.mean()).item()  # R of this population, by (2)
print(f"R = {truth:.4f} from U and S; from p_N itself {(1 - beta) * ell_n.mean():.4f}")

# %%
sizes = [(30, 10), (60, 20), (120, 40), (240, 80), (480, 160)]  # (U, S)
generator = pu.random_generator(seed, 940)


def means_of(ells: torch.Tensor, n: int) -> torch.Tensor:
    """Means over n points of a population, num_draws of them; in pieces, for memory."""
    picks = [torch.randint(many, (200, n), generator=generator) for _ in range(num_draws // 200)]
    return torch.cat([ells[pick].mean(1) for pick in picks])


risk_draws, rows = {}, []
for n_u, n_s in sizes:
    risk = means_of(ell_u, n_u) - beta * means_of(ell_s, n_s)  # (4), one value a (U, S)
    risk_draws[n_s] = risk
    repaired = {"unbiased": risk, "non-negative": risk.clamp(min=0), "absolute": risk.abs()}  # (5)
    for name, values in repaired.items():
        off = (values.mean() - truth).item()
        row = {"points in S": n_s, "risk": name, "bias": off, "sd": values.std().item()}
        rows.append(row | {"error": row["sd"] / num_draws**0.5})

# %%
estimates = pd.DataFrame(rows).pivot(index="points in S", columns="risk")
bias, sd, error = estimates["bias"], estimates["sd"], estimates["error"]
below_zero = {n: (risk < 0).double().mean().item() for n, risk in risk_draws.items()}
by_6 = pd.Series({n: (-r).clamp(min=0).mean().item() for n, r in risk_draws.items()})  # (6)
worst = (bias["unbiased"].abs() / error["unbiased"]).max()
first, last = by_6.iloc[[0, -1]]
counts = estimates.index.to_numpy()
smallest, below = risk_draws[counts[0]], below_zero[counts[0]]
falls = sd["unbiased"].iloc[0] / sd["unbiased"].iloc[-1] / (counts[-1] / counts[0]) ** 0.5
estimates[["bias", "sd"]].T.round(3)

# %%
with page.figure("04_estimators", 1, 2, figsize=(8.6, 3.4)) as (fig, (left, right)):
    left.hist(smallest.clamp(-5, 5), bins=60, color=pu.SKY)
    left.axvline(0, color="black", linewidth=1)
    left.axvline(truth, color=pu.NORMAL, linestyle="--")
    left.set(xlabel="$\\hat R$, smallest size; dashed: $R$", ylabel=f"of {num_draws:,} estimates")
    half = 1.96 * error["unbiased"]
    right.errorbar(counts, bias["unbiased"], half, color=pu.SKY, label="unbiased")
    pair = {"non-negative, (6)": (counts, by_6), "absolute, (6)": (counts, 2 * by_6)}
    pu.style.marked_lines(right, pair, (pu.BLUE, pu.GREEN))
    right.set(xlabel="points in $S$ (3 times as many in $U$)", ylabel="bias")
    pu.style.titles((left, right), f"{below:.0%} are below zero", "Repairs cost a bias that fades")
    pu.style.legend_below(fig, right)
    fig.numbers(truth=truth, below_zero=below_zero, bias=bias.to_dict(), sd=sd.to_dict())
    fig.check("unbiased: at every size within four standard errors of R", worst, at_most=4)
    fig.check("non-negative: the bias fades, last size over first", last / first, at_most=0.5)
    fig.check("unbiased: sd times sqrt(n), first over last", falls, at_least=0.9, at_most=1.1)
    fig.alt(f"""Left: histogram of estimates, wide, {below:.0%} below zero. Right: bias against the
        size of S: unbiased at zero, non-negative {first:.2f} to {last:.2f}, absolute twice.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The unbiased estimate has no bias to lose; those of the two repairs fade, since by (6) they are what lies below zero. The standard deviation (in the table) shrinks for all three. For the unbiased estimate it falls like $1/\sqrt n$, as that of a difference of two independent means must. The repairs are less spread out, because cutting or folding at zero can only bring values together: throwing away impossible values helps even where it biases. None of this says which one to *train* with, because training looks for the model that makes the estimate small, and so looks for its mistakes.
#
# </details>
#
# *Caption. Left: the unbiased estimate at the smallest size, cut off at ±5. Right: bias of the three, with 95 % intervals for the one that has none.*
#
# ## From a larger error to fewer samples
#
# So far $\ell$ was a number that pays or costs. Why should a model that errs at $x$ *draw* fewer points there? Look at what training with (4) finds. Leave the term $L_S^+$ aside, which chapter 03 found asleep at the paper's $D$. The rest of the risk is an integral over $x_0$, and by (1)
#
# $$\int \big(p_U(x_0) - \beta\, p_S(x_0)\big)\, \mathbb E_{t,\epsilon} \|\epsilon - \hat\epsilon(x_t, t)\|^2 \, dx_0 = (1 - \beta)\, \mathbb E_{p_N, t, \epsilon} \|\epsilon - \hat\epsilon(x_t, t)\|^2 , \tag{8}$$
#
# the ordinary risk of a diffusion model *of normal data*. It is smallest at $\hat\epsilon = \mathbb E_{p_N}[\epsilon \mid x_t]$. This predictor never points at a place that holds sensitive data alone: its $\hat x_0$ is an average of normal points. The chain walks towards $\hat x_0$; a noisy point that started near a sensitive one is carried away from it. The error there, $\|\epsilon - \hat\epsilon\|^2$, is large for the same reason: $\hat\epsilon$ explains $x_t$ as noise on a normal point, far away. So the large error does not repel by itself. Both are signs of one thing, that the model no longer believes in that place.
#
# One coordinate is enough to see it. Normal data make two bumps, at ±1.2, sensitive ones a bump between them.
#
# **Predict, then run.** At $x = 0$, where does the prediction of the unsupervised model point, and where that of the PU model?

# %%
bumps = pu.mixtures.GaussianMixture([1, 1], [[-1.2], [1.2]], [0.04, 0.04])
between = pu.mixtures.GaussianMixture([1], [[0.0]], [0.02])
x_line = draw(pu.mixtures.pu_mixture(bumps, between, beta), 4000)
on_line = TrainingImages(x_line.float(), draw(between, 400).float())
compared = ("unsupervised", "pu_non_negative")
train_toy = partial(pu.studies.train_toy, beta, seed=seed)
lines = {m: train_toy(method=m, steps=steps // 2, images=on_line)[0] for m in compared}
t = torch.tensor(60)  # noise of a fifth, as wide as a bump
places = torch.linspace(-1.8, 1.8, 121, dtype=torch.float64)[:, None]
drawn = {m: pu.studies.sample_toy(model, num_samples, seed) for m, model in lines.items()}
pulls = {}
for method, model in lines.items():
    x_t = places * alphas_cumprod[t].sqrt()
    with torch.no_grad():
        eps_hat = model(x_t.float(), t).sample
    pulls[method] = pu.diffusion.x0_from_eps(x_t, eps_hat, t, alphas_cumprod) - places
slope = (pulls[compared[1]][61] - pulls[compared[1]][59]).item() / 0.06  # of PU's, at x = 0
true_density = bumps.log_prob(places).exp()

# %%
plain, learnt = ((x.abs() < 0.5).double().mean().item() for x in drawn.values())
with page.figure("04_bump", 1, 2, figsize=(8.6, 3.4)) as (fig, (left, right)):
    bins = {"bins": 60, "range": (-1.8, 1.8), "density": True, "histtype": "step"}
    for method in compared:
        look = {"color": pu.METHOD_COLOURS[method], "label": pu.METHOD_LABELS[method]}
        left.plot(places, pulls[method], **look)
        right.hist(drawn[method].flatten(), **bins, **look)
    right.plot(places, true_density, ":", color=pu.PURPLE, label="$p_N$")
    left.axhline(0, color="black", linewidth=0.8)
    left.set(xlabel="$x$", ylabel="$\\hat{x}_0 - x$", title="At 0, PU's prediction points away ...")
    right.set(xlabel="$x$", ylabel="density of samples", title="... and the bump is gone")
    pu.style.legend_below(fig, right)
    fig.numbers(share_of_the_bump={"unsupervised": plain, "pu_non_negative": learnt})
    fig.check(
        "PU: share of samples in the bump, of the unsupervised one's", learnt / plain, at_most=0.1
    )
    fig.check("PU: the prediction points away from 0, its slope there", slope, at_least=0.2)
    fig.alt(f"""Left: where the prediction moves a point. Near x = 0 unsupervised crosses zero
        downwards, PU upwards. Right: densities of samples. The bump at 0 holds {plain:.1%} of the
        unsupervised samples and {learnt:.1%} of PU's, which follow p_N.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The unsupervised model pulls a point near 0 back to 0: its curve crosses zero downwards there, as at ±1.2, and places of this kind are where a chain can end. PU's curve crosses upwards, close to 0: there is the top of a hill, and a point next to it rolls to one of the normal bumps. No sample ends where the chain never stays, and the density on the right is that of $p_N$.
#
# </details>
#
# *Caption. Left: $\hat x_0 - x$ for a point $x$ at index 60, without noise of its own. Right: histogram of DDIM samples; dotted: the true density of normal data.*
#
# ## In the plane
#
# Now chapter 01's toy, with 4,000 points in $U$ and 400 in $S$. `train_toy` makes an `MLPDenoiser`, a small network for points, and trains it with chapter 02's loop and a method of `pudm_lib.training.losses`: on $U$ alone, by PU non-negative, by PU with $\tau = 1$, and with 20 labelled normal points besides (PNU, at the end of this chapter). Every model makes 4,000 points with DDIM.
#
# In two dimensions $\ell$ is below 1 and chapter 03's BCE term is wide awake, which at the paper's $D$ it is not. $\tau = 2/512$, which `train_toy` uses, gives $\ell$ the scale of a picture of 512 pixels; the run with $\tau = 1$ shows what the choice does. Network, rate, steps, sizes and $\tau$ were chosen on other seeds.
#
# Three numbers judge a model. A sample has *leaked* where a sensitive origin is more likely than a normal one under the true densities, $P(y{=}1 \mid x) > \frac12$. It is *off the data* where $p_U$ is lower than at all but one in a thousand of its own points: a model can keep the leak low by drawing nonsense. And a fifth of all normal points belong to the *top blob*, the one that a sensitive blob overlaps: a model can keep the leak low by drawing nothing there.
#
# **Predict, then run.** If PU learning works as (8) says, what leak remains: none, or something else? Below the figure, the same PU training at the true β while you can watch; under a kernel you may then try others. At $\beta = 0.3$, which subtracts more than there is, look at the top blob.

# %%
images = pu.studies.toy_images(seed)
few_normal = draw(p_normal, num_few).float()
with_normal = TrainingImages(images.unlabeled, images.sensitive, few_normal)
train = partial(train_toy, steps=steps, images=images)
awake = "PU non-negative, $\tau$ = 1"
models = {m: train(method=m)[0] for m in compared}
models[awake], _ = train(method="pu_non_negative", tau=1.0)
models["pnu"], _ = train(method="pnu", images=with_normal)
points = {m: pu.studies.sample_toy(model, num_samples, seed) for m, model in models.items()}
perfect = draw(p_normal, 10_000 if quick else 400_000)
judged = {name: pu.studies.judge_toy(x) for name, x in points.items()}
judged |= {"data of $p_U$": pu.studies.judge_toy(draw(p_unlabeled, len(perfect)))}
floor = judged["data of $p_N$"] = pu.studies.judge_toy(perfect)
table = pd.DataFrame(judged).T
table.rename(index=pu.METHOD_LABELS).style.format("{:.2%}")

# %%
panels = {pu.METHOD_LABELS[m]: points[m] for m in compared}
panels["the truth: $p_N$"] = perfect[:num_samples]
with page.figure("04_samples", 1, 3, figsize=(9, 3.3)) as (fig, axes):
    for ax, (label, x) in zip(axes, panels.items(), strict=True):
        leaked = pu.studies.leaked(x)
        ax.plot(*x[~leaked].T, ".", ms=1.5, color=pu.NORMAL)
        ax.plot(*x[leaked].T, "x", ms=3, color=pu.SENSITIVE)
        ax.set_title(f"{label}: {leaked.double().mean():.1%} leaked", fontsize=10)
    pu.style.toy_plane(axes)
    fig.suptitle("PU leaks about as much as normal data do", x=0.01, ha="left")
    fig.numbers(**judged)
    (plain, learnt), top = table["leak"].iloc[:2], table["top"]
    fig.check("PU leaks less than unsupervised: ratio", learnt / plain, at_most=0.4)
    fig.check("PU: share in the top blob, 0.2 of normal data", top.iloc[1], at_least=0.15)
    fig.check("with tau = 1 the BCE term empties the top blob", top[awake], at_most=0.07)
    fig.alt(f"""Three scatter plots. Unsupervised: crosses, leaked points, in the middle and
        beside the top blob, {plain:.1%}. PU: {learnt:.1%}, hardly one in the middle. The truth:
        {floor["leak"]:.1%}, all beside the top blob.""")

# %%
pu.widgets.train_live(seed=seed)

# %% [markdown]
# <details><summary>Answer</summary>
#
# That of $p_N$ itself, about one per cent: some normal points lie where sensitive ones are denser, beside the top blob, and a perfect model draws them. A leak of zero would mean that normal points were lost, as the run with $\tau = 1$ shows in the table. By chapter 03's slopes its labelled points push with $\beta\,(1 + 1/(e^\ell - 1))$, wherever $\ell < \log 2$ more than twice the $\beta$ that subtracts $p_S$ from $p_U$, and the normal blob that stands next to them goes too.
#
# What it took: a network that keeps the blobs apart (one without the time in every block bridges them, and an eighth of its samples lie off the data whatever the risk), labels enough to speak for both sensitive blobs, and a term that is asleep.
#
# </details>
#
# *Caption. DDIM samples. Dots: normal is more likely; crosses: sensitive is. Live: 600 samples, and $\ell$ over the plane; at the green line, $\ell = 2$, the model is no better than a guess of no noise, and beyond it takes nothing for data.*
#
# One draw of $U$ and $S$ is one toss of a coin. The study below has five of each, five times as many points, and three times the training, so that what is left is theory and not haste. Its settings were chosen on seeds 100 to 102, and the predictions written down before seeds 20 to 24 were run.

# %%
measure = partial(pu.studies.measure_leaks, study_seeds, 10_000)
of = {"study_seeds": study_seeds}
found, record = page.study("04_seeds", measure, made_for=of)
shares = {m: pd.DataFrame(found[m]) for m in compared}
means = {
    m: {k: pu.intervals.student_interval(v) for k, v in of.items()} for m, of in shares.items()
}
learnt, ends = means["pu_non_negative"], means["pu_non_negative"]["leak"][1]
beyond = learnt["leak"][0] - floor["leak"]
alike = {"at_least": -0.005, "at_most": 0.005, "interval": [end - floor["leak"] for end in ends]}
pd.DataFrame({m: {k: f"{v:.2%}" for k, (v, _) in of.items()} for m, of in means.items()}).T

# %%
with page.figure("04_seeds", 1, 2, record=record, figsize=(8.6, 2.6), sharey=True) as (fig, axes):
    for ax, name in zip(axes, ("leak", "off"), strict=True):
        of = {m: (100 * v[name][0], [100 * end for end in v[name][1]]) for m, v in means.items()}
        pu.style.interval_rows(ax, of, {m: 100 * shares[m][name] for m in compared})
        ax.axvline(100 * floor[name], color=pu.PURPLE, linestyle=":")
        ax.set(xlim=(0, None), xlabel=f"{name}, % of samples; dotted: $p_N$")
    fig.suptitle(
        "Over seeds, PU leaks what normal data do and stays on the data", x=0.01, ha="left"
    )
    fig.numbers(**found)
    fig.predict("PU: leak beyond that of p_N's own points, mean over seeds", beyond, **alike)
    off, top = learnt["off"], learnt["top"]
    fig.predict("PU: share off the data", off[0], at_most=0.02, interval=off[1])
    fig.predict(
        "PU: share in the top blob, 0.2 of normal data", top[0], at_least=0.17, interval=top[1]
    )
    plain = means["unsupervised"]["leak"]
    fig.predict("unsupervised: leak", plain[0], at_least=0.06, interval=plain[1])
    fig.alt(f"""Rows with 95 % intervals over five seeds. Leak: unsupervised {plain[0]:.1%}, PU
        {learnt["leak"][0]:.2%} about p_N's {floor["leak"]:.2%}. Off the data: PU {off[0]:.1%}.""")

# %% [markdown]
# *Caption. Pale dots: seeds; diamonds: their means with Student's 95 % intervals; dotted: $p_N$'s own points.*
#
# ## Where the three forms part
#
# Up to here it did not matter which of the three risks was used: in large batches the estimate $\hat R$ is hardly ever below zero. Collect what stands in front of $\ell$ at a purely sensitive place. $U$ brings $\beta p_S$, the second mean takes $\beta p_S$ away: with the true $\beta$ the coefficient is *zero* on average, and $L_S^+$ is left, which only pushes upward. Nothing holds $\ell$ there. Chance decides the rest: if $U$ happens to hold fewer sensitive points than $\beta$ says, the coefficient is negative in the whole blob; and with few labels it is negative *at the labels*, whatever $\beta$ is: that was the first figure. The unbiased risk has no lower bound: the network is then rewarded for an error on $S$ of ten, a thousand, a million.
#
# The study below trains all three with the true $\beta$, five labels and batches of 32 and 32, for five seeds.
#
# **Predict, then run.** The unbiased risk can fall for ever. What becomes of the error on *normal* points, which share the network?

# %%
measure = partial(pu.studies.measure_forms, study_seeds, fewest)
made_for = {"study_seeds": study_seeds, "fewest": fewest}
forms, record = page.study("04_runaway", measure, made_for=made_for)
by_form = {m: pd.DataFrame(rows) for m, rows in forms.items()}
median = pd.DataFrame({m: of.median() for m, of in by_form.items()}).T
held = max(by_form[m]["largest"].max() for m in ("pu_non_negative", "pu_absolute"))
apart = max(of["apart"].max() for of in by_form.values())
median.rename(index=pu.METHOD_LABELS).style.format("{:.3g}")

# %%
runaway, normal = median["largest"], median["normal"]
with page.figure("04_runaway", record=record, figsize=(6.4, 3.6)) as (fig, ax):
    for (method, of), mark in zip(by_form.items(), "os^", strict=True):
        look = {"color": pu.METHOD_COLOURS[method], "label": pu.METHOD_LABELS[method]}
        ax.loglog(of["largest"], of["normal"], mark, alpha=0.7, **look)
    ax.set(xlabel="largest $\\ell$ on $S$ in training", ylabel="$\\ell$ on fresh normal points")
    ax.legend()
    fig.suptitle("The unbiased risk runs away and forgets normal points", x=0.01, ha="left")
    fig.numbers(**forms)
    text = "until the first negative risk, the three PU runs are the same to the last digit"
    fig.check(text, apart, at_most=0)
    ratio = runaway["pu_unbiased"] / runaway["pu_non_negative"]
    fig.check("largest error on S, unbiased over non-negative, medians", ratio, at_least=100)
    ratio = normal["pu_unbiased"] / normal["pu_non_negative"]
    fig.check("error on fresh normal points, likewise", ratio, at_least=10)
    fig.check("non-negative and absolute hold the error on S, all seeds", held, at_most=100)
    fig.alt(f"""Each run as a mark on logarithmic axes. Non-negative and absolute stay together,
        error on S below {held:.0f}, on normal points below one. The unbiased runs are orders of
        magnitude further out in both, their median at {runaway["pu_unbiased"]:.0e}.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# It goes along. The network has one set of weights; once the error on $S$ is that large, the steps are about nothing else, and normal points are forgotten too. The leak may be small all the same, since points far from everything are not sensitive: a low leak alone proves nothing. Non-negative and absolute turn round where $\hat R = 0$, and stay there. Up to the first batch with a negative risk all three are one and the same computation. A $\beta$ that is too large does to large batches what few labels do to small ones.
#
# </details>
#
# *Caption. One mark a run, five seeds of each form: the largest mean error on a batch's sensitive points against the trained model's error on fresh normal ones. The table has medians over seeds; `below` is the share of steps with a negative risk, `first` the first of them.*
#
# ## How many labels speak for the rest?
#
# With few points in $S$, $\beta L_S^-$ is not $\beta\, \mathbb E_{p_S}[\ell]$ but a few peaks. The next cells train PU non-negative with two labels, one in each sensitive blob, and with twenty, ten in each, so that the sets differ in number alone. Shown is the *added* error: $\ell$ under the PU model minus $\ell$ under the unsupervised one, with the same noise for both, so that it is zero where PU changed nothing. Fresh points are half from each blob as well.
#
# **Predict, then run.** Where is the added error larger: on the labelled points, or on fresh ones? And with twenty labels?

# %%
blobs = [
    pu.mixtures.GaussianMixture([1], p_sensitive.means[k : k + 1], [v])
    for k, v in enumerate(p_sensitive.variances[:, 0].tolist())
]
x_of = {n: torch.cat([draw(blob, n // 2) for blob in blobs]) for n in (2, num_few, 4000)}
fresh = x_of.pop(4000)


@torch.no_grad()
def added_error(model, points: torch.Tensor, draws: int) -> torch.Tensor:
    """ell of a model minus ell of the unsupervised one, mean over draws of (t, eps): (n,).
    Only indices below 100, where the noise is no wider than a blob."""
    generator = pu.random_generator(seed, 980)
    x0 = points.repeat(draws, 1)
    t = torch.randint(100, (len(x0),), generator=generator)
    eps = torch.randn(x0.shape, dtype=x0.dtype, generator=generator)
    x_t = pu.diffusion.add_noise(x0, eps, t, alphas_cumprod).float()
    pair = [m(x_t, t).sample for m in (model, models["unsupervised"])]
    ell, ell_plain = (pu.diffusion.denoising_error(eps, eps_hat) for eps_hat in pair)
    return (ell - ell_plain).reshape(draws, -1).mean(0)


# %%
added = {}
for n, labels in x_of.items():
    of_n = TrainingImages(images.unlabeled, labels.float())
    model, _ = train(method="pu_non_negative", images=of_n, steps=steps // 2)
    on_own = added_error(model, labels, 20_000 // n).mean().item()
    added[n] = {"labelled": on_own, "fresh": added_error(model, fresh, 5).mean().item()}
bars = pd.DataFrame(added).T
few, more = bars["labelled"] / bars["fresh"]
with page.figure("04_small_s", figsize=(5.2, 3.2)) as (fig, ax):
    bars.plot.bar(ax=ax, color=[pu.SENSITIVE, pu.SKY], width=0.8, rot=0)
    ax.set(xlabel="labels, half in each blob", ylabel="mean added error")
    fig.suptitle("Two labels stand for themselves, twenty for their blobs", x=0.01, ha="left")
    fig.numbers(added_error=added)
    fig.check("two labels: added error on them over that on fresh points", few, at_least=1.05)
    fig.check("twenty labels: that ratio over two labels'", more / few, at_most=0.95)
    (two, of_two), (twenty, of_twenty) = bars.to_numpy()
    fig.alt(f"""Bars. With two labels the added error is {two:.2f} on them and {of_two:.2f} on fresh
        points; with twenty {twenty:.2f} and {of_twenty:.2f}.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# On the labelled ones: the network has partly learnt two points, not two blobs. With twenty labels the two bars come nearer to each other. The blobs here are small and the network is smooth, so a handful of labels is enough to speak for them; where sensitive images are of many kinds, it is not.
#
# </details>
#
# *Caption. Added error at little noise, indices below 100, over the labelled points and over 4,000 fresh ones.*
#
# ## Why step on minus the negative part?
#
# Equation 19 says: minimise $\beta L_S^+ + \max(0, \hat R)$. Where $\hat R < 0$ the gradient of the maximum is zero, so the plain reading is to step on $\beta L_S^+$ alone. Algorithm 1 does something else: it leaves out $\beta L_S^+$ and steps on $-\hat R$. Readers of PU code ask why again and again.
#
# Look at one number: a sensitive place with its own error $s$, while the mean on $U$ stays at $u$. A batch sees $\hat R = u - \beta s + \text{noise}$. Let $q$ be the chance that a batch has $\hat R \ge 0$. With learning rate $\eta$, the average move of $s$ in a step is, leaving the small push of $L_S^+$ aside,
#
# $$\text{unbiased: } \eta\beta, \qquad \text{zero gradient: } \eta\beta\, q, \qquad \text{Algorithm 1 and absolute: } \eta\beta\, \big(q - (1 - q)\big) = \eta\beta\,(2q - 1). \tag{9}$$
#
# With a zeroed gradient the move is never downward: noise carries $s$ on past the line $\hat R = 0$, and an $s$ that is far beyond it stays there for good. With Algorithm 1 the move is zero at $q = \frac12$, which is $\hat R = 0$, upward before and *downward* beyond: the line attracts. Leaving out $L_S^+$ in that step keeps the one force away that points further out.
#
# **Predict, then run.** A second start is far beyond the line, as after an overfitted phase. Which rules come back?


# %%
def walk(rule: str, s: float, u=0.5, b=0.1, rate=0.5, noise=0.3, num_steps=600):
    """The true u - beta s after each step of one rule, (num_steps,)."""
    generator = pu.random_generator(seed, 900)
    path = []
    for z in (noise * torch.randn(num_steps, generator=generator)).tolist():
        push = -b / math.expm1(s)  # slope of beta L_S^+
        slopes = {  # where the batch's risk is negative
            "unbiased": push - b,
            "zero gradient": push,
            "Algorithm 1": b,  # minus the slope of R
            "absolute": push + b,
        }
        slope = push - b if u - b * s + z >= 0 else slopes[rule]
        s = max(s - rate * slope, 1e-3)
        path.append(u - b * s)
    return torch.tensor(path)


# %%
starts = (1.0, 12.0)
rules = {
    "unbiased": pu.SKY,
    "zero gradient": pu.ORANGE,
    "Algorithm 1": pu.BLUE,
    "absolute": pu.GREEN,
}


def draw_walks(ax, start, **knobs):
    for (rule, colour), style in zip(rules.items(), ("-", "-", "--", ":"), strict=True):
        ax.plot(walk(rule, start, **knobs), style, color=colour, label=rule)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel="step", ylabel="true $u - \\beta s$", ylim=(-1.6, 0.6))


def ends_of(start, **knobs):
    return {rule: walk(rule, start, **knobs)[-200:].mean().item() for rule in rules}


tails = {start: ends_of(start) for start in starts}
pd.DataFrame(tails).rename(columns="start at s = {:g}".format).T.round(2)

# %%
near, far = tails.values()
near_zero = max(abs(end[rule]) for end in (near, far) for rule in ("Algorithm 1", "absolute"))
with page.figure("04_step", 1, 2, figsize=(8, 3.5), sharey=True) as (fig, axes):
    for ax, start in zip(axes, starts, strict=True):
        draw_walks(ax, start)
    axes[0].set_title("Start before the line")
    axes[1].set(title="Start beyond it (overfitted)", ylabel="")
    pu.style.legend_below(fig, axes[0], 4)
    fig.suptitle("Only a step on $-\\hat{R}$ comes back to zero", x=0.01, ha="left")
    fig.numbers(mean_of_last_200=tails)
    fig.check("Algorithm 1 and absolute end near zero from both starts", near_zero, at_most=0.1)
    drifts, stays = near["zero gradient"], far["zero gradient"]
    fig.check("zero gradient: noise carries it below zero", drifts, at_most=-0.2)
    text = "zero gradient: from an overfitted start (-0.7) it never comes back"
    fig.check(text, stays, at_most=-0.65)
    fig.alt("""The risk of a one-number model over 600 noisy steps, from two starts. Unbiased falls
        without end. Zero gradient drifts below zero, or stays flat at minus 0.7. Algorithm 1 and
        absolute settle around zero from both.""")


# %%
def draw_walk(start, **knobs):
    fig, (ax,) = pu.style.new_figure(figsize=(7, 3.2))
    draw_walks(ax, start, **knobs)
    ax.legend(ncols=4, loc="lower center", fontsize=8)
    return fig


def tell_walk(start, **knobs):
    ends = [f"{rule} ends at {end:.2f}" for rule, end in ends_of(start, **knobs).items()]
    return f"Start {start:g}: " + ", ".join(ends) + "."


knobs = {"start": (starts, 12.0), "noise": ((0.0, 0.1, 0.3, 1.0), 0.3)}
knobs["rate"] = ((0.1, 0.5, 2.0, 8.0), 0.5)
pu.explore(draw_walk, alt=tell_walk, **{n: pu.Control(n, *of) for n, of in knobs.items()})

# %% [markdown]
# <details><summary>Answer</summary>
#
# Algorithm 1 and absolute. For the absolute risk the step on $-\hat R$ is the ordinary gradient of $|\hat R|$; it differs from Algorithm 1 in keeping the push of $L_S^+$ while it climbs, and in an error on $S$ of a few units this is a small matter. Kiryo et al. also offer a tolerance and a smaller rate for the step back; PUDM uses neither.
#
# </details>
#
# *Caption. All rules see the same noise. Black line: $\hat R = 0$ on average. Below: start, noise and step size ($\eta$) are yours. Without noise zero gradient stops at the line; with much of it, or a large step, even Algorithm 1 only hovers about it.*
#
# ## A few normal labels: PNU
#
# Sometimes a handful of images can be checked by hand. Their mean estimates the same risk as $\hat R$ does, so any weighted average of the two is unbiased again (PUDM only mentions this extension; the form is ours):
#
# $$\hat R_\gamma = (1 - \gamma)\big(L_U^- - \beta L_S^-\big) + \gamma (1 - \beta) L_N^-. \tag{10}$$
#
# The two parts are independent. With variances $V_{PU}$ and $V_N$,
#
# $$\operatorname{Var} \hat R_\gamma = (1 - \gamma)^2 V_{PU} + \gamma^2 V_N, \qquad \gamma^* = \frac{V_{PU}}{V_{PU} + V_N}. \tag{11}$$
#
# **Predict, then run.** $U$ has 60 points here, $S$ and $N$ 20 each, and the model is (7) again. Is $\gamma^*$ nearer to 0 (trust $U$) or to 1 (trust the 20 normal points)?

# %%
(n_u, n_s), gammas = sizes[1], torch.linspace(0, 1, 11, dtype=torch.float64)
from_normal = (1 - beta) * means_of(ell_n, num_few)
mixed = (1 - gammas) * risk_draws[n_s][:, None] + gammas * from_normal[:, None]  # (10)
v_pu = ell_u.var() / n_u + beta**2 * ell_s.var() / n_s
v_n = (1 - beta) ** 2 * ell_n.var() / num_few
formula = ((1 - gammas) ** 2 * v_pu + gammas**2 * v_n).sqrt()  # (11)
best = (v_pu / (v_pu + v_n)).item()  # (11)
off_by = (mixed.std(0) / formula).log().abs().max().exp()
with page.figure("04_pnu", figsize=(5.6, 3.4)) as (fig, ax):
    ax.plot(gammas, formula, color="black", label="formula (11)")
    ax.plot(gammas, mixed.std(0), "o", color=pu.BLUE, label=f"{num_draws:,} draws")
    ax.set(xlabel="$\\gamma$", ylabel="standard deviation of the risk", ylim=(0, None))
    ax.set_title("Twenty normal labels steady the estimate")
    ax.legend()
    fig.numbers(gamma=gammas, measured=mixed.std(0), formula=formula, best_gamma=best)
    fig.check("formula (11) and the measured deviation: largest ratio", off_by, at_most=1.1)
    fig.check("the best gamma trusts the normal points more", best, at_least=0.5)
    fig.alt(f"Dots on a curve that falls from {formula[0]:.2f} at gamma 0, lowest at {best:.2f}.")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Nearer to 1. The noise of $\hat R$ comes from the sensitive points, whose errors are large and are added by $U$ and taken away by $S$; 20 normal points have none of it. In training the gain is smaller: 20 points say little about the whole of $p_N$, which $U$ shows four thousand times, and the table above has PNU beside PU with $\gamma$ left at one half.
#
# </details>
#
# *Caption. 60, 20 and 20 points of $U$, $S$ and $N$.*
#
# ## Check
#
# Every claim of this chapter with the number that was measured and its bound. The predictions were written down before their seeds were run with these settings.

# %%
page.verdict()

# %% [markdown]
# ## What could go wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | $\ell$ on $S$ grows without end, then the samples fall apart | unbiased risk, or `zero gradient`, with $\hat R$ below zero: few labels, small batches, or a large $\beta$ | non-negative or absolute; watch the share of steps with `negative` < 0 |
# | Few leaks, but normal data near sensitive ones are missing | $\beta$ too large, or the BCE term awake ($\tau$ too large for $D$) | lower $\beta$ or $\tau$; never judge by the leak alone |
# | `method='pnu' needs normal images` | PNU without labelled normals | pass `normal=`, or use PU |
#
# The third of them, on purpose:

# %%
try:
    train(method="pnu")
except ValueError as error:
    print("caught:", error)

# %% [markdown]
# ## Limits
#
# - The BCE term is nearly switched off by $\tau$, so that $-\beta L_S^-$ does the work alone, as at the paper's $D$. How much of it is awake on real images must be measured there (chapter 03).
# - $S$ is drawn from the whole of $p_S$. If it covers one of the two sensitive blobs only, nothing subtracts the other (exercise 4).
# - The true $\beta$ is known here. Estimating it is a problem of its own.
# - "Leaked" uses the true densities. On images a classifier has to judge, with errors of its own.
# - The three forms part because labels are few and batches small. With 400 labels and batches of 256 they are nearly one run, as on large data sets.
# - The paper's Algorithm 1 is `pu_non_negative`; the released code trains with `pu_absolute` throughout.
#
# ## Exercises
#
# **1. The bias in one line (easy).** Check equation (6) on `risk_draws`: is the difference of the means of the non-negative and the unbiased estimate the mean of $\max(0, -\hat R)$?
#
# *Hint.* It holds draw by draw, so no interval is needed.
#
# <details><summary>Solution</summary>
#
# ```python
# for n_s, risk in risk_draws.items():
#     left = risk.clamp(min=0).mean() - risk.mean()
#     right = (-risk).clamp(min=0).mean()
#     print(n_s, f"{left:.6f} {right:.6f}")
#     assert torch.isclose(left, right)
# ```
#
# </details>
#
# **2. Which $\beta$ makes the coefficient negative? (easy)** Training uses $\beta'$ while the truth is $\beta$. Write the coefficient of $\ell$ at a place $x$ in terms of $p_N$ and $p_S$, and find for which $\beta'$ it is negative at a place where normal and sensitive points are equally dense.
#
# *Hint.* Put (1) into $p_U - \beta' p_S$.
#
# <details><summary>Solution</summary>
#
# $(1 - \beta)\, p_N + (\beta - \beta')\, p_S$. Where $p_N = p_S$ it is $1 - \beta'$ times the density: never negative for $\beta' < 1$. On purely sensitive places it is negative for every $\beta' > \beta$. The cell finds what share of sensitive points sits in the negative region.
#
# ```python
# x = draw(p_sensitive, 20_000)
# for other in (0.08, beta, 0.1, 0.2, 0.4):
#     coefficient = p_unlabeled.log_prob(x).exp() - other * p_sensitive.log_prob(x).exp()
#     print(f"beta' = {other:.3f}: {(coefficient < -1e-9).double().mean():.1%}")
# ```
#
# </details>
#
# **3. Share the noise (medium).** The variance of $\hat R$ comes partly from the random $t$ of each point. Estimate it with the *same* list of $t$ for the points of $S$ and for the first of $U$. Does the standard deviation of $\hat R$ fall?
#
# *Hint.* Pass the same `t` to both halves; compare 500 draws of each kind.
#
# <details><summary>Solution</summary>
#
# ```python
# def ell_at(mixture, t, generator):
#     x0 = mixture.sample(len(t), generator)
#     eps = torch.randn(x0.shape, dtype=x0.dtype, generator=generator)
#     x_t = pu.diffusion.add_noise(x0, eps, t, alphas_cumprod)
#     return pu.diffusion.denoising_error(eps, forgetful(x_t, t))
#
#
# generator = pu.random_generator(seed, 950)
# n_u, n_s = sizes[1]
# for shared in (False, True):
#     t_u = torch.randint(1000, (500, n_u), generator=generator)
#     t_s = torch.randint(1000, (500, n_s), generator=generator)
#     t_s = t_u[:, :n_s] if shared else t_s
#     on_u = ell_at(p_unlabeled, t_u.flatten(), generator).reshape(500, -1)
#     on_s = ell_at(p_sensitive, t_s.flatten(), generator).reshape(500, -1)
#     risk = on_u.mean(1) - beta * on_s.mean(1)
#     print("shared t" if shared else "own t   ", f"sd {risk.std():.3f}")
# ```
#
# Hardly, or not at all: what varies most is *which* points of $U$ are sensitive. Sharing helps in proportion to the covariance of the halves.
#
# </details>
#
# **4. A biased $S$ (medium).** Label only points of the middle blob, the first of `blobs`, and train PU non-negative. How much leaks in the middle, and how much beside the top blob?
#
# *Hint.* The sensitive blob that is nearer to a leaked sample says where it leaked.
#
# <details><summary>Solution</summary>
#
# ```python
# def by_place(x):
#     leaked = pu.studies.leaked(x)
#     nearer = torch.cdist(x, p_sensitive.means).argmin(1)  # 0: middle, 1: beside
#     return [(leaked & (nearer == k)).double().mean().item() for k in (0, 1)]
#
#
# biased = TrainingImages(images.unlabeled, draw(blobs[0], 400).float())
# model, _ = train(method="pu_non_negative", images=biased)
# biased_points = pu.studies.sample_toy(model, num_samples, seed)
# rows = {"unsupervised": points["unsupervised"], "biased S": biased_points}
# for name, x in rows.items():
#     print(f"{name:12s} middle {by_place(x)[0]:.2%}, beside the top blob {by_place(x)[1]:.2%}")
# ```
#
# What nobody labelled keeps leaking.
#
# </details>
#
# **5. Momentum (hard).** Real training uses AdamW, which goes on moving for a while after the gradient is zeroed. Give `walk`'s zero-gradient rule a momentum of 0.9 and start at 1. How much further below zero does it end than without?
#
# *Hint.* Keep a velocity `v = 0.9 * v + 0.1 * slope` and step along it.
#
# <details><summary>Solution</summary>
#
# ```python
# generator = pu.random_generator(seed, 900)
# noises = (0.3 * torch.randn(600, generator=generator)).tolist()
# for momentum in (0.0, 0.9, 0.99):
#     s, v = 1.0, 0.0
#     for z in noises:
#         push = -0.1 / math.expm1(s)
#         slope = push - 0.1 if 0.5 - 0.1 * s + z >= 0 else push
#         v = momentum * v + (1 - momentum) * slope
#         s = max(s - 0.5 * v, 1e-3)
#     print(f"momentum {momentum}: ends at {0.5 - 0.1 * s:.2f}")
# ```
#
# Hardly at 0.9, visibly at 0.99: the memory of the optimiser must be long against the steps it takes to cross the line. The drift of (9) is there without it.
#
# </details>
#
# ## What we learnt
#
# - $p_U - \beta p_S = (1 - \beta) p_N$ turns every normal expectation into a difference of two that can be estimated.
# - The estimate is unbiased and can be negative. Non-negative and absolute risk repair it at the price of a bias that fades with the data, the absolute one's twice as large.
# - What PU training finds is the noise predictor of normal data. It no longer points at sensitive places: its error is large there, and no chain ends there.
# - With a good network, labels enough and a BCE term that is asleep, PU leaks what normal data themselves leak, and keeps their neighbours. Awake, the term takes the neighbours along.
# - With few labels the three forms part: the unbiased risk runs away and ruins the error on normal points.
# - A step on $-\hat R$ is what makes the line $\hat R = 0$ attract. Zeroing the gradient only stops.
# - Labelled normal points steady the estimate; $\gamma^*$ says how much to trust them.
#
# **Next.** Chapter 05 does this with handwritten digits, where no density is known.
#
# ## References
#
# - Takahashi et al. (2025), *Positive-unlabeled diffusion models for preventing sensitive data generation* (PUDM). Section 3.2 and Algorithm 1 are this chapter.
# - Kiryo et al. (2017), *Positive-unlabeled learning with non-negative risk estimator*. The non-negative risk, its bias bound, and the step on the negative part.
# - Du Plessis, Niu, Sugiyama (2014, 2015), *Analysis of learning from positive and unlabeled data* and *Convex formulation for learning from positive and unlabeled data*. The unbiased risk.
# - Hammoudeh, Lowd (2020), *Learning from positive and unlabeled data with arbitrary positive shift*. The absolute value in place of the maximum.
# - Sakai et al. (2017), *Semi-supervised classification based on classification from positive and unlabeled data*. PNU learning and its variance.
