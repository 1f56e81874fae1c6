"""Keep diffusion models from generating what nobody wants: `import pudm_lib as pu`.

Nothing is loaded before it is used. What chapters use most has a short name here; the
rest is in the rooms, `pu.diffusion.add_noise`. README.md beside this file shows them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="""
        machine data diffusion training measures prior steering detection experiments
        studies book widgets
    """.split(),
    submod_attrs={
        "book.page": ["Page"],
        "book.style": """
            BLACK BLUE GREEN GREY METHOD_COLOURS METHOD_LABELS NORMAL ORANGE PURPLE
            SENSITIVE SKY VERMILLION YELLOW
        """.split(),
        "book": ["style"],
        "data.pixels": "to_model_range to_uint8".split(),
        "data.splits": ["make_split"],
        "diffusion": "elbo mixtures networks".split(),
        "diffusion.process": ["random_generator"],
        "diffusion.sampling": "SamplingSettings sample".split(),
        "experiments.many": "frame run_many".split(),
        "experiments.one": "draw load_model run".split(),
        "experiments.settings": ["experiment"],
        "measures": ["intervals"],
        "measures.judge": "Judge load_judge".split(),
        "training": ["losses"],
        "training.loop": ["train"],
        "widgets.controls": "Control explore".split(),
    },
)
