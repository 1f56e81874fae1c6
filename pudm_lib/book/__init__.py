"""Figures with their numbers, and chapters without a reader."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules="""
        chapters claims committed data_sets doctor execute fresh page runner style
    """.split(),
    submod_attrs={
        "chapters": """
            Chapter check_settings check_values notebooks_folder parse_settings
            read_chapter settings_of solutions
        """.split(),
        "claims": """
            as_lines as_markdown as_text check failed predict read_claims
            read_records write_into
        """.split(),
        "committed": "committed_folder study".split(),
        "data_sets": "fetch_set readable_sets show_split".split(),
        "doctor": "machine packages report seconds_a_model".split(),
        "fresh": """
            check_publishable code_hash fingerprint is_up_to_date keep publish
        """.split(),
        "page": "Page".split(),
        "runner": "nbval_copies run_book".split(),
        "style": """
            METHOD_COLOURS METHOD_LABELS error_bars image_sheet interval_rows
            legend_below new_figure toy_plane use_book_style
        """.split(),
    },
)
