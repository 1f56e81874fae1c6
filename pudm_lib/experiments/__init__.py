"""One frozen record, one way through: data, training, sampling, numbers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="budgets keys many one settings".split(),
    submod_attrs={
        "budgets": "PASSES budget network_cost".split(),
        "keys": "result_key training_key".split(),
        "many": "frame run_many side_by_side".split(),
        "one": """
            Result asked_conditions draw folder is_done load_model make_network run
        """.split(),
        "settings": """
            BETA_MULTIPLE Experiment PRESETS check_preset experiment setting_fields
        """.split(),
    },
)
