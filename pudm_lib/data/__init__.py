"""U, S, N and held-out images, from a name, a folder or a file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="datasets known pixels splits".split(),
    submod_attrs={
        "datasets": "GROUPS data_stamp find_own open_dataset".split(),
        "known": "NAMES found_sets".split(),
        "pixels": """
            DataError ImageSource SHOWN cut_in_two decode from_png held_out in_files
            in_memory pixel_features read_resized resize to_display
            to_model_range to_png to_uint8
        """.split(),
        "splits": """
            DataSettings PUSplit condition_groups condition_labels image_size
            make_split sensitive_classes sensitive_labels
        """.split(),
    },
)
