"""Train a 2-D toy while the reader watches, with a bar and a button that stops it.

The training is chapter 04's: two known densities in the plane, an MLP, one of PUDM's
methods. It runs in a thread, so that the kernel goes on hearing the buttons, and looks
every few steps whether it has been cancelled.
"""

import threading
from collections.abc import Callable
from functools import partial

import ipywidgets
import torch
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor, nn

from pudm_lib import diffusion, plotting, toys
from pudm_lib.messages import one_line
from pudm_lib.networks import MLPDenoiser
from pudm_lib.sampling import SamplingSettings, make_scheduler
from pudm_lib.training import TrainingImages, TrainingSettings, train
from pudm_lib.widgets import (
    DESCRIPTION,
    Control,
    interactive,
    make_control,
    picture,
    show_static,
    show_words,
)

TRUE_BETA = 1 / 11
BETAS = (0.0, 0.05, TRUE_BETA, 0.15, 0.2, 0.3, 0.5)
PICTURES = 6  # drawn during a training, the last one included
NUM_POINTS = 600  # drawn from the model for a picture
# Noise levels of the map of ell: about as wide as a blob, so that places tell apart.
LEVELS = range(50, 150)
EDGE = 2.4

# accelerate keeps one state for the process, which each training resets: one at a time.
_ONE_TRAINING = threading.Lock()
_current: "LiveTraining | None" = None


class Cancelled(Exception):
    """Raised inside a training by its own report, to end it."""


def live_toy(
    beta: float = TRUE_BETA,
    *,
    betas: tuple[float, ...] = BETAS,
    method: str = "pu_non_negative",
    steps: int = 1200,
    first_steps: int | None = None,
    seed: int = 0,
) -> None:
    """Train the toy at `beta` and show it; then let the reader train it at another.

    A live training that an earlier call has left running is cancelled first.

    Args:
        beta: assumed share of sensitive points in U; of the static figure.
        betas: what the slider offers, in [0, 1) and with `beta` among them.
        steps: training steps; 1,200 take about four seconds on one core.
        first_steps: of the static figure's training, where fewer have to do.

    Raises:
        ValueError: a beta outside [0, 1), or not among `betas`.
    """
    slider = Control("assumed β", sorted({*betas}), beta)
    slider.start()
    for value in betas:
        training_settings(method, value, steps)  # refuses what is no share
    if _current is not None:
        _current.stop()
    toy = partial(train_toy, method=method, steps=steps, seed=seed)
    model = toy(beta, steps=first_steps or steps, report=lambda step, losses: None)
    points = draw_points(model, seed)
    show_static(draw_toy(model, points, beta, seed), describe(points, beta))
    if interactive():
        display(LiveTraining(toy, slider, steps, seed).panel)


