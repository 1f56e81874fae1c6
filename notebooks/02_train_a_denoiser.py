# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Train a denoiser
#
# **The question:** what does a diffusion model trained on everything draw, and how often is it what nobody wanted?
#
# | | |
# |---|---|
# | **You will do** | write the training loop in full, take DDPM and DDIM steps by hand, draw 2,000 digits and have them judged |
# | **You will learn** | what one training step is; what the two samplers share and where they part; why an unlabeled set with odd digits in it gives odd digits; what augmentation does to a generator |
# | **You need** | chapter 01; Python with PyTorch; no GPU, no download |
# | **Time** | `ci` seconds · `laptop` 1-2 minutes on two cores (seconds when chapter 05 has run) · `gpu` a few minutes on one GPU · `paper` hours on one GPU |

# %%
import torch

import pudm_lib as pu
from pudm_lib.data import pixel_features
from pudm_lib.diffusion import add_noise, denoising_error
from pudm_lib.measures import frechet_distance

# %% tags=["parameters"]
preset = "laptop"  # ci, laptop, gpu or paper
dataset = "digits"  # digits, mnist, cifar10, stl10, celeba, a folder or an .npz file
normal = "even"  # even, odd, vehicles, animals, or class names with commas
seed = 0  # of the split, the weights and all noise
loop_steps = 150  # steps of the training loop written out in this chapter

# %% [markdown]
# ## The world of this book
#
# The model sees a set **U** of unlabeled images. Most of them are *normal*, here the even digits. Some are *sensitive*, here the odd ones; nobody has said which. They stand in for whatever a model must not draw: a person's face, a protected character, violence. This book never shows such a thing. Odd digits are enough to see every effect and cannot hurt anyone.
#
# A second, small set **S** of labelled sensitive images exists as well. The unsupervised model of this chapter does not look at it; chapters 03 to 05 do.

# %%
page = pu.Page("02_train_a_denoiser", globals())
settings = {"dataset": dataset, "normal": normal, "method": "unsupervised", "seed": seed}
plain_experiment = pu.experiment(preset, **settings)
split = pu.make_split(plain_experiment.data, seed)
loop_steps = 10 if preset == "ci" else loop_steps
print(page)
print(
    f"U={len(split.x_unlabeled)} images, {split.sensitive_share:.1%} of them sensitive; "
    f"S={len(split.x_sensitive)}; {plain_experiment.training.steps} steps, "
    f"{plain_experiment.sampling.num_samples} samples"
)

# %%
with page.figure("02_split", 1, 2, figsize=(8.5, 2.9)) as (fig, axes):
    hidden, indices = split.hidden_labels[:50], split.indices["unlabeled"][:50]
    pu.style.image_sheet(axes[0], split.x_unlabeled[:50], columns=10, marked=hidden)
    axes[0].set_title("U: unlabeled (the frames are for you)")
    pu.style.image_sheet(axes[1], split.x_sensitive[:50], columns=10)
    axes[1].set_title("S: labelled sensitive")
    fig.numbers(indices_unlabeled=indices, sensitive_share=split.sensitive_share)
    fig.alt(f"""Two sheets of fifty small images each. Left: unlabeled {dataset} images, mostly
        normal ({normal}), {int(hidden.sum())} of the fifty framed as sensitive. Right: the
        labelled sensitive images.""")

# %% [markdown]
# *Caption. Fifty images of U and of S in the order of the split.*
#
# The frames on the left are drawn from the hidden labels, which exist for the judge and for your eyes. No training method in this book takes them.
#
# ## One training step
#
# Chapter 01 ended with the simplified loss: pick an image $x_0$, a noise level $t$ and noise $\epsilon$, and ask the network for the noise back.
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon \qquad (1)$$
#
# $$\ell(x_0) = \mathbb{E}_{t,\epsilon}\,\lVert \epsilon - \epsilon_\theta(x_t, t)\rVert^2 \qquad (2)$$
#
# | symbol | in code | what it is |
# |---|---|---|
# | $x_0$ | `x0` | clean images in $[-1, 1]$, shape (B, C, H, W) |
# | $t$ | `t` | noise level, an integer from 0 to $T-1$ |
# | $\epsilon$ | `eps` | standard normal noise, the shape of `x0` |
# | $\bar\alpha_t$ | `alphas_cumprod[t]` | share of the signal's variance that is left at $t$ |
# | $\epsilon_\theta$ | `model(x_t, t).sample` | the network's guess of the noise |
# | $\ell$ | `ell` | denoising error of each image, shape (B,), here one draw of $(t, \epsilon)$ |
#
# The whole of training is the cell below. Nothing is hidden in it: no trainer, no wrapper. The network is small here so that you can watch it learn at once.

