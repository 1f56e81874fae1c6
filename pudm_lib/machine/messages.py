"""Errors as a user reads them: one line each."""

# Some errors of libraries list every tensor of a model.
LONGEST = 300


def one_line(error: BaseException | str | None) -> str:
    """The message without line breaks, cut where it grows long; the kind of error where
    it has none."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= LONGEST else line[:LONGEST] + " ..."
