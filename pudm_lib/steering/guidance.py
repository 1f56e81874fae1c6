"""Classifier-free guidance (Ho and Salimans 2022), with the Safe Denoiser inside (Kim
et al. 2025, eqs. 8 and 9).

A network that was trained with and without the condition c predicts two means of the
clean image, E_data[x|x_t, c] and E_data[x|x_t]. Their difference is what the condition
adds, and guidance adds it guidance_scale times, to the Safe Denoiser's mean:

    x0 = E_safe[x|x_t] + guidance_scale (E_data[x|x_t, c] - E_data[x|x_t])           (8)

The correction in it, E_safe - E_data, does not know of c. Theorem 3.2 holds given c as
well, with means and odds given c, so the correction can be taken from there:

    x0 = E_safe[x|x_t, c] + (guidance_scale - 1) (E_data[x|x_t, c] - E_data[x|x_t])

(8) gives E_safe[x|x_t] at guidance_scale 0, this form E_safe[x|x_t, c] at 1.
"""

from collections.abc import Sequence

import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from pudm_lib.diffusion.networks import null_class
from pudm_lib.diffusion.process import eps_from_x0, x0_from_eps
from pudm_lib.diffusion.sampling import DenoisedHook
from pudm_lib.steering.hooks import ALPHAS_CUMPROD, bounded, check_strength


class Guided(nn.Module):
    """A noise predictor, `guided(x_t, t, c).sample`, of a model that takes conditions;
    each image has its own.

    Args:
        model: see `networks.make_unet`.
        guidance_scale: lambda, >= 0 and finite: 0 ignores the condition, 1 gives the
            model as it was trained for c, more overstates c.
        safe: a hook as `sampling.sample` takes it; corrects E_data[x|x_t] (8).
        safe_given: a hook for each condition, made of that condition's references;
            corrects E_data[x|x_t, c] of the images with that condition.
        negative: a condition to stay away from: - mu (E_data[x|x_t, negative] -
            E_data[x|x_t]) is added (9).
        mu: >= 0 and finite.
        clip: bound of the means, 1 for images; None for none.

    Raises:
        ValueError: a model without conditions, a scale or condition out of its range,
            another number of hooks than of conditions.
    """

    def __init__(
        self,
        model: nn.Module,
        guidance_scale: float,
        alphas_cumprod: Tensor = ALPHAS_CUMPROD,
        *,
        safe: DenoisedHook | None = None,
        safe_given: Sequence[DenoisedHook] = (),
        negative: int = 0,
        mu: float = 0.0,
        clip: float | None = 1.0,
    ):
        super().__init__()
        self.null = null_class(model)
        check_strength(guidance_scale=guidance_scale, mu=mu)
        if not 0 <= negative < self.null:
            raise ValueError(f"negative={negative}, must be in 0 .. {self.null - 1}")
        if len(safe_given) not in (0, self.null):
            raise ValueError(f"{len(safe_given)} hooks for {self.null} conditions")
        self.model, self.alphas_cumprod, self.clip = model, alphas_cumprod, clip
        self.guidance_scale, self.negative, self.mu = guidance_scale, negative, mu
        self.safe, self.safe_given = safe, safe_given

    def forward(self, x_t: Tensor, t: Tensor, c: Tensor) -> UNet2DOutput:
        if not bool(((c >= 0) & (c <= self.null)).all()):
            raise ValueError(
                f"conditions {c.unique().tolist()}, must be in 0 .. {self.null - 1}, "
                f"or {self.null} for none"
            )
        labels = [torch.full_like(c, self.null), c]
        labels += [torch.full_like(c, self.negative)] if self.mu else []
        e_data, e_given, *e_negative = self._means(x_t, t, labels)
        # Half precision, where it is asked for, is for the network and not for hooks.
        with torch.autocast(x_t.device.type, enabled=False):
            x0 = e_data + self.guidance_scale * (e_given - e_data)
            for e in e_negative:
                x0 = x0 - self.mu * (e - e_data)  # (9)
            step = int(t[0])
            if self.safe is not None:
                x0 = x0 + (self.safe(e_data, x_t, step) - e_data)  # (8)
            for condition, hook in enumerate(self.safe_given):
                of_it = (c == condition).nonzero()[:, 0]
                if len(of_it):
                    before = e_given[of_it]
                    x0 = x0.index_add(0, of_it, hook(before, x_t[of_it], step) - before)
        return UNet2DOutput(sample=eps_from_x0(x_t, x0, t, self.alphas_cumprod))

    def _means(self, x_t: Tensor, t: Tensor, labels: list[Tensor]) -> list[Tensor]:
        """E_data[x|x_t, label] for each of the labels, in one call of the network."""
        count = len(labels)
        x_t, t = torch.cat([x_t] * count), torch.cat([t] * count)
        eps_hat = self.model(x_t, t, torch.cat(labels)).sample
        x0 = x0_from_eps(x_t, eps_hat, t, self.alphas_cumprod)
        return list(bounded(x0, self.clip).chunk(count))
