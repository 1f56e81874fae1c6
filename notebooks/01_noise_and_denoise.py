# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Noise a picture and denoise it
#
# **What is a diffusion model, where does its ELBO come from, and is the number that the code computes really the ELBO?**
#
# > **You will do.** Noise a handwritten digit and denoise it with the best denoiser there is; compute every term of an ELBO whose true value is known; check it in two independent ways.
# >
# > **You will learn.** The forward process in closed form; why predicting the noise, the clean picture and the score is one task; what the ELBO bounds, term by term; what the training loss leaves out of it.
# >
# > **You need.** Gaussians, Bayes' rule, a little PyTorch. No training happens here: every model in this chapter is exact.
# >
# > **Time and hardware.** Presets `laptop`, `gpu` and `paper`: about 20 seconds on one CPU core (the chapter is the same for all three). Preset `ci`: seconds, no claim checked.

# %%
import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits

import pudm_lib as pu

# %% tags=["parameters"]
preset = "laptop"  # ci, laptop, gpu or paper
seed = 0  # of everything random in this chapter
num_train_timesteps = 1000  # T of the forward process in the first half
step_counts = [10, 100, 1000]  # the T's whose ELBOs are compared, rising
variance = "beta"  # of the reverse steps: beta or posterior
digit_index = 0  # which of scikit-learn's 1,797 digits is noised
num_paths = 2000  # noising paths for each Monte Carlo estimate

# %%
page = pu.Page("01_noise_and_denoise", globals(), presets=("laptop", "gpu", "paper"))
x0_nodes, eps_nodes = 121, 97
if preset == "ci":
    step_counts, num_paths, x0_nodes, eps_nodes = [4, 8, 16], 100, 61, 49
print(page)

# %% [markdown]
# ## The symbols of this chapter
#
# | symbol | in code | meaning |
# |---|---|---|
# | $x_0$, $x_t$ | `x0`, `x_t` | a clean picture or point; the same after $t$ steps of noise |
# | $D$ | | how many numbers $x_0$ has: 64 for a digit of 8×8 pixels |
# | $T$, $t$ | `num_train_timesteps`, `t` | number of steps; step, $1 \ldots T$ in formulas, index $0 \ldots T-1$ in code |
# | $\beta_t$, $\alpha_t = 1 - \beta_t$ | `betas` | variance of the noise that step $t$ adds |
# | $\bar\alpha_t$ | `alphas_cumprod` | $\alpha_1 \alpha_2 \cdots \alpha_t$, the share of $x_0$'s variance left |
# | $\epsilon$, $\hat\epsilon$ | `eps`, `eps_hat` | the noise inside $x_t$, drawn from $\mathcal N(0, I)$; a model's prediction of it |
# | $q$, $p_\theta$ | | the noising process, which is fixed; the denoising model |
# | $\tilde\beta_t$, $\sigma_t^2$ | `variance` | variance of $q(x_{t-1} \mid x_t, x_0)$; variance of the model's step |
# | $\mathcal L$ | `elbo` | the evidence lower bound (ELBO), in nats |
# | $\ell$ | `ell` | the squared error of the predicted noise, summed over the $D$ numbers |
# | $w_t$ | `w` | what the ELBO multiplies $\ell$ with at step $t$ |
#
# `betas` is always this schedule. The share of sensitive data, which the later chapters call `beta`, does not appear here.
#
# **A trap that sits in every diffusion code.** Papers count steps $1 \ldots T$; `diffusers` and this book index arrays $0 \ldots T-1$. Step $t$ is index `t - 1`.
#
# ## Adding noise, in one jump
#
# A step of the forward process shrinks the picture a little and adds a little noise:
#
# $$q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{1 - \beta_t}\, x_{t-1},\ \beta_t I). \tag{1}$$
#
# Gaussian noise on Gaussian noise is Gaussian noise, so $t$ steps can be taken in one:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad \bar\alpha_t = \prod_{u \le t} (1 - \beta_u). \tag{2}$$
#
# The next cell carries the factor of $x_0$ and the variance of the noise through all $T$ steps of (1) and compares them with (2).

# %%
betas = pu.diffusion.linear_betas(num_train_timesteps)
alphas_cumprod = pu.diffusion.alphas_cumprod_of(betas)
factor, noise_variance, difference = 1.0, 0.0, 0.0
for b, a in zip(betas.tolist(), alphas_cumprod.tolist(), strict=True):
    factor = np.sqrt(1 - b) * factor  # (1)
    noise_variance = (1 - b) * noise_variance + b  # (1)
    off = max(abs(factor - np.sqrt(a)), abs(noise_variance - (1 - a)))  # (2)
    difference = max(difference, off)
print(f"largest difference over {num_train_timesteps} steps: {difference:.1e}")
print(f"share of the picture's variance left at the end: {alphas_cumprod[-1]:.1e}")

# %% [markdown]
# ## A real digit, and the best guess at it
#
# Noise is easy to add. What can be said about $x_0$ once only $x_t$ is known? Suppose we believed that a digit is one of the *other* 1,796 digits of scikit-learn's set, each pixel blurred a little. This belief is a mixture of 1,796 Gaussians, and for a mixture the best guess in squared error, the posterior mean $\mathbb E[x_0 \mid x_t]$, is a formula. `mixtures.GaussianMixture` has it.
#
# **Predict, then run.** Towards the end almost nothing of the digit is left in $x_t$. What picture does the best denoiser return there: noise, a random digit, the right digit, or something else?

# %%
pixels = torch.tensor(load_digits().data) / 8 - 1  # (1797, 64), in [-1, 1]
x0 = pixels[digit_index : digit_index + 1]
others = torch.cat([pixels[:digit_index], pixels[digit_index + 1 :]])
belief = pu.mixtures.GaussianMixture(torch.ones(len(others)), others, [0.02] * len(others))
shown_t = [int(s * (num_train_timesteps - 1)) for s in (0, 0.1, 0.25, 0.5, 0.75, 1)]
t = torch.tensor(shown_t)
eps = torch.randn(1, 64, dtype=x0.dtype, generator=pu.random_generator(seed, 0))
x_t = pu.diffusion.add_noise(x0.expand(len(t), -1), eps, t, alphas_cumprod)  # (2)
denoised = belief.posterior_mean(x_t, alphas_cumprod[t])
to_mean = (denoised[-1] - others.mean(0)).square().mean().sqrt()
to_digit = (denoised[1] - x0[0]).square().mean().sqrt()
print(f"last guess: {to_mean:.3f} a pixel from the mean of all digits")
print(f"guess at index {shown_t[1]}: {to_digit:.3f} a pixel from the true digit")

