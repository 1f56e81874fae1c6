"""The helper behind every widget: a static figure always, controls where they work."""

import ast
import re
from functools import partial

import ipywidgets
import numpy as np
import pytest
import torch
from conftest import ROOT
from IPython.display import Image
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from pudm_lib.book import style as plotting
from pudm_lib.diffusion import mixtures as toys
from pudm_lib.diffusion import process as diffusion
from pudm_lib.training import losses
from pudm_lib.widgets import controls as widgets
from pudm_lib.widgets import noise_and_loss as explorers
from pudm_lib.widgets.beta_explorer import (
    describe_beta,
    draw_beta,
    explore_beta,
    index_grid,
)
from pudm_lib.widgets.controls import (
    Control,
    explore,
    make_control,
    panel,
    picture,
    png_of,
)

CONTROLS = {
    "height": Control("bar's height", [1, 2, 3], 2),
    "colour": Control("colour", {"blue": "C0", "red": "C3"}),
}


# What the page's script looks for.
CLASSES = ("pudm-panel", "pudm-slider", "pudm-value", "pudm-notice")


def draw(height, colour) -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().bar([0], [height], color=colour)
    return figure


def alt(height, colour) -> str:
    return f"a bar of height {height} in {colour}"


@pytest.fixture
def shown(monkeypatch) -> list:
    """What is displayed, in order."""
    things = []
    monkeypatch.setattr(widgets, "display", things.append)
    return things


@pytest.fixture
def reader(monkeypatch) -> None:
    """Somebody sits before a notebook with a kernel."""
    monkeypatch.setattr(widgets, "interactive", lambda: True)
    monkeypatch.setattr(widgets, "publish_display_data", lambda data: None)


def controls_of(box: ipywidgets.VBox) -> list[ipywidgets.Widget]:
    """Sliders, without the value that stands beside each, and rows of buttons."""
    row = box.children[0].children
    return [c.children[0] if isinstance(c, ipywidgets.HBox) else c for c in row]


def value_beside(box: ipywidgets.VBox, number: int = 0) -> str:
    return words_of(box.children[0].children[number].children[1])


def png_in(place: ipywidgets.HTML) -> str:
    return re.search(r'src="(data:image/png;base64,[^"]+)"', place.value).group(1)


def words_of(line: ipywidgets.HTML) -> str:
    return re.sub("<[^>]+>", "", line.value)


def test_headless_shows_the_first_position_and_no_widget(shown):
    explore(draw, alt=alt, **CONTROLS)
    (static,) = shown
    assert isinstance(static, Image)
    assert static.data == png_of(draw(2, "C0"))
    assert static.alt == "a bar of height 2 in C0"


def test_nobody_can_move_a_control_without_a_kernel(monkeypatch):
    assert not widgets.interactive()  # headless, as all tests
    monkeypatch.delenv("PUDM_HEADLESS")
    assert not widgets.interactive()
    shell = type("Shell", (), {"kernel": object()})()
    monkeypatch.setattr(widgets, "get_ipython", lambda: shell)
    assert widgets.interactive()
    monkeypatch.setenv("PUDM_HEADLESS", "1")
    assert not widgets.interactive()


def test_a_reader_gets_the_same_figure_and_controls_below(shown, reader):
    explore(draw, alt=alt, **CONTROLS)
    static, box = shown
    assert static.data == png_of(draw(2, "C0"))
    assert isinstance(box, ipywidgets.VBox)


def test_controls_are_labelled_and_begin_at_the_static_figure():
    box = panel(draw, alt, CONTROLS)
    slider, buttons = controls_of(box)
    *_, line, place = box.children
    assert isinstance(slider, ipywidgets.SelectionSlider)
    assert (slider.description, slider.value) == ("bar's height", 2)
    assert slider.continuous_update is False
    assert place.value == "" and 'role="status"' in line.value
    # Its own readout can be typed into; ours says the value and cannot.
    assert slider.readout is False and value_beside(box) == "2"
    slider.value = 3
    assert value_beside(box) == "3"
    slider.value = 2
    assert isinstance(buttons, ipywidgets.ToggleButtons)
    assert (buttons.description, buttons.value) == ("colour", "C0")


