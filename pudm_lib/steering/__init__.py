"""Keep the model, move the sampler: the Safe Denoiser and its rivals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="baselines guidance hooks references safe_denoiser weights".split(),
    submod_attrs={
        "baselines": """
            ClassifierGuidance PUClassifier RandomDirection ReleasedCode
            SparseRepellency train_pu_classifier
        """.split(),
        "guidance": "Guided".split(),
        "hooks": "ALPHAS_CUMPROD Hook bounded check_strength".split(),
        "references": """
            Posterior ReferenceDenoiser check_references kernel_posterior
            principal_projection random_projection reference_level
        """.split(),
        "safe_denoiser": "ExactPosterior SafeDenoiser by_time odds_hook".split(),
        "weights": """
            ConstantWeight KernelWeight PosteriorOdds at_time log_odds log_of
        """.split(),
    },
)
