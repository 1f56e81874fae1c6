"""What the command line is made of, and text for terminals that lack some letters."""

import argparse
import codecs
import sys
import unicodedata
from collections.abc import Callable

SIGNS = {"≥": ">=", "≤": "<=", "×": "x", "·": "*", "→": "->", "–": "-", "…": "..."}


def print_anywhere() -> None:
    """Have stdout and stderr print in plain letters what their encoding lacks."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a notebook stands in for them
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeEncodeError) -> tuple[str, int]:
    lacking = error.object[error.start : error.end]
    return "".join(in_ascii(sign) for sign in lacking), error.end


def in_ascii(sign: str) -> str:
    """
    >>> [in_ascii(sign) for sign in "≥éτ²∞"]
    ['>=', 'e', 'tau', '2', '?']
    """
    name = unicodedata.name(sign, "")
    if name.startswith("GREEK SMALL LETTER"):
        return name.split()[3].lower()
    bare = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return SIGNS.get(sign) or bare or "?"


class Parser(argparse.ArgumentParser):
    """fill: adds the arguments of a command once it is asked for."""

    def __init__(self, *, fill: Callable | None = None, **options):
        super().__init__(allow_abbrev=False, **options)
        self.fill = fill

    def parse_known_args(self, args=None, namespace=None):
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        raise ValueError(f"{message} (see {self.prog} --help)")
