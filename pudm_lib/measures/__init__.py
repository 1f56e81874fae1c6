"""What samples are worth: the judge, distances, rates and their intervals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="fitting intervals judge numbers second_judge".split(),
    submod_attrs={
        "fitting": ["fit"],
        "intervals": "paired_t_test pooled_rate student_interval".split(),
        "judge": "Judge JudgeNetwork classes_of load_judge".split(),
        "numbers": """
            copies_share corrected_rate frechet_distance inception_distance
            kernel_distance matched_distance measure nearest_distance not_measured
            wilson_interval
        """.split(),
        "second_judge": ["SecondJudge"],
    },
)
