"""The sets known by name, and which are there. Loads nothing: it is asked often."""

from collections.abc import Iterator

from pudm_lib.machine.paths import data_root

NAMES = ("digits", "mnist", "cifar10", "stl10", "celeba")

# Where torchvision keeps them below PUDM_DATA.
FOLDERS = {
    "mnist": "MNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "stl10": "stl10_binary",
    "celeba": "celeba",
}


def found_sets() -> Iterator[str]:
    """Which are found, and where it was looked: lines. Nothing is read; see
    `book.readable_sets`."""
    yield f"data sets, looked for in {data_root()} (set by PUDM_DATA):"
    for name in NAMES:
        place = data_root() / FOLDERS.get(name, "")
        if name not in FOLDERS:
            yield f"  {name:<8} inside scikit-learn"
        elif any(place.glob("*")):
            yield f"  {name:<8} in {place}"
        else:
            yield f"  {name:<8} not found; `python -m pudm_lib data fetch {name}`"
    yield "`python -m pudm_lib doctor` reads them and counts their images"