# %%
noisy_off = (x_t[1] / alphas_cumprod[t[1]].sqrt() - x0[0]).square().mean().sqrt()
bare = {"subplot_kw": {"xticks": [], "yticks": []}}
with page.figure("01_digit_noised", 2, 6, figsize=(8, 3.3), **bare) as (fig, axes):
    for ax, picture in zip(axes, [*x_t, *denoised], strict=True):
        ax.imshow(picture.reshape(8, 8), cmap="gray", vmin=-1.3, vmax=1.3)
    pu.style.titles(axes[:6], *[f"index {index}" for index in shown_t])
    axes[0].set_ylabel("noisy $x_t$")
    axes[6].set_ylabel(r"best guess $\mathbb{E}[x_0|x_t]$")
    fig.suptitle("The best guess at a vanished digit is the mean of all digits", x=0.01, ha="left")
    fig.numbers(t=shown_t, last_guess_to_mean=to_mean, guess_to_digit=to_digit)
    fig.check("T single steps and the closed form agree", difference, at_most=1e-12)
    fig.check("with no signal left the best guess is the mean digit", to_mean, at_most=0.1)
    nearer = "a tenth of the way in, the guess is nearer the digit than the noisy picture"
    fig.check(nearer, noisy_off / to_digit, at_least=1.2)
    fig.alt("""Six columns from clean to noise. Upper row: a handwritten zero of 8 by 8 pixels
        drowns in noise. Lower row: the best guess, sharp at first, ends as a grey blot.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The mean of all digits, a grey blot. A denoiser that minimises squared error averages over everything that is still possible; with no information left that is everybody. This is why sampling takes many small steps: one big step from noise lands on the blot.
#
# </details>
#
# *Caption. One digit under the DDPM schedule; the same noise in every column, only its share grows. The guess never saw this digit, only the others.*
#
# **Try it.** The next figure is the third column, with the curve that decides how much of the digit is left. In JupyterLab you can move $t$ and change the schedule below it. Find the index at which you can no longer tell the digit in $x_t$, and the one at which the best guess no longer can. Then switch to the cosine schedule (Nichol and Dhariwal 2021) and look for the same two pictures: they come later, because it keeps more of the digit for longer.

# %%
pu.widgets.explore_noise(x0, eps, belief, num_train_timesteps)

# %% [markdown]
# What decides is the share of variance left, $\bar\alpha_t$, and not the index: at equal $\bar\alpha_t$ the two schedules give the same picture. A schedule only says how many of the $T$ steps are spent at which noise.
#
# ## A world where the density is known
#
# A picture's density is unknown, so a picture cannot tell whether our ELBO is right. From here on $x_0$ is one number from a mixture of three Gaussians. Noised, it is again a mixture of three Gaussians, with means $\sqrt{\bar\alpha_t}\, m_k$ and variances $\bar\alpha_t v_k + 1 - \bar\alpha_t$: the density of $x_t$ is known at every step.
#
# **Predict, then run.** Do the three bumps disappear all at once? Which pair merges first?

# %%
world = pu.mixtures.GaussianMixture([0.3, 0.5, 0.2], [[-1.1], [0.2], [1.2]], [0.02, 0.09, 0.01])
line = torch.linspace(-3, 3, 401, dtype=torch.float64)
densities = torch.stack([world.noised(a).log_prob(line[:, None]).exp() for a in alphas_cumprod])
inner = densities[:, 1:-1]  # (T, 399), one row a step
bumps = ((inner > densities[:, :-2]) & (inner > densities[:, 2:])).sum(1)
merges = [int((bumps > n).sum()) for n in (2, 1)]
standard = torch.distributions.Normal(0.0, 1.0).log_prob(line).exp()
end_distance = 0.5 * (densities[-1] - standard).abs().sum() * (line[1] - line[0])
with page.figure("01_density_over_time", figsize=(8, 3.2)) as (fig, ax):
    image = ax.pcolormesh(range(1, 1 + len(densities)), line, densities.T, cmap="cividis", zorder=2)
    ax.plot(merges, (1.0, 0.2), "o", color="white", markeredgecolor="black")
    ax.set(xscale="log", xlim=(1, None), xlabel="step $t$", ylabel="$x_t$")
    ax.set_title(f"Noise melts three bumps into two (index {merges[0]}), then one ({merges[1]})")
    fig.colorbar(image, label="density of $x_t$")
    fig.numbers(total_variation_at_T=end_distance, bumps_merge_at_index=merges)
    fig.check("x_T is within total variation 0.01 of N(0, 1)", end_distance, at_most=0.01)
    later = "from two bumps to one takes more noise than from three to two"
    fig.check(later, merges[1] / max(merges[0], 1), at_least=1.2)
    fig.alt("""Heat map of the density of x_t over the steps, on a logarithmic axis. Of three bright
        bands the upper two merge first, at a white dot, and later the lower joins them.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Not at once. The upper two merge first, and the lower one joins them later, at the indices in the title. Detail goes before coarse structure, so a denoiser, which walks the other way, decides coarse things first.
#
# </details>
#
# *Caption. Brightness is the density of $x_t$ under the DDPM schedule. White dots: two bumps left, one bump left.*
#
# ## Three predictions that are one
#
# A denoiser may predict the clean point, the noise, or the score (the slope of $\log q(x_t)$). Put the expectation given $x_t$ around both sides of (2), and the first two determine each other:
#
# $$x_t = \sqrt{\bar\alpha_t}\ \mathbb E[x_0 \mid x_t] + \sqrt{1 - \bar\alpha_t}\ \mathbb E[\epsilon \mid x_t]. \tag{3}$$
#
# The third comes from differentiating $q(x_t) = \int q(x_t \mid x_0)\, q(x_0)\, dx_0$ under the integral; this is Tweedie's formula:
#
# $$\nabla \log q(x_t) = -\frac{\mathbb E[\epsilon \mid x_t]}{\sqrt{1 - \bar\alpha_t}}. \tag{4}$$
#
# <details><summary>Proof of (4)</summary>
#
# $q(x_t) = \int q(x_0)\, q(x_t \mid x_0)\, dx_0$, and $q(x_t \mid x_0)$ is the normal density of (2), whose gradient in $x_t$ is $-q(x_t \mid x_0)\, (x_t - \sqrt{\bar\alpha_t}\, x_0) / (1 - \bar\alpha_t) = -q(x_t \mid x_0)\, \epsilon / \sqrt{1 - \bar\alpha_t}$, with the $\epsilon$ that leads from $x_0$ to $x_t$. Differentiate under the integral and divide by $q(x_t)$; what multiplies $\epsilon$ is then $q(x_0)\, q(x_t \mid x_0) / q(x_t) = q(x_0 \mid x_t)$:
#
# $$\nabla \log q(x_t) = -\frac{1}{\sqrt{1 - \bar\alpha_t}} \int \epsilon\; q(x_0 \mid x_t)\, dx_0 = -\frac{\mathbb E[\epsilon \mid x_t]}{\sqrt{1 - \bar\alpha_t}} .$$
#
# </details>
#
# `mixtures` computes each of the three by its own formula. To be sure that they are not wrong together, the cell also gets the score by automatic differentiation of the log density, and the posterior mean by brute-force integration over $x_0$.

# %%
points = line[::4, None]  # (101, 1)
wide = torch.linspace(-5, 5, 1001, dtype=torch.float64)
off = {"(3)": 0.0, "(4)": 0.0, "automatic differentiation": 0.0, "integration": 0.0}
face_t = [int(share * num_train_timesteps) for share in (0.03, 0.1, 0.25)]
for index in face_t:
    a = alphas_cumprod[index]
    mean, score, noise = (f(points, a) for f in (world.posterior_mean, world.score, world.eps))
    identity_3 = a.sqrt() * mean + (1 - a).sqrt() * noise - points  # (3)
    identity_4 = score + noise / (1 - a).sqrt()  # (4)

    leaf = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(world.noised(a).log_prob(leaf).sum(), leaf)

    prior = world.log_prob(wide[:, None]).exp()  # (1001 of x0,)
    likelihood = torch.exp(-(points - a.sqrt() * wide).square() / (2 * (1 - a)))
    integral = (likelihood * prior) @ wide / (likelihood @ prior)
    found = (identity_3, identity_4, slope - score, integral - mean[:, 0])
    off = {name: max(off[name], d.abs().max().item()) for name, d in zip(off, found, strict=True)}
print({name: f"{value:.0e}" for name, value in off.items()})

# %%
faces = (
    (world.posterior_mean, r"clean point $\mathbb{E}[x_0|x_t]$", 1.7),
    (world.eps, r"noise $\mathbb{E}[\epsilon|x_t]$", 4.5),
    (world.score, r"score $\nabla \log q(x_t)$", 20),
)
with page.figure("01_one_thing", 1, 3, figsize=(8, 3)) as (fig, axes):
    for ax, (face, label, limit) in zip(axes, faces, strict=True):
        shown = {f"index {i}": face(line[:, None], alphas_cumprod[i]) for i in face_t}
        pu.style.curves(ax, line, shown)
        ax.set(xlabel="$x_t$", title=label, xlim=(-2, 2), ylim=(-limit, limit))
    axes[0].legend(handlelength=1.6)
    fig.suptitle("Clean point, noise and score determine each other", x=0.01, ha="left")
    fig.numbers(t=face_t, largest_difference=off)
    for name, value in off.items():
        fig.check(f"posterior mean, score and noise agree: {name}", value, at_most=1e-10)
    fig.alt("""Three panels over x_t at three noise levels. The clean point climbs in steps from
        bump to bump, smoother with more noise; noise and score are mirrored saw teeth.""")

# %% [markdown]
# All three bend at the same places: where $x_t$ could have come from two bumps, the best guess moves from one to the other. *Caption. The exact posterior mean, noise and score of the 1-D world at three noise levels.*
#
# ## The same in two dimensions
#
# Chapter 04 uses a toy in the plane: normal data on a ring of five blobs, sensitive data in two blobs. What the generator sees is the mixture $p_U$ of both, here with a tenth of sensitive points. The arrows in the next figure go from noisy points to the best guess at their clean ones.
#
# **Predict, then run.** At the highest noise level, do the arrows end on the blobs?

# %%
p_normal, p_sensitive = pu.mixtures.pu_toy()
p_unlabeled = pu.mixtures.pu_mixture(p_normal, p_sensitive, beta=0.1)
plane = p_unlabeled.sample(4000, pu.random_generator(seed, 2))  # (4000, 2)
eps = torch.randn(plane.shape, dtype=plane.dtype, generator=pu.random_generator(seed, 3))
levels = shown_t[1:4]
clouds, guesses, errors = [], [], []
for index in levels:
    x_t = pu.diffusion.add_noise(plane, eps, torch.full((len(plane),), index), alphas_cumprod)
    guess = p_unlabeled.posterior_mean(x_t, alphas_cumprod[index])
    rescaled = x_t / alphas_cumprod[index].sqrt()
    clouds.append(x_t)
    guesses.append(guess)
    errors.append([(g - plane).square().sum(1).mean() for g in (guess, rescaled)])
errors = torch.tensor(errors, dtype=torch.float64)  # (3 levels, 2)
ratios = errors[:, 1] / errors[:, 0]
middle = p_unlabeled.weights @ p_unlabeled.means  # (2,)
radii = torch.stack([(guess - middle).norm(dim=1).mean() for guess in guesses])
columns = {"squared error": errors[:, 0], "of x_t rescaled": errors[:, 1], "from the middle": radii}
pd.DataFrame(columns, index=pd.Index(levels, name="index")).round(2)

# %%
true_length = {"angles": "xy", "scale_units": "xy", "scale": 1}
square = {"sharex": True, "sharey": True, "subplot_kw": {"aspect": "equal"}}
with page.figure("01_two_dimensions", 1, 3, figsize=(8, 3.3), **square) as (fig, axes):
    for ax, index, x_t, guess in zip(axes, levels, clouds, guesses, strict=True):
        ax.plot(*plane[:400].T, ".", color=pu.GREY, markersize=2, alpha=0.6)
        arrows = (guess - x_t)[:60].T
        ax.quiver(*x_t[:60].T, *arrows, color=pu.BLUE, width=0.006, **true_length)
        ax.plot(*p_sensitive.means.T, "x", color=pu.SENSITIVE, ms=8, mew=2)
        ax.set(title=f"index {index}", xlabel="$x_1$", ylabel="$x_2$", xlim=(-3, 3), ylim=(-3, 3))
    fig.suptitle("More noise moves the best guess to the middle", x=0.01, ha="left")
    fig.numbers(t=levels, squared_error=errors, error_ratio=ratios)
    fig.numbers(mean_distance_from_the_middle=radii)
    best = "at each noise level the best guess beats undoing the scale"
    fig.check(best, ratios.min(), at_least=1.1)
    nearer = (radii[:-1] / radii[1:]).min()
    fig.check("the guess moves to the middle at each level", nearer, at_least=1.2)
    fig.alt("""Three panels: a ring of five grey blobs, crosses on two sensitive ones. Arrows from
        noisy points end on blobs, then between them, then near the middle of the ring.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. They end between the blobs, at an average of those that are still possible. An average of normal points can lie where only sensitive data live: the blob in the middle of the ring is exactly there.
#
# </details>
#
# *Caption. Grey: clean data. Crosses: the centres of the sensitive blobs. Arrows: from $x_t$ to $\mathbb E[x_0 \mid x_t]$ under $p_U$.*
#
# ## From a likelihood to the ELBO
#
# The model runs the other way. It starts at $p(x_T) = \mathcal N(0, I)$ and takes steps $p_\theta(x_{t-1} \mid x_t) = \mathcal N(\mu_\theta(x_t, t),\ \sigma_t^2 I)$. Its $\log p_\theta(x_0)$ is an integral over all paths. Jensen's inequality on that integral gives the ELBO (PUDM eq. 7):
#
# $$\log p_\theta(x_0) \ \ge\ \mathbb E_{q(x_{1:T} \mid x_0)}\!\left[\log \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\right] = \mathcal L(x_0). \tag{5}$$
#
# Write $q(x_{1:T} \mid x_0) = q(x_T \mid x_0) \prod_{t \ge 2} q(x_{t-1} \mid x_t, x_0)$, which is Bayes' rule at each step, and match factors with the model's:
#
# $$-\mathcal L = \underbrace{\mathrm{KL}\big(q(x_T | x_0)\,\|\,p(x_T)\big)}_{L_T,\ \text{prior}} + \sum_{t=2}^{T} \underbrace{\mathbb E_q\, \mathrm{KL}\big(q(x_{t-1} | x_t, x_0)\,\|\,p_\theta(x_{t-1} | x_t)\big)}_{L_{t-1}} \underbrace{- \mathbb E_q \log p_\theta(x_0 | x_1)}_{L_0,\ \text{reconstruction}}. \tag{6}$$
#
# <details><summary>Proof of (6)</summary>
#
# For $t \ge 2$ the chain does not care about $x_0$ once $x_{t-1}$ is known, so Bayes' rule reads $q(x_t \mid x_{t-1}) = q(x_{t-1} \mid x_t, x_0)\, q(x_t \mid x_0) / q(x_{t-1} \mid x_0)$. Multiply over $t = 2, \ldots, T$: each $q(x_t \mid x_0)$ stands above once and below once, and only the last and the first are left, $q(x_T \mid x_0) / q(x_1 \mid x_0)$. The first cancels against $q(x_1 \mid x_0)$, which is the factor of $t = 1$. So
#
# $$\log \frac{q(x_{1:T} \mid x_0)}{p_\theta(x_{0:T})} = \log \frac{q(x_T \mid x_0)}{p(x_T)} + \sum_{t=2}^{T} \log \frac{q(x_{t-1} \mid x_t, x_0)}{p_\theta(x_{t-1} \mid x_t)} - \log p_\theta(x_0 \mid x_1) .$$
#
# Take the mean over $q(x_{1:T} \mid x_0)$. In each summand average over its first variable with the others given: that is a KL.
#
# </details>
#
# Both sides of each KL are Gaussian. The forward one has the mean and variance
#
# $$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\, x_0 + \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t, \qquad \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t, \tag{7}$$
#
# <details><summary>Proof of (7)</summary>
#
# $q(x_{t-1} \mid x_t, x_0) \propto q(x_t \mid x_{t-1})\, q(x_{t-1} \mid x_0)$, two normal densities, so minus twice the logarithm is, as a function of $x_{t-1}$ and up to a constant,
#
# $$\frac{\lVert x_t - \sqrt{\alpha_t}\, x_{t-1} \rVert^2}{\beta_t} + \frac{\lVert x_{t-1} - \sqrt{\bar\alpha_{t-1}}\, x_0 \rVert^2}{1 - \bar\alpha_{t-1}} .$$
#
# The factor of $\lVert x_{t-1} \rVert^2$ is $\alpha_t / \beta_t + 1/(1 - \bar\alpha_{t-1}) = (\alpha_t - \bar\alpha_t + \beta_t) / (\beta_t (1 - \bar\alpha_{t-1})) = (1 - \bar\alpha_t) / (\beta_t (1 - \bar\alpha_{t-1}))$, as $\alpha_t \bar\alpha_{t-1} = \bar\alpha_t$ and $\alpha_t + \beta_t = 1$: its inverse is $\tilde\beta_t$. Complete the square: the mean is $\tilde\beta_t \big( \sqrt{\alpha_t}\, x_t / \beta_t + \sqrt{\bar\alpha_{t-1}}\, x_0 / (1 - \bar\alpha_{t-1}) \big)$, which is $\tilde\mu_t$.
#
# </details>
#
# and the model puts its guess of $x_0$, made from $\hat\epsilon$ by (2), in place of $x_0$: $\ \mu_\theta = \big(x_t - \beta_t\, \hat\epsilon / \sqrt{1 - \bar\alpha_t}\big) / \sqrt{\alpha_t}$. So
#
# $$L_{t-1} = \tfrac{D}{2}\Big(\tfrac{\tilde\beta_t}{\sigma_t^2} - 1 - \log \tfrac{\tilde\beta_t}{\sigma_t^2}\Big) + \frac{1}{2\sigma_t^2}\, \mathbb E\, \lVert \tilde\mu_t - \mu_\theta \rVert^2. \tag{8}$$
#
# <details><summary>Proof of (8)</summary>
#
# For one coordinate, $\mathrm{KL}\big(\mathcal N(m_1, v_1)\,\|\,\mathcal N(m_2, v_2)\big)$ is the mean under the first of $\tfrac12 \log \tfrac{v_2}{v_1} - \tfrac{(x - m_1)^2}{2 v_1} + \tfrac{(x - m_2)^2}{2 v_2}$. The second term has the mean $-\tfrac12$; in the third, $\mathbb E (x - m_2)^2 = v_1 + (m_1 - m_2)^2$. Together $\tfrac12 \big( \tfrac{v_1}{v_2} - 1 - \log \tfrac{v_1}{v_2} \big) + \tfrac{(m_1 - m_2)^2}{2 v_2}$; add $D$ of them.
#
# </details>
#
# The model of this chapter has the exact $\hat\epsilon = \mathbb E[\epsilon \mid x_t]$ and nothing learned. In 1-D the expectation over $x_t$ is a one-dimensional integral, done by quadrature. To compare different $T$, all schedules are cuts of one continuous one, $\bar\alpha(s) = \exp(-\int_0^s b(u)\, du)$ with $b(u) = 0.1 + 19.9\, u$; cut in 1,000 steps it is all but DDPM's.

# %%
places = {"on a bump": 0.2, "in a valley": -0.5, "on a slope": 1.5}
x_places = torch.tensor(list(places.values()), dtype=torch.float64)[:, None]  # (3, 1)
eps, weights = pu.elbo.normal_quadrature(eps_nodes)
options = {"eps": eps, "weights": weights, "variance": variance}
exact, terms, schedules = {}, {}, {}
for T in step_counts:
    schedules[T] = pu.diffusion.vp_alphas_cumprod(T)
    exact[T] = pu.mixtures.ExactDenoiser(world, schedules[T])
    terms[T] = pu.elbo.elbo_terms(exact[T], x_places, schedules[T], **options)  # (6), (8)

log_q, tables = world.log_prob(x_places), {}
for T, of in terms.items():  # ELBO = -(prior + KL terms + reconstruction)
    parts = {"prior": of.prior, "KL terms": of.kl.sum(0), "reconstruction": of.reconstruction}
    tables[T] = pd.DataFrame({"log q": log_q, "ELBO": of.elbo} | parts, index=list(places))
pd.concat(tables, names=["T", "place"]).round(5)

# %% [markdown]
# The prior term is next to nothing. With many steps the reconstruction term is *negative*: the last step has little noise left, so $p_\theta(x_0 \mid x_1)$ is a density far above 1. The KL terms pay for it.
#
# **Predict, then run.** Which steps cost the most: those near the data, those near pure noise, or those in between?

# %%
T = step_counts[-1]
steps, kl = range(2, T + 1), dict(zip(places, terms[T].kl.T, strict=True))
so_far = {place: 100 * part.cumsum(0) / part.sum() for place, part in kl.items()}
half_cost = torch.tensor([int((part < 50).sum()) for part in so_far.values()]) / T
log_steps = {"subplot_kw": {"xscale": "log", "xlabel": "step $t$"}}
with page.figure("01_elbo_terms", 1, 2, figsize=(8, 3.4), **log_steps) as (fig, axes):
    pu.style.curves(axes[0], steps, kl, loc="best")
    pu.style.curves(axes[1], steps, so_far)
    axes[0].set(ylabel="KL term (nats)", yscale="log", title="One KL term a step ...")
    axes[1].set(ylabel="share of their sum (%)", title="... and half of their sum comes early")
    axes[1].axhline(50, color=pu.GREY, linewidth=0.8)
    fig.numbers(T=T, x0=places, half_of_the_kl_at_share_of_T=half_cost, elbo=terms[T].elbo)
    early = "half of the KL cost falls in the first tenth of the schedule"
    fig.check(early, half_cost.max(), at_most=0.1)
    fig.alt("""Left: the KL terms of three points on logarithmic axes fall by orders of magnitude
        over the steps. Right: their running sums pass half within the first tenth.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Those near the data: half of the cost falls in the first tenth. At the noisy end the guess of $x_0$ is poor, but a step there hardly depends on it.
#
# </details>
#
# *Caption. The terms $L_{t-1}$ of (8) for the largest $T$ at three points of the 1-D world.*
#
# ## Is it the ELBO? Ask the definition
#
# The terms came out of a page of algebra. Equation (5) needs none: walk forward by (1), add up $\log p_\theta(x_{0:T}) - \log q(x_{1:T} \mid x_0)$ from plain normal densities, and average over paths. If algebra or code were wrong anywhere, the two numbers would part. With nine comparisons, four standard errors is a fair limit: by chance it is passed once in some 1,750 runs.

# %%
tables = {}
for T in step_counts:
    walk = {"variance": variance, "generator": pu.random_generator(seed, 4, T)}
    draws = pu.elbo.elbo_monte_carlo(
        exact[T], x_places, schedules[T], paths=num_paths, **walk
    )  # (5)
    columns = {"by terms": terms[T].elbo, "by paths": draws.mean(0)}  # draws: (num_paths, 3)
    columns["standard error"] = draws.std(0) / np.sqrt(num_paths)
    tables[T] = pd.DataFrame(columns, index=list(places))
compared = pd.concat(tables, names=["T", "place"])
off_by = (compared["by paths"] - compared["by terms"]) / compared["standard error"]
compared.assign(off_by=off_by).round(4)

# %% [markdown]
# ## How far below the truth?
#
# The ELBO bounds $\log p_\theta$, the *model's* density. That is not the density of the data, even with the perfect denoiser: the true reverse step $q(x_{t-1} \mid x_t)$ is a mixture of Gaussians, the model's step a single one with a variance fixed beforehand. What can be said against the data's density is said on average. Take $x_0$ from the data and write out both logarithms:
#
# $$\mathbb E_{x_0}\big[\log q(x_0) - \mathcal L(x_0)\big] = \mathrm{KL}\big(q(x_{0:T})\,\|\,p_\theta(x_{0:T})\big) = \underbrace{\mathrm{KL}\big(q(x_0)\,\|\,p_\theta(x_0)\big)}_{\text{wrong density}} + \underbrace{\mathbb E_{x_0} \mathrm{KL}\big(q(x_{1:T} | x_0)\,\|\,p_\theta(x_{1:T} | x_0)\big)}_{\text{slack of Jensen}} \ge 0. \tag{9}$$
#
# The gap is computed twice. By quadrature over $x_0$ too, with half of the nodes as a measure of its error; and by Monte Carlo with $x_0$ drawn from the data, with a 95 % interval.


# %%
def average_gap(T, variance, nodes=x0_nodes):
    """E[log q(x0) - ELBO(x0)] by quadrature over x0 and eps, (9)."""
    x = torch.linspace(-3, 3, nodes, dtype=torch.float64)
    log_q = world.log_prob(x[:, None])
    eps, weights = pu.elbo.normal_quadrature(eps_nodes if nodes == x0_nodes else eps_nodes // 2 + 1)
    options = {"eps": eps, "weights": weights, "variance": variance}
    bound = pu.elbo.elbo_terms(exact[T], x[:, None], schedules[T], **options).elbo
    return ((log_q - bound) * log_q.exp()).sum().item() * (6 / (nodes - 1))  # (9)


gaps = {v: np.array([average_gap(T, v) for T in step_counts]) for v in ("beta", "posterior")}
table = pd.DataFrame({"gap by quadrature": gaps[variance]}, pd.Index(step_counts, name="T"))
halved = [average_gap(T, variance, nodes=x0_nodes // 2 + 1) for T in step_counts]
table["its error"] = abs(table["gap by quadrature"] - halved)
for T in step_counts:
    generator = pu.random_generator(seed, 5, T)
    x = world.sample(2 * num_paths, generator)
    walk = {"paths": 1, "variance": variance, "generator": generator}
    draws = world.log_prob(x) - pu.elbo.elbo_monte_carlo(exact[T], x, schedules[T], **walk)[0]
    half_width = 1.96 * draws.std() / np.sqrt(len(x))
    table.loc[T, ["gap by paths", "± 95 %"]] = draws.mean().item(), half_width.item()
table.map("{:.3g}".format)

# %% [markdown]
# In 1-D even $p_\theta(x_0)$ itself can be had: push the density $\mathcal N(0, 1)$ through the $T$ reverse steps on a grid. The library does so in `elbo.model_density_on_grid`, about fifteen lines. Then (9) can be split into its two parts.
#
# **Predict, then run.** With $T$ ten times as large, how much smaller is the gap: ten times, three times ($\sqrt{10}$), or hardly at all?

# %%
grid = torch.linspace(-6, 6, 601, dtype=torch.float64)
log_q = world.log_prob(grid[:, None])
coarse, log_model, wrong_density = step_counts[:2], {}, []
for T in coarse:
    density = pu.elbo.model_density_on_grid(exact[T], grid, schedules[T], variance=variance)
    log_model[T] = density.log()
    wrong_density.append(((log_q - log_model[T]) * log_q.exp()).sum().item() * 0.02)  # (9)
gap, error, by_paths, width = table.to_numpy().T
for T, part, whole in zip(coarse, wrong_density, gap, strict=False):
    print(
        f"T={T:4d}: gap {whole:.4f} = wrong density {part:.4f} + slack of Jensen {whole - part:.4f}"
    )
falls = {name: g[:-1] / g[1:] for name, g in gaps.items()}
for name, factors in falls.items():
    print(f"variance {name}: one T to the next divides the gap by", [f"{f:.1f}" for f in factors])
lowest = (gap - error).min()
apart = (abs(by_paths - gap) / (width / 1.96)).max()  # in standard errors
share = (wrong_density / gap[:2]).max()
inverse = gaps["beta"][-1] * step_counts[-1] / np.array(step_counts)

# %%
labels = (r"$\sigma_t^2 = \beta_t$", r"$\sigma_t^2 = \tilde\beta_t$", "slope of $1/T$")
fall = dict(zip(labels, (*gaps.values(), inverse), strict=True))
blur = {"data": log_q.exp()} | {f"$T = {T}$": log_model[T].exp() for T in coarse}
left, right = (pu.BLUE, pu.ORANGE, pu.GREY), (pu.BLACK, pu.ORANGE, pu.GREEN)
with page.figure("01_gap_falls", 1, 2, figsize=(8, 3.5)) as (fig, axes):
    pu.style.curves(axes[0], step_counts, fall, left, ("o-", "s-", ":"), loc="lower left")
    pu.style.curves(axes[1], grid, blur, right, loc="upper center", ncols=3)
    axes[0].set(xlabel="steps $T$", ylabel="average gap (nats)", xscale="log", yscale="log")
    axes[1].set(xlim=(-2.2, 2.2), ylim=(0, 1.1), xlabel="$x_0$", ylabel="density")
    pu.style.titles(axes, r"The gap closes if $\sigma_t^2 = \beta_t$", "Few steps blur the density")
    fig.numbers(step_counts=step_counts, gap=gaps, quadrature_error=error)
    fig.numbers(gap_by_paths=by_paths, half_width_95=width, wrong_density=wrong_density)
    fig.check("the average gap is >= 0 for every T (less its quadrature error)", lowest, at_least=0)
    fig.check("the gap at least halves from one T to the next", min(falls["beta"]), at_least=2)
    fig.check("quadrature and paths give one gap, in standard errors", apart, at_most=4)
    fig.check("KL(data || model) is at most the gap, (9)", share, at_most=1)
    fig.alt("""Left: the average gap falls about as one over T with variance beta, hardly with the
        posterior's. Right: ten steps blur the data's three bumps, a hundred nearly match.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Towards ten times as $T$ grows, if $\sigma_t^2 = \beta_t$ (the factors are printed above); by much less if $\sigma_t^2 = \tilde\beta_t$, the smaller variance which `diffusers` calls `fixed_small` and has as its default: that gap does not go to zero. In the first steps the noise is much smaller than the data's own width, and then the true reverse step has variance $\beta_t$. Taking $\tilde\beta_t \approx \beta_t (t-1)/t$ there costs $\tfrac12 \big(\tfrac{1}{t-1} - \log\tfrac{t}{t-1}\big)$ nats at step $t$ and coordinate. Summed over $t$ this tends to half of Euler's constant, 0.289, from above as $T$ grows; the schedule of $T = 1000$ here loses about 0.45 (exercise 3). Ho et al. saw no difference in their samples; in the likelihood there is one.
#
# </details>
#
# *Caption. Left: average of $\log q(x_0) - \mathcal L(x_0)$ over the data, by quadrature. Right: the data's density and the exact marginal of the model with the perfect denoiser.*
#
# ## One point is not the average
#
# **Predict, then run.** The gap (9) is never negative on average. Can $\mathcal L(x_0)$ lie *above* the data's $\log q(x_0)$ at a single $x_0$?

# %%
T = step_counts[0]
window = grid[inside := grid.abs() <= 2.0]
bound = pu.elbo.elbo_terms(exact[T], window[:, None], schedules[T], **options).elbo
data, model = log_q[inside] - bound, log_model[T][inside] - bound
low_data, low_model = data.min(), model.min()
shown = {r"data: $\log q - \mathcal{L}$": data, r"model: $\log p_\theta - \mathcal{L}$": model}
title = f"The bound holds for the model everywhere, for the data only on average ($T = {T}$)"
never = "the ELBO is nowhere above the model's log density"
with page.figure("01_gap_at_a_point", figsize=(8, 3.2)) as (fig, ax):
    ax.axhline(0, color=pu.GREY, linewidth=1)
    pu.style.curves(ax, window, shown, (pu.VERMILLION, pu.BLUE), loc="upper center", ncols=2)
    ax.set(xlabel="$x_0$", ylabel="gap (nats)", ylim=(-3, 3.5), title=title)
    fig.numbers(T=T, lowest_against_data=low_data, lowest_against_model=low_model)
    fig.check("sum of terms = Monte Carlo, in standard errors", abs(off_by).max(), at_most=4)
    fig.check(never, low_model, at_least=-1e-6)
    fig.check("at some point it is above the data's log density", low_data, at_most=-0.1)
    fig.alt("""Two curves over x_0. The model's log density minus the ELBO stays above zero; the
        data's is positive on the bumps and drops below zero in the valleys and tails.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Yes. In the valleys and the tails the model has more density than the data, so $\log p_\theta(x_0)$, and the ELBO under it, may exceed $\log q(x_0)$. Against the model's own density the bound never fails. A high ELBO at one $x_0$ therefore says "the model likes this point", not "the data do". Keep this in mind in chapter 03, which turns such numbers into class probabilities.
#
# </details>
#
# *Caption. Pointwise gaps for the smallest $T$, with the exact denoiser.*
#
# ## From the ELBO to the loss that is trained
#
# Put (2) into (7) and subtract. The means differ only through the noise, so (8) becomes
#
# $$L_{t-1} = w_t\, \mathbb E\, \lVert \epsilon - \hat\epsilon(x_t, t) \rVert^2 + \text{constant}, \qquad w_t = \frac{\beta_t^2}{2 \sigma_t^2\, \alpha_t\, (1 - \bar\alpha_t)}. \tag{10}$$
#
# <details><summary>Proof of (10)</summary>
#
# Put $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$ into $\tilde\mu_t$. With $\sqrt{\bar\alpha_{t-1} / \bar\alpha_t} = 1 / \sqrt{\alpha_t}$, the factor of $x_t$ becomes $\big( \beta_t + \alpha_t (1 - \bar\alpha_{t-1}) \big) / \big( \sqrt{\alpha_t}\, (1 - \bar\alpha_t) \big) = 1 / \sqrt{\alpha_t}$, and that of $\epsilon$ is $-\beta_t / \sqrt{\alpha_t (1 - \bar\alpha_t)}$. $\mu_\theta$ is the same with $\hat\epsilon$ for $\epsilon$. So $\tilde\mu_t - \mu_\theta = \beta_t\, (\hat\epsilon - \epsilon) / \sqrt{\alpha_t (1 - \bar\alpha_t)}$; square it and divide by $2 \sigma_t^2$.
#
# </details>
#
# The simplified loss (PUDM eq. 8) puts 1 in the place of every $w_t$ and draws $t$ uniformly:
#
# $$\ell(x_0) = \mathbb E_{t, \epsilon}\, \lVert \epsilon - \hat\epsilon(x_t, t) \rVert^2. \tag{11}$$
#
# The cell computes $\mathbb E \lVert \epsilon - \hat\epsilon \rVert^2$ at each step, multiplies by $w_t$ and compares with the terms from before, constants removed.
#
# **Predict, then run.** A picture's fine strokes are decided at small $t$, its coarse shape at large $t$. Which of the two does the simplified loss favour, compared with the ELBO?

# %%
T = step_counts[-1]
w = pu.elbo.eps_loss_weights(schedules[T], variance)  # (T,)
a = schedules[T][:, None]  # (T, 1)
ell = torch.zeros(T, len(places), dtype=torch.float64)  # one value a step and place
for i, x in enumerate(x_places[:, 0]):
    x_t = a.sqrt() * x + (1 - a).sqrt() * eps.T  # (2), (T, M) with M nodes
    eps_hat = world.eps(x_t.reshape(-1, 1), a.expand_as(x_t).reshape(-1)).reshape(x_t.shape)
    ell[:, i] = (eps.T - eps_hat).square() @ weights  # (11) without its mean over t
tilde = pu.diffusion.posterior_variances(schedules[T])[1:]
ratio = tilde / pu.diffusion.reverse_variances(schedules[T], variance)[1:]
constants = 0.5 * (ratio - 1 - ratio.log())[:, None]
w_off = (w[1:, None] * ell[1:] + constants - terms[T].kl).abs().max()  # (10)
spread = w.max() / w.min()
print(f"largest difference between (8) and (10): {w_off:.0e}")
print(f"largest w / smallest w: {spread:.0f}")

shares = {"ELBO": (w[:, None] * ell).sum(1), "simplified": ell.sum(1)}
shares = {name: 100 * (part / part.sum()).cumsum(0) for name, part in shares.items()}
tenth = {name.lower(): share[T // 10].item() / 100 for name, share in shares.items()}

# %%
steps, weights_of = range(1, T + 1), {"ELBO": w, "simplified": w.mean().expand(T)}
smaller = "the simplified loss gives the first tenth of the steps a smaller share"
with page.figure("01_dropped_weights", 1, 2, figsize=(8, 3.4)) as (fig, axes):
    pu.style.curves(axes[0], steps, weights_of, loc="best")
    pu.style.curves(axes[1], steps, shares, loc="best")
    pu.style.titles(axes, "The loss drops steep weights ...", "... and weighs early steps less")
    axes[0].set(xlabel="step $t$", ylabel="weight $w_t$", xscale="log", yscale="log")
    axes[1].set(xlabel="step $t$", ylabel="share of the error so far (%)")
    fig.numbers(T=T, largest_over_smallest=spread, share_of_first_tenth=tenth, difference=w_off)
    fig.check("the weighted errors and constants are the KL terms, (10)", w_off, at_most=1e-9)
    fig.check("the dropped weights span a factor of ten or more", spread, at_least=10)
    fig.check(smaller, tenth["elbo"] - tenth["simplified"], at_least=0.05)
    fig.alt(f"""Left: over the steps the ELBO's weight falls by a factor of {spread:.0f}, the loss's
        is constant. Right: the ELBO collects most of the error early, the loss later.""")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The coarse shape. The ELBO spends most of its weight on the first steps, on detail that the eye hardly sees; equal weights move attention to larger noise. Ho et al. found the samples better for it. But $\ell$ is then no longer minus the ELBO up to a factor: of two points, the one with the smaller $\ell$ need not be the one with the larger ELBO.
#
# </details>
#
# *Caption. Left: $w_t$ of (10) and the constant of the simplified loss, drawn at the mean of $w_t$. Right: what share of the exact denoiser's error, summed over the three points, each loss has collected so far.*
#
# ## The check
#
# Every claim of this chapter with the number that was measured and its bound. All are checks: mathematics, or a bound set after its number was seen.

# %%
page.verdict()

# %% [markdown]
# ## What could go wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | With fewer steps the ELBO is far too low, and samples look washed out | `linear_betas(100)` keeps the $\beta_t$ of the 1,000-step schedule: a third of the signal is still there at the end, while the model starts from pure noise | raise $\beta_t$ as $T$ falls, as `process.vp_alphas_cumprod` does, or keep $T$ and sample with a stride |
# | The reverse formula returns a picture that is slightly too faint or too strong | step $t$ of a paper used as index $t$: one off | decide once what $t$ counts; index `t - 1` is step $t$ |
# | Terms of the first steps differ in the third digit between two correct programs | $1 - \bar\alpha_1 = 10^{-4}$, a difference of two numbers near 1, has about three correct digits in float32 | schedules in float64, cast where they meet the data |
#
# The first of the three, on purpose:

# %%
too_short = pu.diffusion.alphas_cumprod_of(pu.diffusion.linear_betas(100))
model = pu.mixtures.ExactDenoiser(world, too_short)
prior = pu.elbo.elbo_terms(model, x_places, too_short, **options).prior.max()
left = f"prior term up to {prior:.2f} nats: alpha_bar_T = {too_short[-1]:.2f}, so x_T is not noise"
try:
    assert prior < 0.01, left
except AssertionError as error:
    print("caught:", error)

# %% [markdown]
# ## Limits
#
# - The denoiser here is exact. A trained network adds its own error to every KL term, and no formula says how much.
# - The ELBO speaks of the model's likelihood, not of how samples look. Raising it for some data and lowering it for others, which the PU method does from chapter 03 on, shifts a bound and not a probability.
# - PUDM writes that $-\mathcal L$ is *proportional* to $\ell$. With the weights of (10) it is not; what is true is that each weighted term falls if and only if its own error falls.
# - $L_0$ here is a Gaussian density. Ho et al. use a discretised one for pixels of 256 values, which makes the ELBO a bound on a probability and not on a density: numbers of the two kinds do not compare.
# - One dimension flatters. The loss with $\sigma_t^2 = \tilde\beta_t$, about 0.45 nats at $T = 1000$, is one for each coordinate that is wide against the first steps' noise: up to $0.45 \cdot 3072 \approx 1{,}390$ nats for a 32×32 colour picture.
#
# ## Exercises
#
# **1. A worse denoiser (easy).** Replace the exact denoiser by the best one for a *single* Gaussian with the same mean and variance as `world`. How many nats of ELBO does it lose on average over the data? Does it lose at each of the three `places` too?
#
# *Hint.* `mixtures.GaussianMixture` with one component is such a model; the law of total variance gives its variance.
#
# <details><summary>Solution</summary>
#
# ```python
# mean = (world.weights[:, None] * world.means).sum(0)
# spread_of_means = (world.means - mean).square()
# total_variance = (world.weights[:, None] * (world.variances + spread_of_means)).sum(0)
# T = step_counts[1]
# blurred = pu.mixtures.GaussianMixture([1.0], mean[None], total_variance[None])
# models = (exact[T], pu.mixtures.ExactDenoiser(blurred, schedules[T]))
# data = world.sample(500, pu.random_generator(seed, 8))
# for name, x in (("data", data), ("places", x_places)):
#     best, worse = (
#         pu.elbo.elbo_terms(m, x, schedules[T], **options).elbo
#         for m in models
#     )
#     lost = best - worse
#     print(f"{name}: lost {lost.mean():.3f}, least {lost.min():.3f}")
# ```
#
# On average over the data the exact denoiser cannot lose, because the posterior mean minimises each term of (8). At the two unlikely places it does lose: the blurred model has more density there.
#
# </details>
#
# **2. One draw of the training loss (easy).** Write $\ell$ of equation (11) for 1,000 points of `world` with a random index for each, using `diffusion.denoising_error`. Is its mean the mean over $t$ of the error at each step?
#
# *Hint.* `ExactDenoiser` takes a tensor of indices, one for each point.
#
# <details><summary>Solution</summary>
#
# ```python
# generator = pu.random_generator(seed, 6)
# x = world.sample(1000, generator)
# t = torch.randint(num_train_timesteps, (1000,), generator=generator)
# eps = torch.randn(x.shape, dtype=x.dtype, generator=generator)
# x_t = pu.diffusion.add_noise(x, eps, t, alphas_cumprod)
# eps_hat = pu.mixtures.ExactDenoiser(world, alphas_cumprod)(x_t, t).sample
# draws = pu.diffusion.denoising_error(eps, eps_hat)
# print(f"{draws.mean():.3f} ± {1.96 * draws.std() / 1000**0.5:.3f}")
# ```
#
# </details>
#
# **3. Where the small variance loses (medium).** Let the computer add up $\sum_t \tfrac12 \big(\tfrac1{t} - \log\tfrac{t+1}{t}\big)$ over $t = 1, 2, \ldots$: does it tend to half of Euler's constant? Then sum the loss of taking $\tilde\beta_t$ for $\beta_t$ over the steps of the largest schedule, and compare with its gap.
#
# *Hint.* If the true step has variance $\beta_t$ and the model takes $\tilde\beta_t$, the KL between them is $\tfrac12 (r - 1 - \log r)$ with $r = \beta_t / \tilde\beta_t$.
#
# <details><summary>Solution</summary>
#
# ```python
# steps = torch.arange(1, 100_001, dtype=torch.float64)
# series = 0.5 * (1 / steps - torch.log1p(1 / steps)).sum().item()
# T = step_counts[-1]
# r = pu.diffusion.step_betas(schedules[T])[1:] / pu.diffusion.posterior_variances(schedules[T])[1:]
# this_schedule = 0.5 * (r - 1 - r.log()).sum().item()
# print(f"series {series:.4f}, half of Euler's constant 0.2886")
# print(f"this schedule {this_schedule:.3f}, measured {gaps['posterior'][-1]:.3f}")
# assert abs(series - 0.5772156649 / 2) < 1e-4
# ```
#
# The schedule's sum lies above the limit because its $\beta_t$ rise; it comes down slowly as $T$ grows.
#
# </details>
#
# **4. Walk back (hard).** Sample from the model: start at $\mathcal N(0, 1)$ and take the reverse steps with `process.reverse_mean` and `process.reverse_variances`, without noise in the last step. Compare the share of samples below $-0.5$ with the data's for the first two of `step_counts`.
#
# *Hint.* Run the indices downwards; the share of the data is an integral of `world`'s density.
#
# <details><summary>Solution</summary>
#
# ```python
# for T in step_counts[:2]:
#     generator = pu.random_generator(seed, 7, T)
#     x = torch.randn(4000, 1, dtype=torch.float64, generator=generator)
#     for t in reversed(range(T)):
#         x = pu.diffusion.reverse_mean(x, exact[T](x, t).sample, t, schedules[T])
#         if t > 0:
#             sigma = pu.diffusion.reverse_variances(schedules[T], variance)[t].sqrt()
#             x = x + sigma * torch.randn(x.shape, dtype=x.dtype, generator=generator)
#     print(T, f"model {(x < -0.5).double().mean():.3f}")
# below = log_q[grid < -0.5].exp().sum() * (grid[1] - grid[0])
# print(f"data {below:.3f}")
# ```
#
# </details>
#
# ## What we learnt
#
# - Noising has a closed form, so any step can be drawn in one jump.
# - Posterior mean, noise and score determine each other; a network that predicts the noise knows all three.
# - The ELBO is a prior term, a KL for each step and a reconstruction term. Our code's sum of terms is the ELBO: it agrees with the definition within Monte Carlo error, lies nowhere above the model's exact log density, and closes on the data's as $T$ grows if $\sigma_t^2 = \beta_t$.
# - The training loss $\ell$ is the ELBO's sum of errors with its weights dropped.
#
# **Next.** Chapter 02 trains a network to predict the noise, because for pictures nobody has the formula, and counts how often the result makes what nobody wanted.
#
# ## References
#
# - Ho, Jain, Abbeel (2020), *Denoising diffusion probabilistic models*. Equations (5) to (14) there are this chapter; read it for the experiments on the weights.
# - Sohl-Dickstein et al. (2015), *Deep unsupervised learning using nonequilibrium thermodynamics*. Where the bound was first derived.
# - Takahashi et al. (2025), *Positive-unlabeled diffusion models for preventing sensitive data generation* (PUDM). Section 2 is the notation of this book.
# - Song et al. (2021), *Score-based generative modeling through stochastic differential equations*. The continuous schedule, and what $T \to \infty$ means.
# - Nichol, Dhariwal (2021), *Improved denoising diffusion probabilistic models*. Learns $\sigma_t^2$ between the two choices compared here.
# - Efron (2011), *Tweedie's formula and selection bias*. Equation (4) long before diffusion models.
