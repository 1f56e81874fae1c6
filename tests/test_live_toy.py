"""A training that a reader starts, watches and cancels; the state stays usable."""

import re
import threading
import time
from functools import partial

import pytest
import torch
from test_widgets import png_in, words_of

from pudm_lib.widgets import controls as widgets
from pudm_lib.widgets import live_toy as live
from pudm_lib.widgets.controls import Control

SLIDER = Control("assumed β", (0.0, 0.1, 0.3), 0.1)
TOY = partial(live.train_toy, method="pu_non_negative", steps=60, seed=100)


def make(toy=TOY, steps: int = 60) -> live.LiveTraining:
    return live.LiveTraining(toy, SLIDER, steps, 100)


def wait_until(condition) -> None:
    """The deadline is for a test that would hang, and no claim."""
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def endless(beta, *, report):
    """As train_toy, but ends by being cancelled only."""
    model = torch.nn.Linear(1, 1)
    for step in range(25, 10**9, 25):
        time.sleep(0.05)
        report(model, min(step, 50), "")


def usable(training: live.LiveTraining) -> bool:
    return (
        training.button.description == "Train"
        and not live._ONE_TRAINING.locked()
        and not training.thread.is_alive()
    )


def test_the_controls_are_a_slider_and_one_button():
    training = make()
    row, _, bar, *_ = training.panel.children
    slider, button = row.children
    assert slider.children[0] is training.slider and button is training.button
    assert training.slider.continuous_update is False
    assert button.description == "Train" and not button.disabled
    # The bar is one for screen readers as well.
    assert '<progress aria-label="training steps" max="60" value="0"' in bar.value


def test_headless_shows_one_picture(monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "display", shown.append)
    live.train_live(0.0, betas=(0.0, 0.5), steps=4, seed=100)
    (static,) = shown
    assert static.alt.startswith("Trained with β = 0: ")
    assert "true share of sensitive data is 0.0909" in static.alt


@pytest.mark.parametrize("beta", [-0.5, 1.0, float("nan")])
def test_a_beta_outside_its_range_is_refused(beta):
    with pytest.raises(ValueError, match=rf"beta={beta}, must be in \[0, 1\)"):
        live.train_live(0.1, betas=(0.1, beta), steps=4)


def test_a_first_beta_that_the_slider_lacks_is_refused():
    with pytest.raises(ValueError, match=r"assumed β=0.2, must be one of \[0.1, 0.3\]"):
        live.train_live(0.2, betas=(0.1, 0.3), steps=4)


def test_a_training_shows_pictures_on_its_way_and_ends():
    training = make()
    pictures = []
    training.place.observe(lambda change: pictures.append(change["new"]), "value")
    training.slider.value = 0.3
    training.button.click()
    assert training.button.description == "Cancel" and not training.button.disabled
    training.thread.join()
    assert usable(training)
    assert training.done == 60
    assert words_of(training.line).startswith("Trained with β = 0.3: ")
    assert len(set(pictures)) >= 2
    on_the_way = [re.search(r"for (\d+) steps", p) for p in pictures]
    assert on_the_way[0] and on_the_way[-1] is None


def test_the_same_beta_gives_the_same_picture_and_another_does_not():
    seen = {}
    for beta in (0.1, 0.3):
        for _ in range(2):
            training = make()
            training.slider.value = beta
            training.button.click()
            training.thread.join()
            seen.setdefault(beta, set()).add(png_in(training.place))
    assert [len(s) for s in seen.values()] == [1, 1]
    assert seen[0.1] != seen[0.3]


def test_cancel_acts_at_the_next_look_and_a_second_run_works():
    looks_after = []

    def slow(beta, *, report):
        def counted(model, step, losses):
            if training.cancelled.is_set():
                looks_after.append(step)
            report(model, step, losses)

        options = {"method": "pu_non_negative", "steps": 100_000, "seed": 100}
        return live.train_toy(beta, report=counted, **options)

    training = make(slow, 100_000)
    training.button.click()
    wait_until(lambda: training.done > 0)
    training.button.click()
    wait_until(lambda: usable(training))
    assert len(looks_after) <= 1
    assert re.search(r"Cancelled after \d+ of 100000 steps", words_of(training.line))
    training.toy, training.steps = TOY, 60
    training.button.click()
    training.thread.join()
    assert usable(training) and words_of(training.line).startswith("Trained with")


def test_a_cancel_while_a_picture_is_made_is_not_put_off(monkeypatch):
    # The model's points are half of the work; the map of its errors is not begun.
    training, drawn, draw_points = make(), [], live.draw_points

    def cancelled_meanwhile(model, seed):
        training.button.click()
        return draw_points(model, seed)

    monkeypatch.setattr(live, "draw_points", cancelled_meanwhile)
    monkeypatch.setattr(live, "draw_toy", lambda *a: drawn.append(a))
    training.button.click()
    training.thread.join()
    assert drawn == [] and training.place.value == ""
    assert words_of(training.line).startswith("Cancelled after 25 of 60 steps")


def test_the_last_picture_stays_when_cancelled():
    training = make()
    training.button.click()
    training.thread.join()
    before = png_in(training.place)
    training.toy = endless
    training._show = lambda *a: "looked"
    training.button.click()
    wait_until(lambda: training.done == 50)
    training.button.click()
    wait_until(lambda: usable(training))
    assert png_in(training.place) == before


def test_an_error_is_one_line_and_the_state_stays_usable():
    def broken(beta, *, report):
        raise ValueError("loss is not finite\nat step 3")

    training = make(broken)
    training.button.click()
    training.thread.join()
    assert 'role="alert"' in training.line.value
    assert words_of(training.line) == "ValueError: loss is not finite at step 3"
    assert usable(training)
    training.toy = TOY
    training.button.click()
    training.thread.join()
    assert words_of(training.line).startswith("Trained with")


def test_two_trainings_never_run_at_once(monkeypatch):
    first, second = make(endless), make(endless)
    first._show = lambda *a: "looked"
    first.button.click()
    wait_until(lambda: first.done > 0)
    second.button.click()
    assert "A training is running" in words_of(second.line)
    assert second.thread is None and second.button.description == "Train"
    # Running the cell again ends what the earlier widget had begun.
    monkeypatch.setattr(widgets, "display", lambda thing: None)
    threads = threading.active_count()
    live.train_live(0.0, betas=(0.0,), steps=2, seed=100)
    assert usable(first) and threading.active_count() == threads - 1
