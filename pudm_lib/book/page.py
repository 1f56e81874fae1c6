"""A chapter's figures: one call draws, saves, shows and closes each of them.

    page = Page("02_train_a_denoiser", globals())

    with page.figure("02_loop", figsize=(7, 2.8)) as (fig, ax):
        ax.plot(losses)
        fig.numbers(ell=losses)
        fig.check("the error ends below half of D", last / D, at_most=0.5)
        fig.alt("Line plot of the error, which falls.")

    page.verdict()

Inside the block all is plain matplotlib. On leaving it, NN_name.png and NN_name.json
are written under figures_root()/<preset>/ and the picture is displayed, once, with its
alternative text. README's table, `python -m pudm_lib claims` and the tests read the
JSON; nobody types a result twice.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Image, display
from matplotlib.figure import Figure

from pudm_lib.book.chapters import check_values, notebooks_folder, read_chapter
from pudm_lib.book.claims import as_lines, check, failed, predict
from pudm_lib.book.committed import committed_folder, study
from pudm_lib.book.style import new_figure, use_book_style
from pudm_lib.experiments.settings import check_preset
from pudm_lib.machine.devices import environment
from pudm_lib.machine.paths import figures_root, write_atomically
from pudm_lib.machine.store import plain


class PageFigure(Figure):
    """matplotlib's figure, and what a reader and a program should know of it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.shown: dict[str, Any] = {}
        self.claims: list[dict] = []
        self.words = ""

    def numbers(self, **shown) -> None:
        """What is drawn, by name."""
        self.shown |= shown

    def alt(self, words: str) -> None:
        """What a reader who cannot see the picture should know of it; line breaks in it
        are for the author."""
        self.words = " ".join(words.split())

    def check(self, text: str, value: float, **bounds) -> None:
        """Mathematics, or a bound set by what was seen; see `claims.check`."""
        self.claims.append(check(text, value, **bounds))

    def predict(self, text: str, value: float, **bounds) -> None:
        """A sentence written down before its seeds were run; see `claims.predict`."""
        self.claims.append(predict(text, value, **bounds))


class Page:
    """One run of a chapter: its parameters, its figures and what they claim.

    Args:
        chapter: the chapter's name, "NN_words".
        names: the chapter's globals(), read at once, so make the page before any
            parameter is changed.
        presets: those under which the chapter's claims are judged.

    Attributes:
        parameters: name -> value, of all names in the parameters cell.
        device: on which the numbers are made: cpu, cuda or auto.
        judged: whether claims are kept and asserted: each parameter has the value that
            stands in the chapter's file, but for the preset and `studies`.
    """

    def __init__(
        self,
        chapter: str,
        names: Mapping[str, Any],
        *,
        presets: Sequence[str] = ("laptop",),
    ):
        defaults = read_chapter(notebooks_folder() / f"{chapter}.py").parameters
        self.chapter, self.preset = chapter, names["preset"]
        check_preset(self.preset)
        self.parameters = {name: names[name] for name in defaults}
        check_values(defaults, self.parameters)
        free = {name: self.parameters.get(name) for name in ("preset", "studies")}
        as_written = self.parameters | free == defaults | free
        self.judged = as_written and self.preset in presets
        self.device, self.claims = "cpu", []
        use_book_style()

    def __str__(self) -> str:
        given = ", ".join(f"{n}={v!r}" for n, v in self.parameters.items())
        return f"{given}; claims {'judged' if self.judged else 'not judged'}"

    @contextmanager
    def figure(
        self,
        name: str,
        rows: int = 1,
        columns: int = 1,
        *,
        made_for: Mapping[str, Any] | None = None,
        record: Mapping[str, Any] | None = None,
        **options,
    ) -> Iterator[tuple[PageFigure, Any]]:
        """A figure and its axes: one, or a flat array of rows * columns.

        Args:
            name: "NN_words"; the name of its files.
            made_for: settings of the numbers besides the page's parameters.
            record: of the committed figure that the numbers were read from, by `study`:
                its parameters and environment are theirs.
            options: as `plt.subplots` takes them.

        Raises:
            ValueError: no alternative text.
            OSError: the folder cannot be written.
        """
        fig, axes = new_figure(rows, columns, FigureClass=PageFigure, **options)
        try:
            yield fig, axes[0] if axes.size == 1 else axes
            if not fig.words.strip():
                raise ValueError(f"figure {name!r} needs an alternative text")
            picture = io.BytesIO()
            fig.savefig(picture, format="png", dpi=110, bbox_inches="tight")
        finally:
            plt.close(fig)  # or the inline backend would show it a second time
        claims = fig.claims if self.judged else []
        self.claims += claims
        source = record or {
            "parameters": plain(self.parameters | dict(made_for or {})),
            "environment": environment(self.device),
        }
        made = {
            "figure": name,
            "chapter": self.chapter,
            "preset": self.preset,
            "alt": fig.words,
            "parameters": source["parameters"],
            "environment": source["environment"],
            "numbers": plain(fig.shown),
            "claims": plain(claims),
        }
        folder = figures_root() / self.preset
        write_atomically(folder / f"{name}.png", picture.getvalue())
        write_atomically(folder / f"{name}.json", json.dumps(made, indent=1) + "\n")
        display(Image(picture.getvalue(), alt=fig.words))

    def study(
        self,
        name: str,
        measure: Callable[[], Mapping[str, Any]],
        *,
        made_for: Mapping[str, Any],
        dataset: str | None = None,
    ) -> tuple[Mapping[str, Any], dict | None]:
        """The numbers of a long measurement and the committed record they were read
        from, None where the parameter `studies` has them measured now; see
        `committed.study`."""
        where = {"studies": self.parameters["studies"], "preset": self.preset}
        return study(name, measure, made_for=made_for, dataset=dataset, **where)

    def sheet(
        self, file: str, record: Mapping | None, make: Callable[[], bytes]
    ) -> bytes:
        """A PNG of samples, kept beside the figure that shows them, as bytes: that of
        the committed `record` which `study` has read, or what `make` gives."""
        if record:
            png = (committed_folder(record["preset"]) / file).read_bytes()
        else:
            png = make()
        write_atomically(figures_root() / self.preset / file, png)
        return png

    def verdict(self) -> None:
        """Print every claim of the chapter; raise AssertionError for checks that fail.

        A prediction that is refuted is a finding and raises nothing.
        """
        if not self.judged:
            print("other parameters or another preset than the book's: nothing claimed")
        for line in as_lines(self.claims):
            print(line)
        if broken := failed(self.claims):
            raise AssertionError("; ".join(broken))
