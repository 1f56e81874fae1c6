"""A diffusion model, exact and learned."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="elbo mixtures networks pretrained process sampling".split(),
    submod_attrs={
        "elbo": """
            elbo_monte_carlo elbo_terms eps_loss_weights model_density_on_grid
            normal_quadrature
        """.split(),
        "mixtures": """
            ExactDenoiser GaussianMixture pu_mixture pu_toy sensitive_probability
        """.split(),
        "networks": "MLPDenoiser UNETS make_unet null_class".split(),
        "pretrained": "PretrainedError content_stamp load_pretrained".split(),
        "process": """
            add_noise alphas_cumprod_of at denoising_error eps_from_x0
            forward_posterior_mean linear_betas posterior_variances random_generator
            reverse_mean reverse_variances step_betas vp_alphas_cumprod x0_from_eps
        """.split(),
        "sampling": "SAMPLING SamplingSettings make_scheduler sample".split(),
    },
)
