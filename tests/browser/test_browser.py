"""A reader's visit: JupyterLab, a chapter, its widgets, by a real browser.

Outside plain `pytest`, because it needs Chromium: `make test-browser` installs it where
it is missing. Screenshots are left in build/browser.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from papermill import execute_notebook
from playwright.sync_api import Locator, Page, expect, sync_playwright

from pudm_lib.book.chapters import chapters, settings_of
from pudm_lib.book.runner import KERNEL

CHAPTER = "06_choose_beta"
PICTURES = ROOT / "build" / "browser"
SECOND = 1000  # playwright counts in milliseconds
# A deadline for a test that would hang, and no claim.
PATIENCE = 300 * SECOND

# Without a sandbox, which a container has no rights for; nothing else is fetched.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()

# JupyterLab as it is on the first day, but for its questions about news; all cells are
# in the page, also those far from what is seen.
SETTINGS = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "notebook-extension/tracker": {"windowingMode": "none"},
}

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


def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = [path for path in map(shutil.which, names) if path]
    if not found:
        pytest.fail(f"none of {', '.join(names)}: `make test-browser` installs one")
    return found[0]


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
    nbformat.write(held, copy)
    return copy


@pytest.fixture
def lab(notebook, tmp_path):
    """The address of the notebook in a JupyterLab that has just started."""
    for name, values in SETTINGS.items():
        file = tmp_path / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    # The reader's kernel: with widgets, and pictures in the notebook.
    hidden = ("PUDM_HEADLESS", "MPLBACKEND")
    environment = {k: v for k, v in os.environ.items() if k not in hidden} | {
        "PUDM_ROOT": str(ROOT),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    command += [f"--ServerApp.root_dir={notebook.parent}"]
    PICTURES.mkdir(parents=True, exist_ok=True)
    with open(PICTURES / "jupyterlab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server)
            yield f"http://127.0.0.1:{port}/lab/tree/{notebook.name}?token={token}"
        finally:
            server.terminate()  # it ends its kernels first
            server.wait(PATIENCE / SECOND)


def wait_for(address: str, server: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE / SECOND
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start, see {PICTURES / 'jupyterlab.log'}")


@pytest.fixture
def page():
    """An empty page of a laptop's size; what it looks like in the end is kept."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=FLAGS, timeout=PATIENCE
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield page
        page.screenshot(path=PICTURES / "end.png")
        browser.close()


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
    return page.locator(".widget-vbox").filter(has=named)


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
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuenow", f"{position - 1}.0")
    expect(words).to_contain_text("samples are normal")
    first = words.inner_text(), picture_of(panel)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", f"{position + 1}.0")
    # Both moves have been drawn, not the first of them only.
    readout = panel.locator(".widget-readout").inner_text()
    expect(words).to_contain_text(f"β = {readout},")
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
    panel = panel_with(page, "Train")
    words = panel.get_by_role("status")
    train = panel.get_by_role("button", name="Train", exact=True)
    cancel = panel.get_by_role("button", name="Cancel", exact=True)
    expect(cancel).to_be_disabled()
    panel.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    train.focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("img")).to_be_visible()  # the first picture on its way
    expect(words).to_contain_text("steps with β")
    expect(train).to_be_disabled()
    cancel.focus()
    page.keyboard.press("Enter")
    expect(words).to_contain_text("Cancelled after")
    expect(panel.get_by_role("img")).to_be_visible()  # the last picture stays
    expect(cancel).to_be_disabled()
    photograph(page, panel, "cancelled")
    train.focus()
    page.keyboard.press("Enter")
    expect(words).to_contain_text("Trained with β")
    expect(train).to_be_enabled()
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
