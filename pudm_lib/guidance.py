"""Classifier-free guidance (Ho and Salimans 2022), with a Safe Denoiser inside (Kim et
al. 2025, eqs. 8 and 9).

A network that was trained with and without the condition c predicts two means of the
clean image, E_data[x|x_t, c] and E_data[x|x_t]. Their difference is what the condition
adds; guidance adds it guidance_scale times:

    x0 = E_safe[x|x_t] + guidance_scale (E_data[x|x_t, c] - E_data[x|x_t])          (8)

E_safe is the Safe Denoiser's, made of E_data[x|x_t]; without one it is that mean.
"""

import torch
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from pudm_lib.diffusion import (
    alphas_cumprod_of,
    eps_from_x0,
    linear_betas,
    x0_from_eps,
)
from pudm_lib.networks import null_class
from pudm_lib.safe_denoiser import bounded, check_strength
from pudm_lib.sampling import DenoisedHook


class Guided(nn.Module):
    """A noise predictor, `guided(x_t, t, c).sample`, whose clean image is (8).

    guidance_scale is lambda: 0 ignores the condition, 1 gives the model as it was
    trained for c, more overstates c. Both only where `safe` is None.

    Args:
        model: takes conditions, see `networks.make_unet`.
        guidance_scale: >= 0 and finite.
        safe: a hook as `sampling.sample` takes it, for the mean without a condition.
        negative: a condition to stay away from: - mu (E_data[x|x_t, negative] -
            E_data[x|x_t]) is added (9).
        mu: >= 0 and finite.
        clip: bound of the means, 1 for images; None for none.

    Raises:
        ValueError: a model without conditions, a scale out of its range; on call, a
            condition that the model does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        guidance_scale: float,
        alphas_cumprod: Tensor | None = None,
        *,
        safe: DenoisedHook | None = None,
        negative: int = 0,
        mu: float = 0.0,
        clip: float | None = 1.0,
    ):
        super().__init__()
        self.null = null_class(model)
        check_strength("guidance_scale", guidance_scale)
        check_strength("mu", mu)
        if not 0 <= negative < self.null:
            raise ValueError(f"negative={negative}, must be in 0 .. {self.null - 1}")
        if alphas_cumprod is None:
            alphas_cumprod = alphas_cumprod_of(linear_betas())
        self.model, self.alphas_cumprod = model, alphas_cumprod
        self.guidance_scale, self.safe, self.clip = guidance_scale, safe, clip
        self.negative, self.mu = negative, mu

    def forward(self, x_t: Tensor, t: Tensor, c: Tensor) -> UNet2DOutput:
        if not bool(((c >= 0) & (c <= self.null)).all()):
            raise ValueError(
                f"conditions {c.unique().tolist()}, must be in 0 .. {self.null - 1}, "
                f"or {self.null} for none"
            )
        none, negative = (torch.full_like(c, k) for k in (self.null, self.negative))
        terms = [(c, self.guidance_scale), (negative, -self.mu)]
        terms = [(label, scale) for label, scale in terms if scale]
        means = self._means(x_t, t, [none, *(label for label, _ in terms)])
        e_data = means[0]
        x0 = e_data if self.safe is None else self.safe(e_data, x_t, int(t[0]))
        for mean, (_, scale) in zip(means[1:], terms, strict=True):
            x0 = x0 + scale * (mean - e_data)  # (8), (9)
        return UNet2DOutput(sample=eps_from_x0(x_t, x0, t, self.alphas_cumprod))

    def _means(self, x_t: Tensor, t: Tensor, labels: list[Tensor]) -> list[Tensor]:
        """E_data[x|x_t, label] for each of the labels, in one call of the network."""
        count = len(labels)
        x_t, t = torch.cat([x_t] * count), torch.cat([t] * count)
        eps_hat = self.model(x_t, t, torch.cat(labels)).sample
        x0 = x0_from_eps(x_t, eps_hat, t, self.alphas_cumprod)
        return list(bounded(x0, self.clip).chunk(count))
