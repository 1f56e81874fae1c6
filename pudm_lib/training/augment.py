"""Random small shifts, turns and scalings of images, each image its own, on a batch.

Not used by the papers and off in preset "paper": a diffusion model learns to draw what
it is shown, so augmented training images come back as shifted, blurred samples. Chapter
02 measures that.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

# Which images are changed: none; those of U, S and N; or those of S alone.
AUGMENTATIONS = ("none", "affine", "affine_sensitive")

MAX_TURN = 10 / 180 * math.pi  # radians
MAX_SCALING = 0.1
MAX_SHIFT = 0.12  # as a share of the image's side


def affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """Float images (B, C, H, W) in [-1, 1], each turned, scaled and shifted at random;
    what comes in from outside is black (-1)."""
    draws = images.new_empty(4, len(images)).uniform_(generator=generator)
    turn, scaling, right, down = 2 * draws - 1
    turn, size = turn * MAX_TURN, 1 + scaling * MAX_SCALING
    cos, sin = turn.cos() * size, turn.sin() * size
    # affine_grid's coordinates run from -1 to 1: a side is 2 long.
    right, down = 2 * MAX_SHIFT * right, 2 * MAX_SHIFT * down
    rows = [torch.stack([cos, -sin, right], 1), torch.stack([sin, cos, down], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    # Moved up by 1, so that the zero padding of grid_sample stands for black.
    return grid_sample(images + 1, grid, align_corners=False) - 1
