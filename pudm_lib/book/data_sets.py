"""What data sets are found on this machine, and a look at the images of a split."""

from collections.abc import Iterator
from pathlib import Path

from pudm_lib.book.style import image_sheet, new_figure
from pudm_lib.data.datasets import open_dataset
from pudm_lib.data.known import NAMES
from pudm_lib.data.pixels import DataError
from pudm_lib.data.splits import make_split
from pudm_lib.experiments.settings import Experiment
from pudm_lib.machine.paths import data_root, make_folder, one_line


def readable_sets() -> Iterator[str]:
    """Which of the sets known by name can be read, and how many images they have."""
    yield f"data sets, looked for in {data_root()} (set by PUDM_DATA):"
    for name in NAMES:
        try:
            source = open_dataset(name)
        except DataError as error:
            reason = one_line(error.__cause__)
            what = "not found" if "not found" in reason else f"unreadable ({reason})"
            yield f"  {name:<8} {what}; `python -m pudm_lib data fetch {name}`"
        else:
            where = " (inside scikit-learn)" if name == "digits" else ""
            yield f"  {name:<8} {_counts(source)} images{where}"


def fetch_set(name: str) -> str:
    """Download a set into PUDM_DATA; what there is then, in words."""
    source = open_dataset(name, download=True)
    where = "scikit-learn" if name == "digits" else data_root()
    return f"{name}: {_counts(source)} images in {where}"


def _counts(source) -> str:
    return " + ".join(f"{len(y):,} {part}" for part, y in source.labels.items())


def show_split(chosen: Experiment, out: Path) -> str:
    """Draw images of an experiment's split into a file; what it shows, in words."""
    split = make_split(chosen.data, chosen.seed)
    figure, axes = new_figure(1, 3, figsize=(9, 3.4))
    sheets = {
        "unlabeled U, hidden sensitive marked": split.x_unlabeled,
        "labelled sensitive S": split.x_sensitive,
        "held-out normal": split.x_test,
    }
    marks = (split.hidden_labels, None, None)
    for axis, (title, images), marked in zip(axes, sheets.items(), marks, strict=True):
        image_sheet(axis, images[:64], columns=8, marked=marked)
        axis.set_title(title)
    make_folder(out.parent)
    figure.savefig(out, format="png", dpi=120, bbox_inches="tight")
    return (
        f"{out}: {len(split.x_unlabeled):,} unlabeled images, "
        f"{split.sensitive_share:.1%} of them sensitive"
    )
