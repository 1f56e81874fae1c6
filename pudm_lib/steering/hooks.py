"""What the hooks of `sampling.sample` share: hook(x0_hat, x_t, t) -> x0_hat, for any
number of images at once."""

import math
from dataclasses import dataclass

from torch import Tensor

from pudm_lib.diffusion.process import alphas_cumprod_of, linear_betas

# The schedule of all parts that are given none: linear, 1000 steps.
ALPHAS_CUMPROD = alphas_cumprod_of(linear_betas())


def bounded(x: Tensor, clip: float | None) -> Tensor:
    return x if clip is None else x.clamp(-clip, clip)


def check_strength(*, positive: bool = False, **values: float) -> None:
    """Refuse, by name, what is not finite and >= 0 (> 0 if `positive`)."""
    for name, value in values.items():
        if not 0 <= value < math.inf or (positive and value == 0):
            least = "> 0" if positive else ">= 0"
            raise ValueError(f"{name}={value}, must be finite and {least}")


@dataclass(kw_only=True)
class Hook:
    """A hook that acts in a window of time; `moved` of each kind says what it does.

    window: first and last t at which it acts, both included.
    clip: bound of the prediction it returns, 1 for images; None for none.
    num_train_timesteps: T of the schedule that the window is of.

    Raises:
        ValueError: a window outside the schedule.
    """

    window: tuple[int, int] = (0, 999)
    clip: float | None = 1.0
    num_train_timesteps: int = 1000

    def __post_init__(self):
        first, last = self.window
        if not 0 <= first <= last < self.num_train_timesteps:
            raise ValueError(
                f"window={tuple(self.window)}, must be (first, last) with 0 <= first "
                f"<= last <= {self.num_train_timesteps - 1}, the schedule's last t"
            )

    def __call__(self, x0_hat: Tensor, x_t: Tensor, t: int) -> Tensor:
        first, last = self.window
        if not first <= t <= last:
            return x0_hat
        return bounded(self.moved(x0_hat, x_t, t), self.clip)
