"""The training objectives of PUDM (eqs. 9-19, Algorithm 1), side by side.

Each takes the denoising errors ell (eq. 8) of the batch's unlabeled, labelled sensitive
and labelled normal images and returns a `Risk`. They differ only in the lines in which
they differ mathematically. With p(y=0|x) = exp(-ell) (eq. 10) the two faces of the
binary cross-entropy (eq. 11) are

    ell_BCE(x, 0) = ell                        call an image normal
    ell_BCE(x, 1) = -log(1 - exp(-ell))        call an image sensitive
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Risk(NamedTuple):
    """What a step minimises and what it reports; all scalars.

    step: the number whose gradient the optimiser follows.
    value: the objective as the paper writes it.
    positive: the part that pushes labelled sensitive images away.
    negative: the part that stands for the risk on normal images; can be below zero.
    """

    step: Tensor
    value: Tensor
    positive: Tensor
    negative: Tensor


def minus_log_one_minus_exp(ell: Tensor, eps: float = 0.0) -> Tensor:
    """-log(1 - exp(-ell)), accurate in value and gradient for ell from 1e-8 to 1e6.

    Below log 2 the difference is formed by expm1, above it by log1p; either alone loses
    all digits at the other end. `eps` > 0 gives the released code's
    -log(1 - exp(-ell) + eps), which is bounded by -log(eps) and slightly negative for
    large ell.

    Args:
        ell: any shape, > 0.
    """
    if eps:
        return -torch.log(1 - torch.exp(-ell) + eps)
    small = ell < math.log(2.0)
    # Each branch sees a harmless 1 where the other one answers, so that no NaN from
    # the unused branch reaches the gradient.
    near_zero = -torch.log(-torch.expm1(-torch.where(small, ell, 1.0)))
    far = -torch.log1p(-torch.exp(-torch.where(small, 1.0, ell)))
    return torch.where(small, near_zero, far)


def mean(ell: Tensor) -> Tensor:
    """Mean over the images; 0 for none (a random batch can lack sensitive images)."""
    return ell.sum() / max(len(ell), 1)


def unsupervised(ell_u, ell_s, ell_n, *, beta=0.0, gamma=0.0) -> Risk:
    """Every unlabeled image is taken for normal (eq. 9); S is not used."""
    negative = mean(ell_u)
    positive = torch.zeros_like(negative)
    return Risk(negative, negative, positive, negative)


def supervised(ell_u, ell_s, ell_n, *, beta=0.0, gamma=0.0) -> Risk:
    """U taken for normal, S for sensitive, each with its own mean (eq. 12)."""
    negative = mean(ell_u)
    positive = mean(minus_log_one_minus_exp(ell_s))
    value = positive + negative
    return Risk(value, value, positive, negative)


def supervised_code(ell_u, ell_s, ell_n, *, beta=0.0, gamma=0.0) -> Risk:
    """The same as the released code has it: one mean over the whole batch, and 1e-6
    inside the logarithm. S then weighs n_S / (n_U + n_S), not 1."""
    images = max(len(ell_u) + len(ell_s), 1)
    negative = ell_u.sum() / images
    positive = minus_log_one_minus_exp(ell_s, eps=1e-6).sum() / images
    value = positive + negative
    return Risk(value, value, positive, negative)


def pu_unbiased(ell_u, ell_s, ell_n, *, beta, gamma=0.0) -> Risk:
    """(1-beta) p_N = p_U - beta p_S put into the supervised risk (eq. 18)."""
    negative = mean(ell_u) - beta * mean(ell_s)
    positive = beta * mean(minus_log_one_minus_exp(ell_s))
    value = positive + negative
    return Risk(value, value, positive, negative)


def pu_non_negative(ell_u, ell_s, ell_n, *, beta, gamma=0.0) -> Risk:
    """The risk on normal images cannot be negative (eq. 19); where its estimate is,
    Algorithm 1 steps on minus that estimate alone, which raises it again."""
    negative = mean(ell_u) - beta * mean(ell_s)
    positive = beta * mean(minus_log_one_minus_exp(ell_s))
    value = positive + negative.clamp(min=0)
    # torch.where on the scalar asks no device for its sign: no wait on a GPU.
    step = torch.where(negative >= 0, positive + negative, -negative)
    return Risk(step, value, positive, negative)


def pu_absolute(ell_u, ell_s, ell_n, *, beta, gamma=0.0) -> Risk:
    """|.| in place of max(0, .) (after eq. 19): what the released code trains with."""
    negative = mean(ell_u) - beta * mean(ell_s)
    positive = beta * mean(minus_log_one_minus_exp(ell_s))
    value = positive + negative.abs()
    return Risk(value, value, positive, negative)


def pnu(ell_u, ell_s, ell_n, *, beta, gamma=0.5) -> Risk:
    """A few labelled normal images as well: their mean replaces a share gamma of the
    estimate from U and S (gamma = 0 is `pu_non_negative`, gamma = 1 needs no U)."""
    from_mixture = mean(ell_u) - beta * mean(ell_s)
    negative = (1 - gamma) * from_mixture + gamma * (1 - beta) * mean(ell_n)
    positive = beta * mean(minus_log_one_minus_exp(ell_s))
    value = positive + negative.clamp(min=0)
    step = torch.where(negative >= 0, positive + negative, -negative)
    return Risk(step, value, positive, negative)


METHODS = {
    "unsupervised": unsupervised,
    "supervised": supervised,
    "supervised_code": supervised_code,
    "pu_unbiased": pu_unbiased,
    "pu_non_negative": pu_non_negative,
    "pu_absolute": pu_absolute,
    "pnu": pnu,
}

# Settings that a method does not look at, so that they do not make it train twice.
IGNORES = {
    "unsupervised": ("beta", "gamma", "batch_sensitive", "batch_normal"),
    "supervised": ("beta", "gamma", "batch_normal"),
    "supervised_code": ("beta", "gamma", "batch_normal"),
    "pu_unbiased": ("gamma", "batch_normal"),
    "pu_non_negative": ("gamma", "batch_normal"),
    "pu_absolute": ("gamma", "batch_normal"),
    "pnu": (),
}


def risk_and_weights(
    ell: Tensor, sizes: Sequence[int], *, method: str, beta: float, gamma: float
) -> tuple[Risk, Tensor]:
    """The risk of a batch, and d step / d ell of each of its images.

    The weight of one image hangs on all the others: on their number, and on the sign
    of the negative risk. Once the weights are known, the gradient of sum(weight * ell)
    over any part of the batch is that part's share of the step's gradient, for every
    method. So a batch can be spread over processes or taken in pieces.

    Args:
        ell: (B,) errors of the images of U, S and N, in this order.
        sizes: how many of them are of U, of S and of N.
    """
    ell = ell.detach().requires_grad_()
    risk = METHODS[method](*ell.split(list(sizes)), beta=beta, gamma=gamma)
    (weights,) = torch.autograd.grad(risk.step, ell)
    return Risk(*(term.detach() for term in risk)), weights
