"""Do two sets of points follow one law? One test by regrouping, and the energy distance
(Székely and Rizzo 2004); `prior.scores` tests with a Gaussian kernel.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor


def permutation_test(
    kernel: Tensor, n: int, shuffled: Callable, permutations: int
) -> tuple[float, float]:
    """sum_ij a_i k_ij a_j, with a = 1/n on the first n of n + m points and -1/m on the
    others, and its p-value: the share of groupings, the given one among them so that p
    is never 0, in which it is as large. `shuffled(n + m)` gives a random order."""
    m = len(kernel) - n
    a = kernel.new_tensor([1 / n] * n + [-1 / m] * m)
    others = [a[shuffled(n + m)] for _ in range(permutations)]
    rows = torch.stack([a, *others])  # (1 + permutations, n + m)
    values = (rows @ kernel * rows).sum(1)
    p = (values >= values[0] * (1 - 1e-9)).double().mean()
    return values[0].item(), p.item()


def energy_test(
    x: Tensor, y: Tensor, generator: torch.Generator, *, permutations: int = 499
) -> tuple[float, float]:
    """The squared energy distance of (n, D) and (m, D) points and its p-value.

    The distance 2 E||X - Y|| - E||X - X'|| - E||Y - Y'|| is zero only for equal laws;
    its law under that hypothesis comes from shuffling who belongs to whom.

    Raises:
        ValueError: fewer than two points on a side.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"{len(x)} and {len(y)} points, must be >= 2 on each side")
    points = torch.cat([x, y]).double()
    distances = torch.cdist(points, points)
    shuffled = partial(torch.randperm, generator=generator)
    return permutation_test(-distances, len(x), shuffled, permutations)