# %%
torch.set_num_threads(1)
torch.manual_seed(seed)
channels, resolution = split.x_unlabeled.shape[1:3]
model = pu.networks.make_unet("tiny", resolution=resolution, channels=channels)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
alphas_cumprod = pu.diffusion.alphas_cumprod_of(pu.diffusion.linear_betas(1000))
generator = pu.random_generator(seed)
losses = []

# %%
for _ in range(loop_steps):
    chosen = torch.randint(len(split.x_unlabeled), (32,), generator=generator)
    x0 = pu.to_model_range(split.x_unlabeled[chosen])
    eps = torch.randn(x0.shape, generator=generator)
    t = torch.randint(1000, (32,), generator=generator)
    x_t = add_noise(x0, eps, t, alphas_cumprod)  # (1)
    ell = denoising_error(eps, model(x_t, t).sample)  # (2), one draw of t and eps
    ell.mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(ell.mean().item())

# %% [markdown]
# **Predict.** Before any step the network's guess is about as good as saying "no noise at all". What is $\ell$ then, for an image of $D$ numbers?

# %%
dimension = split.x_unlabeled[0].numel()
last = float(torch.tensor(losses[-20:]).mean())
zero = f"D = {dimension}: answer always 0"
with page.figure("02_loop", made_for={"loop_steps": loop_steps}, figsize=(7, 2.8)) as (fig, ax):
    ax.plot(losses, color=pu.GREY)
    ax.axhline(dimension, color=pu.SENSITIVE, linestyle="--", label=zero)
    ax.set(xlabel="training step", ylabel="ell, batch mean", ylim=(0, None))
    ax.set_title("The error falls from D, the squared length of the noise")
    ax.legend()
    fig.numbers(ell=losses)
    fig.check("the loop's error ends below half of D", last / dimension, at_most=0.5)
    fig.alt(f"""Line plot of the batch error against the training step. It starts near
        {dimension}, the number of pixels, and falls to about {last:.0f} within {loop_steps}
        steps.""")

# %% [markdown]
# *Caption. Mean error of each batch of 32 images; dashed: the error of answering 0.*
#
# <details><summary>Answer</summary>
#
# About $D$: each of the $D$ numbers of $\epsilon$ has variance 1, so $\mathbb{E}\lVert\epsilon\rVert^2 = D$. Keep the number in mind. In chapter 03 the error becomes a probability, $e^{-\ell}$, and $e^{-64}$ is a very small one.
#
# </details>
#
# The library's loop (`pudm_lib.training.loop`) is this one with five additions that do not change the idea: a learning rate that rises and falls (warm-up and cosine), an average of the weights over the last steps (EMA), checkpoints, the other methods' losses, and noise that depends on `(seed, step)` alone, so that a run cut off by a crash ends with the same weights as one that was not. It trains the models below. One of them gets augmented images: each training image a little turned, scaled and shifted. Classifiers love augmentation. Does a generator?

# %%
augmented_experiment = pu.experiment(preset, **settings, augmentation="affine")
plain, augmented = pu.run_many([plain_experiment, augmented_experiment])
model = pu.load_model(plain_experiment)
page.device = plain_experiment.training.device  # that of all figures from here on
parameters = sum(p.numel() for p in model.parameters())
print(f"network {plain_experiment.network!r}: {parameters:,} parameters")

