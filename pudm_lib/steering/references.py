"""What a set of reference images says about a noised one, by kernels (Safe Denoiser,
Kim et al. 2025, eq. 6).

Were the references all the data there is, E[x|x_t] would be their mean under weights
that fall with the distance to x_t, and p_t(x_t) the mean of the kernels. Kernels stay
logarithms: they underflow any float in high dimension.
"""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pudm_lib.diffusion.process import random_generator
from pudm_lib.steering.hooks import ALPHAS_CUMPROD, check_strength

# Distances and coordinates held at once: 2**24 numbers in float64 are 128 MiB.
MAX_NUMBERS = 2**24


class Posterior(NamedTuple):
    """What a set of references says about noised images x_t.

    mean: (B, ...) E[x|x_t], were the references all that there is.
    log_kernel: (B,) float64, log of the mean kernel, the paper's beta(x_t) without its
        factor (2 pi sigma^2)^(-D/2).
    effective: (B,) float64, 1 / sum of the squared weights: how many of the references
        have a say, 1 .. N.
    """

    mean: Tensor
    log_kernel: Tensor
    effective: Tensor


def kernel_posterior(
    query: Tensor,
    keys: Tensor,
    values: Tensor | None,
    bandwidth: float,
    *,
    squared: bool = True,
) -> Posterior:
    """The mean of `values` under softmax(-||query - keys||^2 / (2 bandwidth^2)) (6).

    Summed over chunks of references with a running maximum, in float64: a small
    bandwidth turns the rounding of a distance into an error of the weight.

    Args:
        query, keys: (B, ...) and (N, ...), as many numbers in each item of both.
        values: (N, ...); None for the density alone, the mean is then (B, 0).
        bandwidth: > 0.
        squared: False for the released code's kernel, exp(-distance / (2 b^2)).
    """
    query, keys = query.double().flatten(1), keys.flatten(1)
    values = keys[:, :0] if values is None else values
    flat = values.flatten(1)
    top = query.new_full((len(query), 1), -math.inf)
    total, squares, mean = (torch.zeros_like(top) for _ in range(3))
    chunk = max(1, MAX_NUMBERS // (len(query) + keys.shape[1] + flat.shape[1]))
    for key, value in zip(keys.split(chunk), flat.split(chunk), strict=True):
        key, value = key.double(), value.double()
        lengths = query.square().sum(1, keepdim=True) + key.square().sum(1)
        distances = (lengths - 2 * query @ key.T).clamp(min=0)  # (B, n), squared
        if not squared:
            distances = distances.sqrt()
        logits = -distances / (2 * bandwidth**2)
        new_top = torch.maximum(top, logits.amax(1, keepdim=True))
        kernels = (logits - new_top).exp()
        rescale = (top - new_top).exp()
        total = total * rescale + kernels.sum(1, keepdim=True)
        squares = squares * rescale**2 + kernels.square().sum(1, keepdim=True)
        mean = mean * rescale + kernels @ value
        top = new_top
    return Posterior(
        mean=(mean / total).reshape(len(query), *values.shape[1:]).to(values.dtype),
        log_kernel=(top + total.log())[:, 0] - math.log(len(keys)),
        effective=(total.square() / squares)[:, 0],
    )


def check_references(references: Tensor, clip: float | None = 1.0) -> None:
    """Refuse references that cannot be images in [-clip, clip] (None: any finite).

    Raises:
        ValueError: none or without a shape of their own, not floats, NaN, out of range.
    """
    shape = tuple(references.shape)
    if references.ndim < 2 or 0 in shape:
        raise ValueError(f"references of shape {shape}, must be (N, ...) with N >= 1")
    if not references.is_floating_point():
        raise ValueError(
            f"references of type {references.dtype}, must be floats in [-1, 1]; "
            "data.to_model_range makes them from uint8"
        )
    if not bool(references.isfinite().all()):
        raise ValueError("references hold NaN or infinity, must all be finite")
    most = references.abs().max().item()
    if clip is not None and most > clip:
        raise ValueError(f"references reach {most:.4g}, must be in [-{clip}, {clip}]")


@dataclass(eq=False, repr=False)
class ReferenceDenoiser:
    """E_unsafe[x|x_t] from a negation set (6), for any number of noised images at once.

    Args:
        references: (N, ...) floats in [-1, 1].
        alphas_cumprod: (T,).
        features: None for pixels, or a map of (B, ...) to (B, d): distances are then
            between its values at x_t / alpha_t and at the references, with the same
            bandwidth sigma_t / alpha_t. See `random_projection`.
        width: standard deviation of a Gaussian about each reference, >= 0; the paper's
            is 0. Of a few hundred images, far apart in D dimensions, the nearest would
            then decide alone. Both sides of an odds need the same one.
        density_only: leave the mean out, (B, 0): for U in the odds, at half the cost.
        clip: bound of the references; None for data without one.

    Raises:
        ValueError: see `check_references`; on call, noised images of another shape.
    """

    references: Tensor
    alphas_cumprod: Tensor = ALPHAS_CUMPROD
    _: KW_ONLY
    features: Callable[[Tensor], Tensor] | None = None
    width: float = 0.0
    density_only: bool = False
    clip: float | None = 1.0

    def __post_init__(self):
        check_references(self.references, self.clip)
        check_strength(width=self.width)
        self.features = self.features or nn.Identity()
        self.keys = self.features(self.references)

    def __call__(self, x_t: Tensor, t: int) -> Posterior:
        known, given = (tuple(x.shape[1:]) for x in (self.references, x_t))
        if known != given:
            raise ValueError(f"references are {known}, images {given}, must be alike")
        a = self.alphas_cumprod[t].item()
        # ||x_t - alpha x||^2 / (2 sigma^2), both sides divided by alpha^2.
        x = x_t / math.sqrt(a)
        variance = (1 - a) / a + self.width**2
        found = kernel_posterior(
            self.features(x),
            self.keys.to(x_t.device),
            None if self.density_only else self.references.to(x_t),
            math.sqrt(variance),
        )
        if self.density_only:
            return found
        # A reference of some width is itself drawn towards x_t.
        return found._replace(mean=found.mean.lerp(x, self.width**2 / variance))


def random_projection(references: Tensor, dims: int, *, seed: int = 0):
    """A linear map of images to (B, dims) that keeps squared distances on average
    (Johnson and Lindenstrauss 1984), for `features`: cheaper kernels."""
    size = _check_dims(references, dims)
    matrix = torch.randn(size, dims, generator=random_generator(seed)) / dims**0.5
    return lambda x: x.flatten(1) @ matrix.to(x)


def principal_projection(references: Tensor, dims: int):
    """The linear map of images to their first principal components, (B, dims).

    What it leaves out of x_t is the same for all references that lie in the span, and
    cancels in the weights and in odds: a cheaper kernel with a small error.
    """
    _check_dims(references, dims)
    _, vectors = torch.linalg.eigh(references.flatten(1).double().T.cov())
    basis = vectors.flip(1)[:, :dims]  # eigh sorts the other way round
    return lambda x: x.flatten(1) @ basis.to(x)


def _check_dims(references: Tensor, dims: int) -> int:
    size = math.prod(references.shape[1:])
    if not 1 <= dims <= size:
        raise ValueError(f"dims={dims}, must be in 1 .. {size}")
    return size


def reference_level(
    references: Tensor,
    quantile: float,
    alphas_cumprod: Tensor = ALPHAS_CUMPROD,
    *,
    width: float = 0.0,
    seed: int = 0,
) -> Callable[[int], float]:
    """t -> the quantile of log beta(x_t) over noised references, a scale for densities
    of a denoiser with this `width`. Every other reference is noised and compared with
    the rest, so that none meets itself.

    Raises:
        ValueError: quantile outside [0, 1], or fewer than two references.
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile={quantile}, must be in [0, 1]")
    if len(references) < 2:
        raise ValueError(f"{len(references)} references, must be >= 2 for a quantile")
    unsafe = ReferenceDenoiser(references[::2], alphas_cumprod, width=width, clip=None)
    x0 = references[1::2].cpu()

    @cache
    def level(t: int) -> float:
        a = alphas_cumprod[t].item()
        noise = torch.randn(x0.shape, generator=random_generator(seed, t))
        x_t = math.sqrt(a) * x0 + math.sqrt(1 - a) * noise
        return unsafe(x_t.to(references), t).log_kernel.quantile(quantile).item()

    return level
