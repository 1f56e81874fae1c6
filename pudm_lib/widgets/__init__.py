"""What a reader turns: sliders, buttons, and what they draw."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="beta_explorer controls live_toy noise_and_loss toy_picture".split(),
    submod_attrs={
        "beta_explorer": "describe_beta draw_beta explore_beta index_grid".split(),
        "controls": """
            Control DESCRIPTION explore interactive make_control panel panel_of picture
            png_of show_panel show_static show_words with_value
        """.split(),
        "live_toy": "BETAS Cancelled LiveTraining train_live".split(),
        "noise_and_loss": """
            draw_loss draw_noise explore_loss explore_noise schedules
        """.split(),
        "toy_picture": "LEVELS describe draw_points draw_toy".split(),
    },
)