# %% [markdown]
# ## From noise to image, by hand
#
# Sampling walks back from pure noise $x_T$. Both samplers begin each step in the same way: turn the noise prediction into a guess of the clean image, equation (1) solved for $x_0$, and clip it to the range of images. The noise that belongs to the clipped guess replaces the prediction, so that both halves of the next $x$ speak of one image.
#
# $$\hat x_0 = \mathrm{clip}\!\left(\frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta}{\sqrt{\bar\alpha_t}}\right), \qquad \hat\epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,\hat x_0}{\sqrt{1-\bar\alpha_t}} \qquad (3)$$
#
# Let $s < t$ be the next noise level of the walk.
#
# $$\text{DDIM:}\quad x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s}\,\hat\epsilon \qquad (4)$$
#
# $$\text{DDPM:}\quad x_s = \frac{\sqrt{\bar\alpha_s}\,\beta_{ts}}{1-\bar\alpha_t}\hat x_0 + \frac{\sqrt{1-\beta_{ts}}\,(1-\bar\alpha_s)}{1-\bar\alpha_t}x_t + \sigma z,\quad \beta_{ts} = 1 - \frac{\bar\alpha_t}{\bar\alpha_s},\quad \sigma^2 = \frac{1-\bar\alpha_s}{1-\bar\alpha_t}\beta_{ts} \qquad (5)$$
#
# DDIM jumps to the same image at a lower noise level and draws no new noise. DDPM draws from the posterior of chapter 01 and adds fresh noise $z$; $\beta_{ts}$ is the variance that the step from $s$ to $t$ had added, not to be mixed up with the $\beta$ of chapters 03 to 05.


# %%
def clean_guess(x_t, t):
    """x0_hat and the noise that belongs to it. (3)"""
    a = alphas_cumprod[t]
    eps_hat = model(x_t, torch.full((len(x_t),), t, device=x_t.device)).sample
    x0_hat = ((x_t - (1 - a).sqrt() * eps_hat) / a.sqrt()).clamp(-1, 1)
    return x0_hat, (x_t - a.sqrt() * x0_hat) / (1 - a).sqrt()


def ddim_step(x_t, t, s, z):
    x0_hat, eps_hat = clean_guess(x_t, t)
    a = alphas_cumprod[s] if s >= 0 else torch.tensor(1.0)
    return a.sqrt() * x0_hat + (1 - a).sqrt() * eps_hat  # (4)


def ddpm_step(x_t, t, s, z):
    x0_hat, _ = clean_guess(x_t, t)
    a_t, a_s = alphas_cumprod[t], alphas_cumprod[s] if s >= 0 else torch.tensor(1.0)
    step_beta = 1 - a_t / a_s
    mean = a_s.sqrt() * step_beta / (1 - a_t) * x0_hat
    mean = mean + (1 - step_beta).sqrt() * (1 - a_s) / (1 - a_t) * x_t
    return mean + ((1 - a_s) / (1 - a_t) * step_beta).sqrt() * z  # (5)


# %% [markdown]
# The check that matters: do these lines give the same picture as `diffusers`, the library whose schedulers the field uses? The library's `sample` wraps those schedulers and draws the noise of image $i$ from `(seed, i)`; the cell below takes the same noise through our own steps.


# %%
@torch.no_grad()
def by_hand(step, sampling, seed):
    """Walk down the noise levels with one of the two steps above."""
    stream = pu.diffusion.SAMPLING
    noise = [pu.random_generator(stream, seed, i) for i in range(sampling.num_samples)]
    device = next(model.parameters()).device
    x = torch.stack([torch.randn(shape, generator=g) for g in noise]).to(device)
    levels = pu.diffusion.make_scheduler(sampling).timesteps.tolist()
    for t, s in zip(levels, [*levels[1:], -1], strict=True):
        z = torch.zeros_like(x, device="cpu")
        if step is ddpm_step and s >= 0:
            z = torch.stack([torch.randn(shape, generator=g) for g in noise])
        x = step(x, t, s, z.to(device))
    return x.float().cpu()


# %%
shape, device = tuple(split.x_unlabeled.shape[1:]), next(model.parameters()).device
model.cpu()  # a GPU rounds its convolutions more coarsely
differences = {}
for name, step in (("ddim", ddim_step), ("ddpm", ddpm_step)):
    few = pu.SamplingSettings(sampler=name, num_inference_steps=10, num_samples=8)
    theirs = pu.sample(model, few, shape=shape, seed=seed)
    differences[name] = (by_hand(step, few, seed) - theirs).abs().max().item()
print({name: f"{difference:.1e}" for name, difference in differences.items()})
model.to(device)
assert max(differences.values()) < 1e-3, "our steps and diffusers' part"

# %% [markdown]
# The largest difference of any pixel, on a scale from −1 to 1, is at the level of rounding in single precision. What the walk looks like on the way, for the first eight images:

# %%
levels, guesses, states = [], [], []


def remember(step, t, x_t, x0_hat):
    levels.append(t)
    guesses.append(pu.to_uint8(x0_hat[:8].cpu()))
    states.append(pu.to_uint8(x_t[:8].cpu()))


walked = {"num_inference_steps": 10, "num_samples": 8}
eight = pu.SamplingSettings(**walked)
pu.sample(model, eight, shape=shape, seed=seed, callback=remember)
titles = {
    "What the sampler holds: noise gives way to strokes late": states,
    "What it guesses the end to be: noise, a blur, a digit": guesses,
}

# %%
with page.figure("02_walk", 2, 1, made_for=walked, figsize=(7.2, 4.6)) as (fig, axes):
    for ax, (title, pictures) in zip(axes, titles.items(), strict=True):
        rows = torch.stack(pictures, 1)[:4].flatten(0, 1)
        pu.style.image_sheet(ax, rows, columns=len(levels))
        ax.set_title(title)
    fig.numbers(timesteps=levels)
    fig.alt("""Two sheets, four images each followed over ten DDIM steps from left to right. The
        upper shows the sampler's state turning from noise into digits in the last steps; the
        lower shows the predicted clean image: hard black and white at first, then a grey blur,
        and a digit about halfway.""")

# %% [markdown]
# *Caption. One row an image, ten DDIM steps from left to right.*
#
# The first guesses are hard black and white: at $t = 999$ equation (3) divides by $\sqrt{\bar\alpha_t} \approx 0.006$, so a small error of the network becomes a large one, and clipping catches it. Then comes the blur, which is the right answer to "what is the mean of all digits that could have led here?". The digit is settled about halfway, long before the state shows it.
#
# ## How often does it draw what nobody wanted?
#
# A judge decides: a small network that learned all ten classes from true labels and is tested on images that neither it nor the diffusion model has seen. A rate is worth no more than its judge, so the judge's accuracy stands beside it, and the interval says what a finite number of samples allows (Wilson, 95 %).
#
# **Predict.** About one in eleven training images is sensitive. The model has not been told. What share of its samples will be sensitive?

# %%
numbers = plain.numbers
leak = 1 - numbers["non_sensitive_rate"]
leak_interval = [1 - numbers["rate_high"], 1 - numbers["rate_low"]]
print(
    f"judge: {numbers['judge_accuracy']:.3f} right on held-out images\n"
    f"leak: {leak:.3f}, interval {leak_interval[0]:.3f} to {leak_interval[1]:.3f}, "
    f"training share {split.sensitive_share:.3f}"
)

# %%
made_for = plain_experiment.flat()
with page.figure("02_leak", made_for=made_for, figsize=(8.5, 3.6)) as (fig, ax):
    marked = plain.sensitive[:96]
    pu.style.image_sheet(ax, plain.samples[:96], columns=16, marked=marked)
    ax.set_title(f"Trained on everything, it draws everything: {leak:.1%} of samples are sensitive")
    fig.numbers(leak=leak, judge_accuracy=numbers["judge_accuracy"], sensitive=marked)
    leaks = "the unsupervised model leaks: the interval's lower end is above 5 %"
    fig.check(leaks, leak_interval[0], at_least=0.05, interval=leak_interval)
    fig.check("our sampling steps equal diffusers'", max(differences.values()), at_most=1e-3)
    fig.alt(f"""A sheet of 96 samples of the unsupervised model, {int(marked.sum())} of them
        framed because the judge calls them sensitive. Over all samples the share is
        {leak:.1%}.""")

# %% [markdown]
# *Caption. The first 96 samples in the order they were drawn; frames by the judge.*
#
# <details><summary>Answer</summary>
#
# About the share in the training set, here a little more: the interval lies above one in eleven. A good model of U reproduces U, odd digits included; that is not a fault of training. Where the rest comes from is not shown here. Two suspects are badly drawn digits, which have to fall on one side, and the judge, who errs on samples as well.
#
# </details>
#
# ## What quality costs
#
# "How good are the images as a whole" needs a distance between two sets of images. The **Fréchet distance** fits a Gaussian to the features of each set and compares them; lower is nearer. With pixels as features it needs no other network. It is never zero for finite sets: two sets of *real* images are apart as well, and more so when the sets are small. That **floor**, taken with as many images, is the zero to compare with. The figure shows it for several numbers of DDIM steps, and for the model trained on augmented images.