def test_every_move_is_answered_even_by_the_same_words():
    # The page waits for a change; without one it would say that no kernel is there.
    line = ipywidgets.HTML()
    seen = []
    line.observe(lambda change: seen.append(change["new"]), "value")
    for _ in range(3):
        widgets.show_words(line, "the same")
    assert len(seen) == 3 and words_of(line).strip() == "the same"


def test_a_reader_gets_the_script_that_completes_the_panel(shown, monkeypatch):
    sent = []
    monkeypatch.setattr(widgets, "interactive", lambda: True)
    monkeypatch.setattr(widgets, "publish_display_data", sent.append)
    explore(draw, alt=alt, **CONTROLS)
    (bundle,) = sent
    # No other form of it: a page that does not run it would show that as text.
    assert list(bundle) == ["application/javascript"]
    assert all(name in bundle["application/javascript"] for name in CLASSES)
    assert "pudm-panel" in shown[1]._dom_classes


def test_moving_a_control_changes_picture_and_words():
    box = panel(draw, alt, CONTROLS)
    slider, buttons = controls_of(box)
    *_, line, place = box.children
    seen = []
    for widget, value in ((slider, 3), (buttons, "C3"), (slider, 1)):
        widget.value = value
        seen.append(png_in(place))
        height, colour = slider.value, buttons.value
        assert place.value == picture(draw(height, colour), alt(height, colour))
        assert words_of(line) == alt(height, colour)
    assert len(set(seen)) == 3


def test_a_failing_drawing_is_one_line_and_the_last_picture_stays():
    def refuse(height):
        if height == 3:
            raise ValueError("no <bar>\nof that height")
        return draw(height, "C0")

    box = panel(refuse, str, {"height": CONTROLS["height"]})
    (slider,), (*_, line, place) = controls_of(box), box.children
    # str takes no keyword: an error in the words is caught as one in the drawing is.
    slider.value = 1
    assert words_of(line).startswith("TypeError: ")
    box = panel(
        refuse, lambda height: f"height {height}", {"height": CONTROLS["height"]}
    )
    (slider,), (*_, line, place) = controls_of(box), box.children
    slider.value = 1
    before = place.value
    slider.value = 3
    assert 'role="alert"' in line.value
    assert words_of(line) == "ValueError: no &lt;bar&gt; of that height"
    assert place.value == before
    slider.value = 2
    assert words_of(line) == "height 2" and place.value != before


def test_more_than_three_controls_are_refused(shown):
    four = {name: CONTROLS["height"] for name in "abcd"}
    with pytest.raises(ValueError, match=r"4 controls \(a, b, c, d\), must be 1 to 3"):
        explore(draw, alt=alt, **four)
    with pytest.raises(ValueError, match=r"0 controls \(none\)"):
        explore(draw, alt=alt)
    assert shown == []


def test_a_first_value_that_is_no_option_is_refused():
    with pytest.raises(ValueError, match=r"share=0.7, must be one of \[0.1, 0.2\]"):
        Control("share", (0.1, 0.2), 0.7).start()
    with pytest.raises(ValueError, match="'share' has no options"):
        Control("share", ()).start()


def test_picture_carries_its_size_and_escaped_text():
    html = picture(draw(1, "C0"), 'less < more & "quoted"')
    assert 'alt="less &lt; more &amp; &quot;quoted&quot;"' in html
    assert 'width="200" height="100"' in html  # 2 x 1 inches


def drawn_a_move(box: ipywidgets.VBox) -> list[tuple[int, int]]:
    """How many figures and pictures are made for each move of a panel's slider; no
    network may be called for any of them, so nothing is trained either."""
    (slider, *_) = controls_of(box)
    place = box.children[3]
    values = [value for _, value in slider.options if value != slider.value]
    counts, figures, pictures = [], [], []
    begin, png_of = Figure.__init__, widgets.png_of

    def counted_figure(self, *args, **options):
        figures.append(self)
        begin(self, *args, **options)

    def counted_picture(figure):
        pictures.append(figure)
        return png_of(figure)

    def refused(*_, **__):
        raise AssertionError("a move of a slider called a network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "__init__", counted_figure)
        patch.setattr(widgets, "png_of", counted_picture)
        patch.setattr(torch.nn.Module, "__call__", refused)
        for value in values[:4]:
            before = place.value
            figures.clear()
            pictures.clear()
            slider.value = value
            counts.append((len(figures), len(pictures)))
            assert place.value != before
    return counts


@pytest.fixture
def boxes(shown, reader, monkeypatch) -> list:
    """The panels of the explorers that are called."""
    plotting.use_book_style()
    return shown


def small_grid(betas=(0.0, 0.1, 0.2), methods=("pu_non_negative", "pu_absolute")):
    """A made-up grid of digits in the format of `beta_explorer`."""
    rng = np.random.default_rng(100)
    digits = load_digits().images[:64] * 15
    points = [
        {
            "method": method,
            "beta": beta,
            "rates": list(0.9 + beta / 4 + rng.normal(0, 0.002, 3)),
            "interval": [0.88 + beta / 4, 0.92 + beta / 4],
            "frechet_pixels": list(1.2 + beta + rng.normal(0, 0.05, 3)),
            "frechet_classifier": list(9 - beta + rng.normal(0, 0.2, 3)),
            "negative_share": [beta / 10] * 3,
            "risk": list(30 * np.exp(-np.arange(56) / 6) + rng.normal(0, 1, 56)),
            "sensitive": list(rng.random(64) < 0.1),
        }
        for method in methods
        for beta in betas
    ]
    grid = {"true_beta": 0.09, "samples_per_point": 6000, "points": points}
    samples = np.stack([rng.permutation(digits) for _ in points])[:, :, None]
    return grid, samples.astype(np.uint8)


def test_beta_explorer_starts_beside_the_true_share_and_draws_once_a_move(boxes):
    explore_beta(*small_grid())
    static, box = boxes
    assert static.alt.startswith("β = 0.1, PU non-negative")
    slider, methods = controls_of(box)
    assert slider.value == 0.1
    assert [label for label, _ in methods.options] == [
        "PU non-negative (eq. 19)",
        "PU absolute",
    ]
    assert set(drawn_a_move(box)) == {(1, 1)}
    methods.value = "pu_absolute"
    assert "PU absolute" in words_of(box.children[2])


def test_beta_explorer_says_and_draws_the_numbers_of_its_point():
    grid, samples = small_grid()
    point = grid["points"][5] | {"rates": [0.5, 0.6], "interval": [0.51, 0.59]}
    grid["points"][5] = point | {"negative_share": [0.25]}
    points = index_grid(grid, samples)
    words = describe_beta(grid, points, 0.2, "pu_absolute")
    assert "55.0% of 6000 samples are normal (51.0% to 59.0%)" in words
    assert "negative in 25.0% of steps" in words and "True β 0.09." in words
    figure = draw_beta(0.09, points, 0.2, "pu_absolute")
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert f"β = 0.2: {sum(point['sensitive'])} of 64 sensitive (framed)" in titles
    assert "55.0% normal; dotted: true β" in titles
    frames = [p for p in figure.axes[0].patches if not p.get_fill()]
    assert len(frames) == sum(point["sensitive"])
    marked = [line.get_xdata()[0] for line in figure.axes[1].lines[-2:]]
    assert marked == [0.09, 0.2]


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_a_beta_outside_its_range_is_refused(beta, shown):
    grid, samples = small_grid(betas=(0.0, beta))
    with pytest.raises(
        ValueError, match=rf"beta={beta} in the grid, must be in \[0, 1\)"
    ):
        explore_beta(grid, samples)
    assert shown == []


def test_grids_that_do_not_fit_are_refused():
    grid, samples = small_grid()
    with pytest.raises(ValueError, match="5 sheets of samples for 6 points"):
        index_grid(grid, samples[:5])
    with pytest.raises(ValueError, match="10 samples but 64 judgements"):
        index_grid(grid, samples[:, :10])
    gap = grid | {"points": grid["points"][:-1]}
    with pytest.raises(ValueError, match=r"pu_absolute at beta=0\.2 is missing"):
        index_grid(gap, samples[:-1])
    twice = grid | {"points": [grid["points"][0], *grid["points"][:-1]]}
    with pytest.raises(ValueError, match=r"pu_non_negative at beta=0\.0 .* twice"):
        index_grid(twice, samples)
    grid["points"][0]["method"] = "hope"
    with pytest.raises(ValueError, match="method='hope' in the grid, must be one of"):
        index_grid(grid, samples)


def test_noise_explorer(boxes):
    digits = torch.tensor(load_digits().data) / 8 - 1
    belief = toys.GaussianMixture(
        torch.ones(len(digits) - 1), digits[1:], [0.02] * (len(digits) - 1)
    )
    generator = diffusion.random_generator(100)
    eps = torch.randn(1, 64, dtype=digits.dtype, generator=generator)
    explorers.explore_noise(digits[:1], eps, belief, 1000)
    static, box = boxes
    left = diffusion.alphas_cumprod_of(diffusion.linear_betas(1000))[249]
    assert f"At index 249 of the linear schedule {left:.2g} of" in static.alt
    assert set(drawn_a_move(box)) == {(1, 1)}
    slider, schedule = controls_of(box)
    slider.value, schedule.value = 999, "cosine"
    assert "At index 999 of the cosine schedule" in words_of(box.children[2])


def test_cosine_schedule_is_the_papers():
    # Nichol and Dhariwal 2021, eq. 17, with s = 0.008; the last steps are capped.
    t = np.arange(1, 901) / 1000
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    expected = f / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    found = explorers.schedules(1000)["cosine"][:900]
    assert np.allclose(found, expected, atol=1e-4)


def pushes_of_chapter_03(n_u=117, n_s=11, beta=0.1):
    """Equation (8) as the chapter has it: the explorer takes the chapter's function."""
    chapter = (ROOT / "notebooks/03_turn_the_elbo_into_a_classifier.py").read_text()
    (function,) = [
        node
        for node in ast.parse(chapter).body
        if isinstance(node, ast.FunctionDef) and node.name == "pushes"
    ]
    names = {"torch": torch, "n_u": n_u, "n_s": n_s, "beta": beta}
    exec(ast.unparse(function), names)
    return names["pushes"]


@pytest.mark.parametrize("tau", [0.02, 1.0, 64.0])
def test_pushes_are_the_gradients_of_the_losses(tau):
    for ell in (0.4, 6.0):
        found = pushes_of_chapter_03(12, 3, 0.3)(torch.tensor(ell).double(), tau)
        for method, push in found.items():
            ell_u = torch.full((12,), 100.0, dtype=torch.float64, requires_grad=True)
            ell_s = torch.full((3,), ell, dtype=torch.float64, requires_grad=True)
            none = torch.zeros(0)
            risk = losses.METHODS[method](ell_u / tau, ell_s / tau, none, beta=0.3)
            risk.value.backward()
            # The released code's 1e-6 inside the logarithm is left out of the push.
            wanted = -(ell_s.grad[0] / ell_u.grad[0]).item()
            assert push.item() == pytest.approx(wanted, rel=1e-3, abs=1e-12)


def test_loss_explorer_says_which_push_is_alive(boxes):
    explorers.explore_loss(pushes_of_chapter_03(), alive_slope=0.1)
    static, box = boxes
    assert "ℓ = 6, τ = 1: p(normal) = 0.0025." in static.alt
    assert "(eq. 12) 0.026 (asleep)" in static.alt and "PU 1.1 (alive)" in static.alt
    assert set(drawn_a_move(box)) == {(1, 1)}
    ell, tau = controls_of(box)
    ell.value, tau.value = 0.1, 1
    assert words_of(box.children[2]).count("(alive)") == 3
    assert make_control(Control("τ", explorers.TAUS, 1)).value == 1
    for method, style in (("pu_absolute", 1.0), ("supervised_code", 0.0)):
        far = pushes_of_chapter_03(10, 1)(torch.tensor(1e4).double(), 1.0)
        assert far[method].item() == pytest.approx(style)


def test_at_the_papers_size_no_position_wakes_the_supervised_pushes():
    # Chapter 03 says so below its explorer.
    ells = torch.tensor(explorers.ELLS, dtype=torch.float64)
    found = pushes_of_chapter_03()(ells, explorers.TAUS[0])
    assert found["supervised"].max() < 0.1 and found["supervised_code"].max() < 0.1
    assert found["pu_absolute"].min() > 1


def test_the_drawing_is_as_large_at_every_position():
    # Or the page would jump when one picture replaces the other.
    look = partial(explorers.draw_loss, pushes_of_chapter_03(), 0.1)
    sizes = {png_of(look(ell, tau))[16:24] for ell, tau in ((6, 1), (64, 64 / 3072))}
    assert len(sizes) == 1
