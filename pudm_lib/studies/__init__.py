"""Long measurements that chapters show."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="""
        beta_estimates detector_runs detector_sets detector_tables mnist_halves
        rates_over_beta steered_sets toy
    """.split(),
    submod_attrs={
        "beta_estimates": """
            BETAS Draw draw_split measure_draw measure_estimates
        """.split(),
        "detector_runs": """
            BATCH COARSE_LEVELS LEVELS Measured detector_images measure_model
        """.split(),
        "detector_sets": "STUDIED measure_detectors measure_set parameters".split(),
        "detector_tables": """
            LEADS SCORES all_detectors from_sweep mean_areas table_numbers
        """.split(),
        "mnist_halves": "SHEET measure_half sheet_of_half".split(),
        "rates_over_beta": """
            COMPARED DISTANCES grid_experiments grid_samples measure_grid point
            points_of run_rows running_mean
        """.split(),
        "steered_sets": """
            KEPT SHOWN measure_steering median_nearest separation steered
        """.split(),
        "toy": """
            TRUE_BETA USUAL judge_toy leaked measure_forms measure_leaks sample_toy
            toy_images train_toy
        """.split(),
    },
)