# %%
counts = [2, 4] if preset == "ci" else [5, 10, 25, 50]
few_samples = numbers["num_matched"]  # as many as the floor has real images
reference = pixel_features(split.x_test)
distances = []
for count in counts:
    budget = {"sampler": "ddim", "num_inference_steps": count, "num_samples": few_samples}
    trial = pu.experiment(preset, **settings, **budget)
    distances.append(frechet_distance(pixel_features(pu.draw(trial, model, split)), reference))
floor = numbers["frechet_pixels_floor"]

# %%
ratios = {
    "plain": numbers["frechet_pixels_matched"] / floor,
    "augmented": augmented.numbers["frechet_pixels_matched"] / floor,
}
farther = ratios["augmented"] / ratios["plain"]
doubles = "affine augmentation at least doubles the pixel distance of the samples"
more = "more DDIM steps help: the fewest against the most"
wide = {"made_for": {"num_samples": few_samples}, "figsize": (8.5, 3.2)}

# %%
with page.figure("02_quality", 1, 2, **wide) as (fig, axes):
    axes[0].plot(counts, distances, color=pu.BLUE, marker="o")
    axes[0].axhline(floor, color=pu.GREY, linestyle="--", label="floor: real against real")
    axes[0].set(xlabel="DDIM steps", ylabel="Fréchet distance, pixels", ylim=(0, None))
    axes[0].set_title(f"Steps: most is won early ({few_samples} samples)")
    axes[0].legend()
    bars = ["none", "turn, scale, shift"]
    axes[1].bar(bars, list(ratios.values()), color=[pu.BLUE, pu.ORANGE], width=0.5)
    axes[1].axhline(1, color=pu.GREY, linestyle="--")
    axes[1].set(xlabel="augmentation of the training images", ylabel="distance / floor")
    axes[1].set_title(f"Augmented training shows: {farther:.1f} times as far")
    fig.numbers(steps=counts, distances=distances, floor=floor, ratios=ratios)
    fig.check(doubles, farther, at_least=2)
    fig.check(more, distances[0] / distances[-1], at_least=1)
    fig.alt(f"""Left: Fréchet distance on pixels for {counts} DDIM steps:
        {[round(d, 2) for d in distances]}, floor {floor:.2f}. Right: distance over floor
        without augmentation {ratios["plain"]:.2f} and with it {ratios["augmented"]:.2f}.""")

# %% [markdown]
# *Caption. Left: distance of as many samples as the floor has real images. Right: the same, over the floor, for two training sets.*
#
# A generator learns to draw *what it is shown*. Shown turned and shifted digits, it draws turned and shifted digits, and real held-out ones are not. This is why augmentation is off everywhere else in this book. (A flip of a natural photograph is another matter: it gives an image that could have been in the set.)
#
# Did it copy? The share of samples that lie nearer to a training image than 99 % of held-out images do would be 1 for a model that memorised, and about 0.01 for one that did not:

# %%
print(f"share of samples as near as a copy: {numbers['copies_share']:.3f}")

# %% [markdown]
# ## The check
#
# The claims of this chapter in one place. They are about the digits under preset `laptop`; elsewhere the cell claims nothing. All are checks: the agreement of the samplers is mathematics, and the other bounds were set after numbers like these had been seen.

# %%
page.verdict()

# %% [markdown]
# ## What could go wrong
#
# | symptom | cause | fix |
# |---|---|---|
# | samples are grey or saturated | images not in $[-1, 1]$: the noise has unit variance and the images must match it | `to_model_range` before, `to_uint8` after |
# | the loss falls but samples stay noise | sampling begins at another noise level than training knew, or a step too few at the end | the scheduler's `timestep_spacing="trailing"` begins at $T-1$ |
# | a loss that is "nan" | weights or images that are not finite, often after a learning rate that was too high | look at what is not finite; lower the rate; the library stops at that step and names the terms |
#
# The third one on purpose, with infinite weights, caught and printed:

# %%
broken = pu.networks.make_unet("tiny", resolution=resolution, channels=channels)
torch.nn.init.constant_(broken.conv_out.weight, float("inf"))
images = pu.training.TrainingImages(split.x_unlabeled, split.x_sensitive)
few = pu.training.TrainingSettings(method="unsupervised", steps=5, device="cpu")
try:
    pu.train(broken, images, few, seed=seed)
