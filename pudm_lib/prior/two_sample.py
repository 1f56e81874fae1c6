"""Do two sets of points follow one law? (Székely and Rizzo 2004.)"""

import torch
from torch import Tensor


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
    signs = torch.cat(
        [
            x.new_full((len(x),), 1 / len(x), dtype=torch.float64),
            x.new_full((len(y),), -1 / len(y), dtype=torch.float64),
        ]
    )
    shuffled = [
        signs[torch.randperm(len(signs), generator=generator)]
        for _ in range(permutations)
    ]
    rows = torch.stack([signs, *shuffled])  # (1 + permutations, n + m)
    values = -((rows @ distances) * rows).sum(1)
    p = (values >= values[0]).double().mean().item()  # counts the unshuffled one
    return values[0].item(), p
