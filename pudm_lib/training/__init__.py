"""The objectives of PUDM side by side, and the one loop that follows them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="augment batches loop losses settings state".split(),
    submod_attrs={
        "augment": "AUGMENTATIONS affine".split(),
        "batches": "Batches Shuffled TrainingImages batch_order batch_pieces".split(),
        "loop": "TrainingError train".split(),
        "losses": """
            IGNORES METHODS Risk mean minus_log_one_minus_exp pnu pu_absolute
            pu_non_negative pu_unbiased risk_and_weights supervised supervised_code
            unsupervised
        """.split(),
        "settings": "TrainingSettings".split(),
        "state": "HISTORY TrainingState".split(),
    },
)
