"""Errors as a user reads them: one line each."""


def one_line(error: BaseException | str | None) -> str:
    """The message without line breaks; the kind of error where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
