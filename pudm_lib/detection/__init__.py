"""Real or generated? SeDID and its rivals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="batched learned outcomes roc rules scores shortcuts t_error".split(),
    submod_attrs={
        "batched": "over_batches".split(),
        "learned": """
            PIXEL_NUMBERS fit_logistic fit_resnet log_errors logistic_score
            network_score pixel_statistics step_inputs
        """.split(),
        "outcomes": """
            Outcome PAPER_STEP both by_network by_pixels by_rule by_steps early half
            late paper_curve relabelled sweep with_nothing_to_find
        """.split(),
        "roc": """
            accuracy as_scores auc auc_interval best_threshold bootstrap_interval
            mean_auc mean_auc_interval real_images_needed tpr_at_fpr
        """.split(),
        "rules": "Rule choose_rule split_indices summary".split(),
        "scores": "denoising_loss dire pia secmi sedid".split(),
        "shortcuts": """
            blurred crop_as_released gaussian_images jpeg matched_images
            matched_indices noisy normal_images quantise
        """.split(),
        "t_error": """
            all_t_se check_t_se denoise move predict_eps reverse t_errors up_and_back
        """.split(),
    },
)
