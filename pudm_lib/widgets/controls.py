"""A picture the reader can turn: first the static figure, then controls below it.

`explore` is the one helper behind every widget of the book. The figure at the controls'
first position is shown as an ordinary picture, which stays in the saved notebook, on a
web page and in a batch run. Only where somebody can move them, with a kernel and not
under PUDM_HEADLESS, the controls follow, and a second picture that they redraw.

What ipywidgets cannot say is done in the page by panel.js: names and states for screen
readers, a value that follows the handle, and a word where the kernel does not answer.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets
import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import Image, display, publish_display_data
from matplotlib.figure import Figure

from pudm_lib.machine.paths import headless, one_line

MOST_CONTROLS = 3
DPI = 100
DESCRIPTION = {"description_width": "initial"}
SCRIPT = Path(__file__).with_name("panel.js")


class Control(NamedTuple):
    """What the reader can move: numbers become a slider, words a row of buttons.

    label: what stands beside it.
    options: values in their order, or a mapping from a shown word to its value.
    first: the value of the static figure; None takes the first option.
    """

    label: str
    options: Sequence | Mapping[str, Any]
    first: Any = None

    def start(self) -> Any:
        """The value of the static figure.

        Raises:
            ValueError: `first` is none of the options, or there is no option.
        """
        named = isinstance(self.options, Mapping)
        values = list(self.options.values() if named else self.options)
        if not values:
            raise ValueError(f"control {self.label!r} has no options")
        first = values[0] if self.first is None else self.first
        if first not in values:
            raise ValueError(f"{self.label}={first!r}, must be one of {values}")
        return first


def explore(
    draw: Callable[..., Figure], *, alt: Callable[..., str], **controls: Control
) -> None:
    """Show a figure, and controls that redraw it below where a reader can move them.

    Args:
        draw: called with a value for each control; returns the figure. It should take
            less than 300 ms, so from what is already computed.
        alt: called alike; one sentence with the numbers that matter. It is the
            picture's alternative text and stands below it as a line.
        controls: name of draw's argument -> `Control`; three at most.

    Raises:
        ValueError: no control, more than three, or a first value that is no option.
    """
    if not 0 < len(controls) <= MOST_CONTROLS:
        names = ", ".join(controls) or "none"
        raise ValueError(
            f"{len(controls)} controls ({names}), must be 1 to {MOST_CONTROLS}"
        )
    first = {name: control.start() for name, control in controls.items()}
    show_static(draw(**first), alt(**first))
    if interactive():
        show_panel(panel(draw, alt, controls))


def interactive() -> bool:
    """Can anybody move a control: a kernel is there, and not the batch runner's."""
    return not headless() and getattr(get_ipython(), "kernel", None) is not None


def show_static(figure: Figure, alt: str) -> None:
    """Display a figure as an ordinary picture with its alternative text."""
    display(Image(png_of(figure), alt=alt))


def show_panel(box: ipywidgets.VBox) -> None:
    """Display what `panel_of` has made, and the script that completes it."""
    publish_display_data({"application/javascript": SCRIPT.read_text()})
    display(box)


def panel_of(
    row: Sequence[ipywidgets.Widget], *below: ipywidgets.Widget
) -> ipywidgets.VBox:
    """Controls side by side, what is below them, and a line that is empty as long as
    the kernel answers."""
    shown = [
        with_value(widget) if isinstance(widget, ipywidgets.SelectionSlider) else widget
        for widget in row
    ]
    notice = ipywidgets.HTML('<div role="alert" class="pudm-notice"></div>')
    controls = ipywidgets.HBox(shown, layout={"flex_flow": "row wrap"})
    return ipywidgets.VBox([controls, notice, *below]).add_class("pudm-panel")


def with_value(slider: ipywidgets.SelectionSlider) -> ipywidgets.HBox:
    """A slider and what it stands at. The slider's own readout can be typed into, which
    moves nothing, and the kernel learns of no place while the handle is dragged."""
    # As wide for every value, or what follows would move.
    value = ipywidgets.HTML(layout={"width": "5em", "margin": "2px 8px"})
    words = escape(json.dumps([word for word, _ in slider.options]))

    def write(change=None) -> None:
        now = escape(slider.label)
        value.value = f'<span class="pudm-value" data-words="{words}">{now}</span>'

    write()
    slider.observe(write, "label")
    return ipywidgets.HBox([slider, value]).add_class("pudm-slider")


def panel(
    draw: Callable[..., Figure],
    alt: Callable[..., str],
    controls: Mapping[str, Control],
) -> ipywidgets.VBox:
    """The controls, a line in words and the place of the picture, top to bottom. The
    place is empty until a control moves: the static figure stands right above it."""
    moved = {name: make_control(control) for name, control in controls.items()}
    line, place = ipywidgets.HTML(), ipywidgets.HTML()
    show_words(line, "Move a control: the picture is drawn again here.")

    def redraw(change=None) -> None:
        values = {name: widget.value for name, widget in moved.items()}
        try:
            words = alt(**values)
            place.value = picture(draw(**values), words)
            show_words(line, words)
        except Exception as error:  # a traceback would land in a log nobody reads
            show_words(line, f"{type(error).__name__}: {one_line(error)}", bad=True)

    for widget in moved.values():
        widget.observe(redraw, "value")
    return panel_of(list(moved.values()), line, place)


def make_control(control: Control) -> ipywidgets.Widget:
    """A slider or a row of buttons with a description, moved by mouse or keyboard."""
    shared = {"description": control.label, "value": control.start()}
    if isinstance(control.options, Mapping):
        return ipywidgets.ToggleButtons(
            **shared,
            tooltip=control.label,
            options=list(control.options.items()),
            style=DESCRIPTION | {"button_width": "initial"},
            layout={"display": "flex", "width": "max-content"},  # beside its label
        )
    return ipywidgets.SelectionSlider(
        **shared,
        tooltip=f"{control.label}: arrow keys move it",
        options=[(f"{value:.3g}", value) for value in control.options],
        continuous_update=False,
        readout=False,
        style=DESCRIPTION,
        layout={"width": "360px"},
    )


def show_words(line: ipywidgets.HTML, words: str, *, bad: bool = False) -> None:
    """Put one sentence into a line that screen readers announce when it changes."""
    role, colour = ("alert", "color:#b3261e") if bad else ("status", "")
    html = f'<div role="{role}" style="{colour}">{escape(words)}</div>'
    # The same words again are an answer too, which panel.js waits for.
    line.value = html if html != line.value else f"{html} "


def picture(figure: Figure, alt: str) -> str:
    """A figure as HTML. Its size is given and it is decoded before it is shown, so
    that replacing one picture by the next neither flickers nor moves the page."""
    png = png_of(figure)
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    return (
        f'<img alt="{escape(alt)}" width="{width}" height="{height}" decoding="sync" '
        'style="max-width:100%;height:auto" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    )


def png_of(figure: Figure) -> bytes:
    """PNG bytes of a figure's whole canvas, so of one size for one drawing."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=DPI)
    plt.close(figure)  # or the inline backend would show it a second time
    return target.getvalue()
