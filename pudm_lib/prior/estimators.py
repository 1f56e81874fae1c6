"""Estimates of beta, the share of sensitive images in U, from one score an image.

With p_U = beta p_S + (1 - beta) p_N and any score g of an image,

    beta <= inf_g p_U(g) / p_S(g),

with equality where some scores are reached by sensitive images alone
(irreducibility). The estimators differ in how they look for that infimum. All take
(scores_u, scores_s): (n_U,) and (n_S,) floats, higher for what looks like S, and return
a share in [0, 1].

They raise ValueError for an empty, constant or non-finite set of scores.
"""

from functools import partial

import numpy as np
from scipy.optimize import isotonic_regression, nnls
from scipy.special import expit

# The estimators that smooth do it on a grid of scores this fine.
BINS = 200
WIDTH = 0.5  # of the Gaussian kernels of penL1 and KM, in deviations of all scores
HEAVY = 100.0


def elkan_noto(scores_u: np.ndarray, scores_s: np.ndarray) -> float:
    """mean_U g / mean_S g with g = P(S | x) (Elkan and Noto 2008); scores are the
    log-odds of g. Too high by what g gives to normal images."""
    check_scores(scores_u, scores_s)
    return min(1.0, float(expit(scores_u).mean() / expit(scores_s).mean()))


def best_bin(scores_u: np.ndarray, scores_s: np.ndarray) -> float:
    """q_U(c) / q_S(c), the shares of U and S above c, at the c that has the lowest
    upper bound of it (BBE; Garg et al. 2021)."""
    check_scores(scores_u, scores_s)
    delta, gamma = 0.1, 0.01
    n_u, n_s = len(scores_u), len(scores_s)
    c = np.sort(scores_s)
    q_s = 1 - np.searchsorted(c, c) / n_s
    q_u = 1 - np.searchsorted(np.sort(scores_u), c) / n_u
    noise = sum(np.sqrt(np.log(4 / delta) / (2 * n)) for n in (n_u, n_s))
    best = np.argmin(q_u / q_s + (1 + gamma) / q_s * noise)
    return min(1.0, float(q_u[best] / q_s[best]))


def dedpul(scores_u: np.ndarray, scores_s: np.ndarray) -> float:
    """The largest beta for which beta f_S stays below f_U, up to noise (DEDPUL; Ivanov
    2020): mean_U max(0, 1 - beta r) = 1 - beta with r = f_S / f_U, which says that the
    part of beta f_S above f_U is empty.

    Both densities are by kernels, r is made to rise with the score.
    """
    check_scores(scores_u, scores_s)
    width = 0.5 * scores_u.std() * len(scores_s) ** -0.2
    centres, shares = _binned(scores_u, scores_s, margin=3 * width)
    kernel = _gaussian(centres, centres, width)
    f_u, f_s = (kernel / kernel.sum(0) @ share for share in shares)
    f_u = np.maximum(f_u, 1e-12)
    r = isotonic_regression(f_s / f_u, weights=f_u).x
    # The part of f_S above f_U / beta that passes for noise.
    allowed = 0.4 / np.sqrt(len(scores_s))
    low, high = 0.0, 1.0
    for _ in range(30):
        beta = (low + high) / 2
        # mean_U max(0, 1 - beta r) - (1 - beta), where mean_U r = 1
        above = (f_u * np.maximum(beta * r - 1, 0)).sum()
        low, high = (beta, high) if above <= allowed * beta else (low, beta)
    return low


def penalised_l1(scores_u: np.ndarray, scores_s: np.ndarray) -> float:
    """argmin over beta of mean_l max(0, b_l)^2 / penalty - beta + 1 with
    b_l = beta mean_S phi_l - mean_U phi_l and 60 Gaussian kernels phi_l, evenly over
    the scores (penL1; du Plessis, Niu and Sugiyama 2015): as large a beta as costs
    little mass of beta p_S above p_U. Too high for scores that pile up in a spike
    narrower than the kernels.
    """
    check_scores(scores_u, scores_s)
    penalty = 3e-5  # larger lets beta grow further
    scores = np.concatenate([scores_u, scores_s])
    centres, shares = _binned(scores_u, scores_s)
    middles = np.linspace(scores.min(), scores.max(), 60)
    phi = _gaussian(middles, centres, WIDTH * scores.std())
    mean_u, mean_s = (phi @ share for share in shares)
    grid = np.linspace(0, 1, 1001)
    b = np.maximum(0, grid[:, None] * mean_s - mean_u)  # (1001, 60)
    return float(grid[np.argmin((b**2).mean(1) / penalty - grid + 1)])