def training_settings(method: str, beta: float, steps: int) -> TrainingSettings:
    """Chapter 04's; tau gives ell of 2 numbers the scale of a 64-pixel image."""
    return TrainingSettings(
        method=method,
        beta=beta,
        tau=2 / 64,
        steps=steps,
        batch_unlabeled=128,
        batch_sensitive=32,
        learning_rate=0.01,
        warmup_steps=min(100, steps // 4),
        device="cpu",
    )


def toy_images(seed: int) -> TrainingImages:
    """2,000 unlabeled points, 1/11 of them sensitive, and 20 labelled ones."""
    p_normal, p_sensitive = toys.pu_toy()
    p_unlabeled = toys.pu_mixture(p_normal, p_sensitive, TRUE_BETA)
    drawn = [
        mixture.sample(n, diffusion.random_generator(seed, stream)).float()
        for stream, (mixture, n) in enumerate([(p_unlabeled, 2000), (p_sensitive, 20)])
    ]
    return TrainingImages(*drawn)


def train_toy(
    beta: float,
    *,
    method: str,
    steps: int,
    seed: int,
    report: Callable[..., None],
    on_model: Callable[[nn.Module], None] = lambda model: None,
) -> nn.Module:
    """Train from the same first weights each time. `on_model` gets the model before it
    is trained, so that `report` can look at it on the way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MLPDenoiser(2, width=64)
    on_model(model)
    settings = training_settings(method, beta, steps)
    train(model, toy_images(seed), settings, seed=seed, report=report)
    return model


@torch.no_grad()
def draw_points(model: nn.Module, seed: int) -> Tensor:
    """Points of the model by DDIM, (NUM_POINTS, 2), always from the same noise: they
    wander as it learns. Without the bar that `sampling.sample` shows to a reader."""
    scheduler = make_scheduler(SamplingSettings(num_inference_steps=25))
    generator = diffusion.random_generator(seed, 2)
    x_t = torch.randn(NUM_POINTS, 2, generator=generator)
    for t in scheduler.timesteps:
        x_t = scheduler.step(model(x_t, t).sample, t, x_t).prev_sample
    return x_t.double()


@torch.no_grad()
def error_map(model: nn.Module, seed: int, side: int = 41) -> tuple[Tensor, Tensor]:
    """ell on a square grid, mean over 24 draws of (t, eps): its axis and (side, side),
    the first coordinate along the rows. All places share the draws."""
    axis = torch.linspace(-EDGE, EDGE, side, dtype=torch.float64)
    places = torch.cartesian_prod(axis, axis)
    generator = diffusion.random_generator(seed, 3)
    alphas_cumprod = diffusion.alphas_cumprod_of(diffusion.linear_betas(1000))
    total = torch.zeros(len(places), dtype=torch.float64)
    for t in torch.linspace(LEVELS.start, LEVELS.stop - 1, 24).long():
        eps = torch.randn(1, 2, dtype=torch.float64, generator=generator)
        eps = eps.expand_as(places)
        x_t = diffusion.add_noise(places, eps, t.expand(len(places)), alphas_cumprod)
        total += diffusion.denoising_error(eps, model(x_t.float(), t).sample)
    return axis, total.reshape(side, side) / 24


def leaked(points: Tensor) -> Tensor:
    """Where sensitive is more likely than normal under the true densities, (n,)."""
    return toys.sensitive_probability(points, *toys.pu_toy(), TRUE_BETA) > 0.5


def describe(points: Tensor, beta: float, done: str = "") -> str:
    share = leaked(points).double().mean().item()
    return (
        f"Trained{done} with β = {beta:.3g}: {share:.1%} of {len(points)} points that "
        f"the model draws have leaked; the true share of sensitive data is "
        f"{TRUE_BETA:.3g}."
    )


def draw_toy(model: nn.Module, points: Tensor, beta: float, seed: int) -> Figure:
    """Left: what the model draws. Right: its error ell over the plane, and the line
    ell = 2, beyond which it is worse than the guess of no noise at all."""
    # Not by pyplot, which does not expect figures from two threads.
    figure = Figure(figsize=(8.4, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    out = leaked(points)
    left.plot(*points[~out].T, ".", ms=3, color=plotting.NORMAL, label="normal")
    left.plot(*points[out].T, "x", ms=5, color=plotting.SENSITIVE, label="leaked")
    left.set_title(f"β = {beta:.3g}: {out.double().mean():.1%} leaked")
    axis, ell = error_map(model, seed)
    image = right.imshow(
        ell.T,
        origin="lower",
        extent=(-EDGE, EDGE, -EDGE, EDGE),
        cmap="Greys",
        vmin=0,
        vmax=4,
        interpolation="bilinear",
    )
    if ell.min() < 2 < ell.max():
        right.contour(axis, axis, ell.T, [2.0], colors=plotting.GREEN, linewidths=2)
    labels = toy_images(seed).sensitive
    right.plot(*labels.T, "x", ms=6, mew=1.5, color=plotting.SENSITIVE)
    right.set_title("error $\\ell$; green: $\\ell$ = 2; crosses: $S$")
    figure.colorbar(image, ax=right, label="$\\ell$", extend="max", shrink=0.85)
    for ax in (left, right):
        ax.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal")
        ax.set(xticks=(-2, 0, 2), yticks=(-2, 0, 2))
        ax.grid(False)
    left.legend(loc="upper left", fontsize=8, frameon=True, handletextpad=0.2)
    return figure


class LiveTraining:
    """A β slider, Train, Cancel, and what a training shows of itself.

    Its state is idle or training. However a training ends, by itself, cancelled or by
    an error, the last picture stays and Train can be pressed again.
    """

    def __init__(self, toy, slider: Control, steps: int, seed: int):
        self.toy, self.steps, self.seed = toy, steps, seed
        self.slider = make_control(slider)
        self.train = ipywidgets.Button(description="Train", button_style="primary")
        self.cancel = ipywidgets.Button(description="Cancel", disabled=True)
        self.bar = ipywidgets.IntProgress(
            max=steps, description="steps", style=DESCRIPTION, layout={"width": "360px"}
        )
        self.line, self.place = ipywidgets.HTML(), ipywidgets.HTML()
        show_words(self.line, "Choose β and press Train: watch the points wander.")
        self.train.on_click(lambda button: self.start())
        self.cancel.on_click(lambda button: self.ask_to_stop())
        row = ipywidgets.HBox(
            [self.slider, self.train, self.cancel], layout={"flex_flow": "row wrap"}
        )
        self.panel = ipywidgets.VBox([row, self.bar, self.line, self.place])
        self.thread: threading.Thread | None = None
        self.cancelled = threading.Event()

    def start(self) -> None:
        """Begin a training at the slider's β, unless one is under way somewhere."""
        global _current
        if not _ONE_TRAINING.acquire(blocking=False):
            show_words(self.line, "A training is running: cancel it first.", bad=True)
            return
        _current = self
        self.cancelled.clear()
        self.train.disabled, self.cancel.disabled = True, False
        self.bar.value = 0
        beta = self.slider.value
        show_words(self.line, f"Training with β = {beta:.3g} ...")
        # A daemon: it does not keep a kernel alive that is asked to end.
        self.thread = threading.Thread(target=self._work, args=(beta,), daemon=True)
        self.thread.start()

    def ask_to_stop(self) -> None:
        self.cancelled.set()

    def stop(self) -> None:
        """Cancel what is running, if anything is, and wait until it has ended."""
        self.ask_to_stop()
        if self.thread is not None:
            self.thread.join()

    def _work(self, beta: float) -> None:
        words, bad = "", False
        try:
            model = self.toy(
                beta, report=partial(self._report, beta), on_model=self._begin
            )
            # The last look was at the weights; this one is at their average.
            words = self._show(model, beta, "")
        except Cancelled:
            words = (
                f"Cancelled after {self.bar.value} of {self.steps} steps with "
                f"β = {beta:.3g}. Train starts again."
            )
        except Exception as error:  # or it would end in the server's log
            words, bad = f"{type(error).__name__}: {one_line(error)}", True
        finally:
            _ONE_TRAINING.release()
            self.train.disabled, self.cancel.disabled = False, True
            show_words(self.line, words, bad=bad)

    def _begin(self, model: nn.Module) -> None:
        self.model = model

    def _report(self, beta: float, step: int, losses: str) -> None:
        self._check()
        self.bar.value = step
        every = max(1, self.steps // PICTURES)
        before = max(0, step - 25)
        if step // every > before // every and step < self.steps:
            words = self._show(self.model, beta, f" for {step} steps")
            show_words(self.line, words)

    def _show(self, model: nn.Module, beta: float, done: str) -> str:
        points = draw_points(model, self.seed)
        self._check()
        figure = draw_toy(model, points, beta, self.seed)
        self._check()
        words = describe(points, beta, done)
        self.place.value = picture(figure, words)
        return words

    def _check(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled
