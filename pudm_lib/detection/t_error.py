"""SeDID: the error between a deterministic step up the noise levels and the step back
(Ma et al. 2023, eqs. 3-13).

Of an image that the model made itself the error is thought to be smaller. Whether it
is, chapter 13 measures.

The paper's phi (up) and psi (down) are one formula, DDIM without noise. A step's name
T_SE is its upper node: with step_size 165 the errors are those of the steps 0-165,
165-330, ..., 825-990. The network's output at a node serves the step up from it and the
step down from it, so K errors cost K + 1 evaluations.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pudm_lib.detection.batched import Encoder, over_batches
from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas

ALPHAS_CUMPROD = alphas_cumprod_of(linear_betas())  # DDPM's own, T = 1000

# Over which of (B, C, H, W) the squares are summed.
REDUCTIONS = {"score": (1, 2, 3), "channel": (2, 3), "map": (1,), "pixel": ()}


def predict_eps(model: nn.Module, x_t: Tensor, t: int, condition=None) -> Tensor:
    """eps_theta(x_t, t), or eps_theta(z_t, t, c) with a condition (B, tokens, D)."""
    time = torch.full((len(x_t),), t, device=x_t.device)
    options = {} if condition is None else {"encoder_hidden_states": condition}
    return model(x_t, time, **options).sample


def move(x_t: Tensor, eps_hat: Tensor, t: int, s: int, alphas_cumprod: Tensor):
    """From noise level t to s, up or down, along the given noise.

    With f = (x_t - sqrt(1 - a_t) eps) / sqrt(a_t) (eq. 4) this is sqrt(a_s) f +
    sqrt(1 - a_s) eps, which is eq. 3 for s < t and eq. 5 for s > t. Written so that
    the clean guess f, 144 times the error of eps at t = 990, is never rounded.

    Args:
        x_t, eps_hat: (B, ...).
        alphas_cumprod: (T,), float64.
    """
    a_t, a_s = alphas_cumprod[t].item(), alphas_cumprod[s].item()
    ratio_t, ratio_s = (1 / a_t - 1) ** 0.5, (1 / a_s - 1) ** 0.5  # noise / signal
    return a_s**0.5 * (x_t / a_t**0.5 + (ratio_s - ratio_t) * eps_hat)


def denoise(model, x_t, t: int, step_size: int, alphas_cumprod, condition=None):
    """psi(x_t, t, step_size), eq. 3: one deterministic step down, (B, ...)."""
    eps_hat = predict_eps(model, x_t, t, condition)
    return move(x_t, eps_hat, t, t - step_size, alphas_cumprod)


def reverse(model, x_t, t: int, step_size: int, alphas_cumprod, condition=None):
    """phi(x_t, t, step_size), eq. 5: one deterministic step up, (B, ...)."""
    eps_hat = predict_eps(model, x_t, t, condition)
    return move(x_t, eps_hat, t, t + step_size, alphas_cumprod)


def up_and_back(
    model, x0, eps_0, step_size: int, highest: int, alphas_cumprod, condition=None
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """The shared trajectory: x0 moved up in steps, each step also taken back.

    Args:
        eps_0: predict_eps of x0 at t = 0, the same for every step_size.

    Yields, for t_se = step_size, 2 step_size, ..., highest:
        t_se, x_t (the node below t_se), x_up = phi(x_t), x_back = psi(x_up).
    """
    x_t, eps_hat = x0, eps_0
    for t in range(0, highest, step_size):
        x_up = move(x_t, eps_hat, t, t + step_size, alphas_cumprod)  # (5)
        eps_up = predict_eps(model, x_up, t + step_size, condition)
        x_back = move(x_up, eps_up, t + step_size, t, alphas_cumprod)  # (3)
        yield t + step_size, x_t, x_up, x_back
        x_t, eps_hat = x_up, eps_up


def all_t_se(step_size: int, num_train_timesteps: int = 1000) -> list[int]:
    """Every T_SE that a step size allows: its multiples up to T - 1."""
    if not 1 <= step_size < num_train_timesteps:
        raise ValueError(
            f"step_size={step_size}, must be in 1 .. {num_train_timesteps - 1}"
        )
    return list(range(step_size, num_train_timesteps, step_size))


def check_t_se(t_se: Sequence[int], step_size: int, num_train_timesteps: int) -> None:
    """Raise ValueError for a T_SE that is not a node of the trajectory."""
    allowed = all_t_se(step_size, num_train_timesteps)
    for value in t_se:
        if value not in allowed:
            raise ValueError(
                f"t_se={value}, must be a positive multiple of step_size={step_size} "
                f"and at most {num_train_timesteps - 1}: one of {allowed}"
            )
    if not t_se:
        raise ValueError("t_se is empty; give at least one step, or None for all")


def t_errors(
    model: nn.Module,
    images: Tensor,
    step_size: int | Sequence[int],
    *,
    t_se: Sequence[int] | None = None,
    reduction: str = "score",
    condition: Tensor | None = None,
    encode: Encoder | None = None,
    alphas_cumprod: Tensor = ALPHAS_CUMPROD,
    misaligned_as_released: bool = False,
    batch_size: int = 256,
) -> Tensor:
    """E = ||x_back - x_t||^2 (eqs. 6, 7) of every T_SE in one sweep.

    An image takes highest T_SE / step_size evaluations for each step_size, and one at
    t = 0, from which all of them set out.

    Args:
        model: model(x_t, t).sample predicts the noise.
        images: uint8, or floats in [-1, 1], (N, C, H, W).
        step_size: the paper's delta; with several, their rows follow each other.
        t_se: which steps, by their upper nodes; None: all that step_size allows.
        reduction: "score" sums an image's squares; "channel" over pixels, "map" over
            channels; "pixel" does not.
        condition: text embeddings c, (N, tokens, D) or (1, tokens, D) (eqs. 9-13).
        encode: images -> latents, for a latent diffusion model (eq. 9). diffusers'
            AutoencoderKL: lambda x: vae.encode(x).latent_dist.mode() * scaling.
        alphas_cumprod: (T,).
        misaligned_as_released: see `learned.step_inputs`.
        batch_size: images at once, a bound on memory.

    Returns:
        float32 (K, N), (K, N, C), (K, N, H, W) or (K, N, C, H, W), on the CPU, in the
        order of t_se.

    Raises:
        ValueError: a T_SE that is no positive multiple of step_size or lies above
            T - 1; images of another size or range than the model's.
    """
    if reduction not in REDUCTIONS:
        allowed = ", ".join(REDUCTIONS)
        raise ValueError(f"reduction={reduction!r}, must be one of {allowed}")
    last, summed = len(alphas_cumprod), REDUCTIONS[reduction]
    sizes = [step_size] if isinstance(step_size, int) else step_size
    nodes = [(s, all_t_se(s, last) if t_se is None else t_se) for s in sizes]
    for size, wanted in nodes:
        check_t_se(wanted, size, last)
    if condition is not None and len(condition) not in (1, len(images)):
        raise ValueError(
            f"condition of {len(condition)} images for {len(images)}: one each, or one"
        )

    def errors(x: Tensor, where: slice) -> Tensor:
        c = None
        if condition is not None:
            c = condition if len(condition) == 1 else condition[where]
            c = c.to(x).expand(len(x), -1, -1)
        eps_0, rows = predict_eps(model, x, 0, c), []
        for size, wanted in nodes:
            steps = up_and_back(model, x, eps_0, size, max(wanted), alphas_cumprod, c)
            found = {}
            for level, x_t, x_up, x_back in steps:
                if level in wanted:
                    below = x_up if misaligned_as_released else x_t
                    squares = (x_back - below).square()
                    found[level] = squares.sum(summed) if summed else squares
            rows += [found[level] for level in wanted]
        return torch.stack(rows)

    label = f"t-errors, step {step_size}"
    return over_batches(errors, model, images, batch_size, label, encode=encode, dim=1)