def kernel_mean(scores_u: np.ndarray, scores_s: np.ndarray, variant: int) -> float:
    """KM1 and KM2 (Ramaswamy, Scott and Tewari 2016): lambda phi(U) + (1 - lambda)
    phi(S) is a mean of images as long as lambda <= 1 / (1 - beta); from there on its
    distance d(lambda) to all such means grows.

    KM1 takes the lambda where the slope of d passes 0.8 of its slope at 1 plus 0.2 of
    |phi(U) - phi(S)|, KM2 where it passes |phi(U) - phi(S)| / sqrt(n_S). d is found by
    non-negative least squares on a grid of scores.
    """
    check_scores(scores_u, scores_s)
    num_points = 50  # scores of which a mean may be made
    points, (mean_u, mean_s) = _binned(scores_u, scores_s, bins=num_points)
    width = WIDTH * np.concatenate([scores_u, scores_s]).std()
    values, vectors = np.linalg.eigh(_gaussian(points, points, width))
    # root.T root = kernel; no direction is left flat, or the solver may go in circles.
    root = np.sqrt(np.maximum(values, 1e-6))[:, None] * vectors.T
    # A heavy last row makes the weights of the mean add up to 1.
    system = np.vstack([root, np.full(num_points, HEAVY)])

    def distance(weight: float) -> float:
        target = root @ (weight * mean_u + (1 - weight) * mean_s)
        return nnls(system, np.append(target, HEAVY), maxiter=100 * num_points)[1]

    def slope(weight: float, step: float = 0.01) -> float:
        return (distance(weight + step) - distance(weight)) / step

    apart = float(np.linalg.norm(root @ (mean_u - mean_s)))
    passes = apart / len(scores_s) ** 0.5
    if variant == 1:
        passes = 0.8 * slope(1.0) + 0.2 * apart
    low, high = 0.0, 1.0
    for _ in range(10):
        beta = (low + high) / 2
        flat = slope(1 / (1 - beta)) < passes
        low, high = (beta, high) if flat else (low, beta)
    return low


ESTIMATORS = {
    "elkan_noto": elkan_noto,
    "best_bin": best_bin,
    "dedpul": dedpul,
    "penalised_l1": penalised_l1,
    "km1": partial(kernel_mean, variant=1),
    "km2": partial(kernel_mean, variant=2),
}


def _binned(
    scores_u: np.ndarray, scores_s: np.ndarray, *, margin: float = 0.0, bins: int = BINS
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The centres of a grid over both sets, and the shares of each in its bins."""
    low = min(scores_u.min(), scores_s.min()) - margin
    high = max(scores_u.max(), scores_s.max()) + margin
    edges = np.linspace(low, high, bins + 1)
    shares = tuple(np.histogram(s, edges)[0] / len(s) for s in (scores_u, scores_s))
    return (edges[1:] + edges[:-1]) / 2, shares


def _gaussian(x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((x[:, None] - y) / width) ** 2)  # (n, m)


def check_scores(scores_u: np.ndarray, scores_s: np.ndarray) -> None:
    """Raise ValueError for scores that no estimator can use."""
    for name, scores in (("scores_u", scores_u), ("scores_s", scores_s)):
        if scores.ndim != 1 or len(scores) == 0:
            raise ValueError(
                f"{name} has shape {scores.shape}, must be (n,) with n >= 1"
            )
        check_finite(name, scores)
    if np.ptp(np.concatenate([scores_u, scores_s])) == 0:
        raise ValueError(
            f"all scores are {scores_u[0]:g}: constant scores cannot tell U from S"
        )


def check_finite(name: str, values: np.ndarray) -> None:
    """Raise ValueError with the number of values that are not finite, if any."""
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} values that are NaN or infinite")