except pu.training.TrainingError as error:
    print(error)

# %% [markdown]
# ## Limits
#
# - The digits are 8×8 and few. The sampler's behaviour and the leak carry over to larger images; the distances' sizes do not.
# - The Fréchet distance here is on pixels, because a laptop without a download has no Inception weights. Compare it only with distances of the same features, the same reference and a similar number of images.
# - A network this small leaks a little more than the training share, and why is not measured here.
# - `diffusers`' own DDIM pipeline clips $\hat x_0$ but keeps the old noise prediction unless told otherwise; ours recomputes it (3). Samples of the two differ, so compare like with like.
#
# ## Exercises
#
# **1.** Draw eight images with the same seed in batches of 8 and of 3. Are they the same?
#
# <details><summary>Hint</summary>
#
# `SamplingSettings` has a field for the number of images at once.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# shape = tuple(split.x_unlabeled.shape[1:])
# batches = [pu.SamplingSettings(num_samples=8, sampling_batch=b, num_inference_steps=5) for b in (8, 3)]
# a, b = (pu.sample(model, settings_, shape=shape, seed=seed) for settings_ in batches)
# print((a - b).abs().max())
# assert (a - b).abs().max() < 1e-3
# ```
#
# The noise of an image depends on the seed and its position alone, so the images agree up to rounding.
#
# </details>
#
# **2.** Is the error the same at every noise level? Plot $\ell$ of the trained model against $t$ for 64 held-out images.
#
# <details><summary>Hint</summary>
#
# Fix one $t$ for the whole batch and loop over a dozen values.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# x0 = pu.to_model_range(split.x_test[:64])
# device = next(model.parameters()).device
# eps = torch.randn(x0.shape, generator=pu.random_generator(5))
# curve = []
# for level in range(10, 1000, 90):
#     t = torch.full((len(x0),), level)
#     x_t = add_noise(x0, eps, t, alphas_cumprod).to(device)
#     with torch.no_grad():
#         curve.append(denoising_error(eps.to(device), model(x_t, t.to(device)).sample).mean().item())
# print([round(value, 1) for value in curve])
# assert curve[0] > curve[-1]
# ```
#
# Large at small $t$, where the little noise there is hides in the strokes; near zero at large $t$, where almost everything is noise. Chapter 03 lives on this curve.
#
# </details>
#
# **3.** DDPM with as many steps as DDIM: is its distance lower or higher at 25 steps?
#
# <details><summary>Hint</summary>
#
# `experiment(preset, ..., sampler="ddpm", num_inference_steps=25, num_samples=...)` and `draw`.
#
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# for sampler in ("ddim", "ddpm"):
#     trial = pu.experiment(preset, **settings, sampler=sampler, num_inference_steps=counts[-2], num_samples=few_samples)
#     images = pu.draw(trial, model, split)
#     print(sampler, round(frechet_distance(pixel_features(images), reference), 2))
# ```
#
# With few steps the fresh noise of DDPM has no time to be removed again, and DDIM is nearer. DDPM catches up towards hundreds of steps.
#
# </details>
#
# ## What we learnt
#
# - A training step is five lines: noise an image, ask for the noise back, follow the gradient.
# - DDPM and DDIM share the guess of the clean image and differ in the noise they add; our lines and `diffusers`' agree to rounding.
# - A model trained on everything draws everything: the leak is about the sensitive share of the training set.
# - A generator draws what it is shown, augmentation included.
#
# **Next:** chapter 03 turns the error $\ell$ into a classifier, $p(\text{normal}\mid x) = e^{-\ell}$, and asks where its gradient lives.
#
# **References**
#
# - Ho, Jain, Abbeel (2020), *Denoising Diffusion Probabilistic Models*: the loss (2) and the sampler (5).
# - Song, Meng, Ermon (2021), *Denoising Diffusion Implicit Models*: the sampler (4), and why few steps suffice.
# - Karras et al. (2022), *Elucidating the Design Space of Diffusion-Based Generative Models*: which choices matter, one at a time.
# - Takahashi et al. (2025), *Positive-Unlabeled Diffusion Models for Preventing Sensitive Data Generation*: the problem this book is about.
