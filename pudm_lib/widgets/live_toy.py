"""Train a 2-D toy while the reader watches, with a bar and a button that also stops it.

The training, `studies.toy`, runs in a thread, so that the kernel goes on
hearing the buttons, and looks every few steps whether it has been cancelled.
"""

import threading
from functools import partial

import ipywidgets
from torch import nn

from pudm_lib.machine.paths import one_line
from pudm_lib.studies.toy import TRUE_BETA, train_toy
from pudm_lib.training.loop import LOOK_EVERY
from pudm_lib.training.settings import TrainingSettings
from pudm_lib.widgets import controls
from pudm_lib.widgets.controls import Control, show_words
from pudm_lib.widgets.toy_picture import describe, draw_points, draw_toy

BETAS = (0.0, 0.05, TRUE_BETA, 0.15, 0.2, 0.3, 0.5)
PICTURES = 6  # drawn during a training, the last one included

# accelerate keeps one state for the process, which each training resets: one at a time.
_ONE_TRAINING = threading.Lock()
_current: "LiveTraining | None" = None


class Cancelled(Exception):
    """Raised inside a training by its own report, to end it."""


def train_live(
    beta: float = TRUE_BETA,
    *,
    betas: tuple[float, ...] = BETAS,
    method: str = "pu_non_negative",
    steps: int = 2000,
    seed: int = 0,
) -> None:
    """Train the toy at `beta` and show it; then let the reader train it at another.

    A live training that an earlier call has left running is cancelled first.

    Args:
        beta: assumed share of sensitive points in U; of the static figure.
        betas: what the slider offers, in [0, 1) and with `beta` among them.
        steps: training steps; 2,000 take about four seconds on one core.

    Raises:
        ValueError: a beta outside [0, 1), or not among `betas`.
    """
    slider = Control("assumed β", sorted({*betas}), beta)
    slider.start()
    for value in betas:
        TrainingSettings(method=method, beta=value, steps=steps)  # refuses no share
    if _current is not None:
        _current.stop()
    toy = partial(train_toy, method=method, steps=steps, seed=seed)
    model, _ = toy(beta, report=lambda *_: None)
    points = draw_points(model, seed)
    controls.show_static(draw_toy(model, points, beta, seed), describe(points, beta))
    if controls.interactive():
        controls.show_panel(LiveTraining(toy, slider, steps, seed).panel)


class LiveTraining:
    """A β slider, a button that trains and cancels, and what a training shows.

    Its state is idle or training, and the button says what it would do; being one, it
    keeps the keyboard's focus. However a training ends, by itself, cancelled or by an
    error, the last picture stays and another can be started.
    """

    def __init__(self, toy, slider: Control, steps: int, seed: int):
        self.toy, self.steps, self.seed = toy, steps, seed
        self.slider = controls.make_control(slider)
        self.button = ipywidgets.Button(description="Train", button_style="primary")
        self.bar, self.line, self.place = (ipywidgets.HTML() for _ in range(3))
        self._progress(0)
        show_words(self.line, "Choose β and press Train: watch the points wander.")
        self.button.on_click(lambda button: self.press())
        row = [self.slider, self.button]
        self.panel = controls.panel_of(row, self.bar, self.line, self.place)
        self.thread: threading.Thread | None = None
        self.cancelled = threading.Event()
        self.turn = threading.Lock()  # of the button and of a training that ends

    def press(self) -> None:
        """Train, or cancel what this panel trains."""
        with self.turn:
            if self.button.description == "Train":
                self.start()
            else:
                show_words(self.line, "Cancelling ...")
                self.cancelled.set()

    def start(self) -> None:
        """Begin a training at the slider's β, unless one is under way somewhere."""
        global _current
        if not _ONE_TRAINING.acquire(blocking=False):
            show_words(self.line, "A training is running: cancel it first.", bad=True)
            return
        _current = self
        self.cancelled.clear()
        self.button.description = "Cancel"
        self._progress(0)
        beta = self.slider.value
        show_words(self.line, f"Training with β = {beta:.3g} ...")
        # A daemon: it does not keep a kernel alive that is asked to end.
        self.thread = threading.Thread(target=self._work, args=(beta,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Cancel what was started, if it still runs, and wait until it has ended."""
        self.cancelled.set()
        self.thread.join()

    def _work(self, beta: float) -> None:
        bad = False
        try:
            model, _ = self.toy(beta, report=partial(self._report, beta))
            # The last look was at the weights; this one is at their average.
            words = self._show(model, beta, "")
        except Cancelled:
            done = f"{self.done} of {self.steps} steps with β = {beta:.3g}"
            words = f"Cancelled after {done}. Train starts again."
        except Exception as error:  # or it would end in the server's log
            words, bad = f"{type(error).__name__}: {one_line(error)}", True
        with self.turn:
            _ONE_TRAINING.release()
            self.button.description = "Train"
            show_words(self.line, words, bad=bad)

    def _progress(self, step: int) -> None:
        self.done = step
        self.bar.value = (
            f'<progress aria-label="training steps" max="{self.steps}" value="{step}" '
            f'style="width:360px"></progress> {step} of {self.steps} steps'
        )

    def _report(self, beta: float, model: nn.Module, step: int, losses: str) -> None:
        self._check()
        self._progress(step)
        every = max(1, self.steps // PICTURES)
        due = step // every > (step - LOOK_EVERY) // every
        if due and step < self.steps:
            show_words(self.line, self._show(model, beta, f" for {step} steps"))

    def _show(self, model: nn.Module, beta: float, done: str) -> str:
        points = draw_points(model, self.seed)
        self._check()
        figure = draw_toy(model, points, beta, self.seed)
        self._check()
        words = describe(points, beta, done)
        self.place.value = controls.picture(figure, words)
        return words

    def _check(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled
