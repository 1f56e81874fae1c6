"""A reader's visit: JupyterLab, a chapter, its widgets, by a real browser.

Outside plain `pytest`, because it needs Chromium: `make test-browser` installs it where
it is missing. Screenshots are left in build/browser.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from papermill import execute_notebook
from playwright.sync_api import Locator, Page, expect
from visit import PATIENCE, PICTURES, empty_page, jupyterlab

from pudm_lib.book.chapters import chapters, settings_of
from pudm_lib.book.runner import KERNEL

CHAPTER = "06_choose_beta"
# All cells are in the page, also those far from what is seen.
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"}}

# True when each code cell has its number, or one of them has failed. JupyterLab shows
# an error as it shows stderr, so it is known by the words that name its cell.
ALL_HAVE_RUN = """() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
    const outputs = [...document.querySelectorAll('.jp-OutputArea-output')];
    return outputs.some(o => /^ *Cell In\\[/m.test(o.textContent))
        || (prompts.length && prompts.every(p => /\\d/.test(p.textContent)));
}"""
FAILED = re.compile(r"^ *Cell In\[", re.M)

# The first training stays at its first picture, busy, until it is cancelled: a slow
# browser would find it done.
HELD = """
from pudm_lib.widgets import live_toy as live

report, held = live.LiveTraining._report, []


def hold(self, beta, model, *args):
    report(self, beta, model, *args)
    if self.place.value and not held:
        while not self.cancelled.is_set():
            live.draw_points(model, self.seed)
        held.append(True)


live.LiveTraining._report = hold
"""


@pytest.fixture
def notebook(tmp_path) -> Path:
    """A copy of the chapter with preset "ci", in a folder of its own."""
    (chapter,) = chapters([CHAPTER])
    copy = tmp_path / "notebooks" / f"{CHAPTER}.ipynb"
    copy.parent.mkdir()
    parameters = settings_of(chapter, "ci", {})
    execute_notebook(chapter.notebook, copy, parameters, prepare_only=True, **KERNEL)
    held = nbformat.read(copy, 4)
    held.cells.insert(0, nbformat.v4.new_code_cell(HELD))
    # Chapter 04's, so that one visit sees both.
    held.cells.append(nbformat.v4.new_code_cell("pu.widgets.train_live()"))
    nbformat.write(held, copy)
    return copy


@pytest.fixture
def lab(notebook, tmp_path):
    """The address of the notebook in a JupyterLab that has just started."""
    for name, values in SETTINGS.items():
        file = tmp_path / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    command = (sys.executable, "-m", "pudm_lib.book.lab")
    folder = ("--read", str(notebook.parent))
    with jupyterlab([*command, *folder], tmp_path) as (address, token):
        yield f"{address}/lab/tree/{notebook.name}?token={token}"


@pytest.fixture
def page():
    with empty_page("end") as page:
        yield page


def errors_on(page: Page) -> list[str]:
    outputs = page.locator(".jp-OutputArea-output").all_text_contents()
    return [text for text in outputs if FAILED.search(text)]


def run_all_cells(page: Page) -> None:
    # Before the kernel is there, JupyterLab would ask which one to take.
    page.get_by_text("(ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(ALL_HAVE_RUN, timeout=2 * PATIENCE)
    assert errors_on(page) == []


def panel_with(page: Page, button: str) -> Locator:
    """The widget that has a button of this name."""
    named = page.get_by_role("button", name=button, exact=True)
    return page.locator(".pudm-panel").filter(has=named)


def picture_of(panel: Locator) -> str:
    return panel.get_by_role("img").get_attribute("src")


def photograph(page: Page, panel: Locator, name: str) -> None:
    # Not the picture: a training puts another in its place at any moment.
    panel.evaluate("element => element.scrollIntoView({block: 'end'})")
    page.screenshot(path=PICTURES / f"{name}.png")


def explore_beta_by_keyboard(page: Page) -> None:
    panel = panel_with(page, "PU absolute")
    slider, words = panel.get_by_role("slider"), panel.get_by_role("status")
    expect(panel.get_by_text("assumed β", exact=True)).to_be_visible()
    expect(panel.get_by_role("img")).to_have_count(0)  # the static one is above
    position = int(float(slider.get_attribute("aria-valuenow")))
    expect(slider).to_have_accessible_name("assumed β")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuenow", f"{position - 1}.0")
    expect(words).to_contain_text("samples are normal")
    first = words.inner_text(), picture_of(panel)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", f"{position + 1}.0")
    # Both moves have been drawn, not the first of them only.
    value = panel.locator(".pudm-value").inner_text()
    expect(words).to_contain_text(f"β = {value},")
    expect(slider).to_have_attribute("aria-valuetext", value)
    expect(words).not_to_have_text(first[0])
    expect(panel.get_by_role("img")).not_to_have_attribute("src", first[1])
    expect(panel.get_by_role("img")).to_have_attribute("alt", words.inner_text())
    second = words.inner_text(), picture_of(panel)
    panel.get_by_role("button", name="PU absolute", exact=True).focus()
    page.keyboard.press("Enter")
    expect(words).to_contain_text("PU absolute")
    expect(panel.get_by_role("img")).not_to_have_attribute("src", second[1])
    photograph(page, panel, "explorer")


def train_and_cancel(page: Page) -> None:
    panel = page.locator(".pudm-panel").filter(has=page.get_by_role("progressbar"))
    words, bar = panel.get_by_role("status"), panel.get_by_role("progressbar")
    button = panel.get_by_role("button")
    expect(button).to_have_text("Train")
    expect(bar).to_have_accessible_name("training steps")
    panel.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    button.focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("img")).to_be_visible()  # the first picture on its way
    expect(words).to_contain_text("steps with β")
    expect(button).to_have_text("Cancel")
    expect(button).to_be_focused()  # the next Enter cancels
    page.keyboard.press("Enter")
    expect(words).to_contain_text("Cancelled after")
    expect(panel.get_by_role("img")).to_be_visible()  # the last picture stays
    photograph(page, panel, "cancelled")
    expect(button).to_have_text("Train")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(words).to_contain_text("Trained with β")
    expect(words).not_to_contain_text("steps")  # but at the end
    expect(button).to_have_text("Train")
    expect(panel.get_by_role("alert")).to_be_empty()
    photograph(page, panel, "trained")


def test_a_reader_moves_the_widgets(lab, page):
    complaints = []
    page.on(
        "console",
        lambda message: message.type == "error" and complaints.append(message.text),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(lab)
    run_all_cells(page)
    explore_beta_by_keyboard(page)
    train_and_cancel(page)
    assert errors_on(page) == []
    assert complaints == []
