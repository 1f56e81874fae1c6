"""A panel as a screen reader has it, and with a kernel that is busy, or gone."""

import sys
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect
from visit import empty_page, jupyterlab

NAME = "00_start_here.ipynb"  # what opens first; a changed copy is kept
PANEL = """
from matplotlib.figure import Figure

import pudm_lib as pu


def draw(share, colour):
    figure = Figure(figsize=(2, 1))
    figure.subplots().bar([0], [share], color=colour)
    return figure


pu.explore(
    draw,
    alt=lambda share, colour: f"a share of {share:.3g} in {colour}",
    share=pu.Control("assumed β", [0.0, 1 / 11, 0.3, 0.5], 1 / 11),
    colour=pu.Control("colour", {"blue": "C0", "red": "C3"}),
)
"""
# A long call into a library that lets no other thread run; until there is a file.
BUSY = """
import ctypes
import sys

sys.setswitchinterval(1000)
while ctypes.PyDLL(None).access(b"free", 0):
    ctypes.PyDLL(None).usleep(50_000)
sys.setswitchinterval(0.005)
"""

SNAPSHOT = """
- text: assumed β
- slider "assumed β"
- text: "0.0909"
- group "colour":
  - text: colour
  - button "blue" [pressed]
  - button "red"
- alert
- status: "Move a control: the picture is drawn again here."
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    cells = [nbformat.v4.new_code_cell(code) for code in (PANEL, BUSY)]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python"}
    metadata = {"kernelspec": kernel | {"name": "python3"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    (tmp_path / "reader").mkdir()
    nbformat.write(notebook, tmp_path / "reader" / NAME)
    return tmp_path / "reader"


@pytest.fixture
def page():
    with empty_page("panels") as page:
        yield page


def run_cell(page: Page, number: int) -> None:
    page.locator(".jp-CodeCell .cm-content").nth(number).click()
    page.keyboard.press("Control+Enter")


def shown_panel(page: Page) -> Locator:
    panel = page.locator(".pudm-panel")
    expect(panel.get_by_role("slider")).to_have_accessible_name("assumed β")
    return panel


def test_a_panel_says_what_it_is_and_when_nobody_answers(folder, page, tmp_path):
    command = (sys.executable, "-m", "pudm_lib.book.lab", "--read", str(folder))
    with jupyterlab(command, tmp_path) as (address, token):
        page.goto(f"{address}/?token={token}")
        page.get_by_text("(ipykernel) | Idle").wait_for()
        run_cell(page, 0)
        panel = shown_panel(page)
        named_and_in_words(page, panel)
        busy(page, panel, folder / "free")
        gone(page, panel)


def named_and_in_words(page: Page, panel: Locator) -> None:
    expect(panel).to_match_aria_snapshot(SNAPSHOT)
    slider, value = panel.get_by_role("slider"), panel.locator(".pudm-value")
    expect(slider).to_have_attribute("aria-valuetext", "0.0909")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "0.3")
    expect(panel.get_by_role("status")).to_have_text("a share of 0.3 in C0")
    expect(value).to_have_text("0.3")
    # Nothing in a panel can be typed into and then says what is not drawn.
    assert panel.locator("[contenteditable=true]:visible, input:visible").count() == 0
    red = panel.get_by_role("button", name="red", exact=True)
    red.click()
    expect(red).to_have_attribute("aria-pressed", "true")
    blue = panel.get_by_role("button", name="blue", exact=True)
    expect(blue).to_have_attribute("aria-pressed", "false")
    expect(panel.get_by_role("status")).to_have_text("a share of 0.3 in C3")
    expect(panel.get_by_role("alert")).to_be_empty()


def busy(page: Page, panel: Locator, free: Path) -> None:
    run_cell(page, 1)
    panel.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_role("alert")).to_contain_text("kernel is busy")
    expect(panel.get_by_role("status")).to_have_text("a share of 0.3 in C3")
    # The value is the handle's at once: which share was asked for.
    expect(panel.locator(".pudm-value")).to_have_text("0.5")
    free.touch()
    expect(panel.get_by_role("status")).to_have_text("a share of 0.5 in C3")
    expect(panel.get_by_role("alert")).to_be_empty()


def gone(page: Page, panel: Locator) -> None:
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.get_by_text("(ipykernel) | Idle").wait_for()
    panel.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(panel.get_by_role("alert")).to_contain_text("run this cell again")
    run_cell(page, 0)
    expect(panel.get_by_role("status")).to_contain_text("Move a control")
    panel = shown_panel(page)
    panel.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    expect(panel.get_by_role("status")).to_have_text("a share of 0 in C0")
    expect(panel.get_by_role("alert")).to_be_empty()
