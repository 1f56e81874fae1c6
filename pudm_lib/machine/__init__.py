"""What computes, and where files lie."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="""
        checks compiling devices paths processes stopping store terminal
    """.split(),
    submod_attrs={
        "checks": "check check_settings setting".split(),
        "compiling": "COMPILE compiled".split(),
        "devices": """
            available_cores cpu_threads environment resolve_device resolve_precision
            versions what_fits
        """.split(),
        "paths": """
            build_root curated_figures_root data_root figures_root headless
            make_folder one_line project_root remove_leftovers runs_root
            write_atomically
        """.split(),
        "processes": """
            agreed is_main locked num_processes wait_for
        """.split(),
        "stopping": """
            Stopped asked_to_stop end_after leave program start_worker
        """.split(),
        "store": """
            CheckpointError VERSION load_tensors plain save_tensors short_hash stages
            with_prefix without_prefix
        """.split(),
    },
)
