"""What a value may be: said once, where a setting is declared or an argument used."""

from collections.abc import Iterable
from dataclasses import field, fields
from typing import Any

# The least integer; an interval, "[0, 1)", in which inf stands for any finite number;
# or the words to choose from.
Allowed = int | str | Iterable[str]


def check(allowed: Allowed, **values: Any) -> None:
    """Raise ValueError, with its name and what is allowed, for a value that is not.

    >>> check("[0, 1)", beta=1.0)
    Traceback (most recent call last):
    ValueError: beta=1.0, must be in [0, 1)
    """
    for name, value in values.items():
        # Written as "not inside", so that NaN is refused as well.
        if not _inside(value, allowed):
            raise ValueError(f"{name}={value!r}, must be {_in_words(allowed)}")


def setting(default: Any, what: str, allowed: Allowed) -> Any:
    """A dataclass's field that knows its range and says it in its help."""
    words = {"help": f"{what}, {_in_words(allowed)}", "allowed": allowed}
    return field(default=default, metadata=words)


def check_settings(settings: Any) -> None:
    """`check` every field that `setting` made."""
    for f in fields(settings):
        check(f.metadata["allowed"], **{f.name: getattr(settings, f.name)})


def _inside(value: Any, allowed: Allowed) -> bool:
    if isinstance(allowed, int):
        return value >= allowed
    if not isinstance(allowed, str):
        return value in allowed
    low, high = (float(end) for end in allowed[1:-1].split(","))
    at_an_end = (value == low and "[" in allowed) or (value == high and "]" in allowed)
    return low < value < high or at_an_end


def _in_words(allowed: Allowed) -> str:
    if isinstance(allowed, int):
        return f">= {allowed}"
    if not isinstance(allowed, str):
        return f"one of {', '.join(allowed)}"
    if "inf" not in allowed:
        return f"in {allowed}"
    low = allowed[1:].split(",")[0]
    return f"finite and {'>=' if '[' in allowed else '>'} {low}"
