"""beta, the share of sensitive images in U, from U and S alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="estimate estimators scores two_sample".split(),
    submod_attrs={
        "estimate": """
            DEFAULT_METHOD Estimate REPLICATES estimate_beta estimate_from_scores
        """.split(),
        "estimators": "ESTIMATORS best_bin dedpul elkan_noto penalised_l1".split(),
        "scores": """
            WARNING_LEVEL out_of_fold_scores selection_p_value warn_of_selection
        """.split(),
        "two_sample": "energy_test permutation_test".split(),
    },
)
