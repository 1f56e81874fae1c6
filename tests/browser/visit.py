"""A visit by a real browser: JupyterLab started for it, Chromium, an empty page."""

import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT
from playwright.sync_api import Page, expect, sync_playwright

PICTURES = ROOT / "build" / "browser"
SECOND = 1000  # playwright counts in milliseconds
# A deadline for a test that would hang, and no claim.
PATIENCE = 300 * SECOND

# Without a sandbox, which a container has no rights for; nothing else is fetched.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()


def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = [path for path in map(shutil.which, names) if path]
    if not found:
        pytest.fail(f"none of {', '.join(names)}: `make test-browser` installs one")
    return found[0]


@contextmanager
def jupyterlab(
    command: Sequence[str], home: Path, **variables: str
) -> Iterator[tuple[str, str]]:
    """Its address and its token: JupyterLab as on the first day, settings in `home`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    # The reader's kernel: with widgets, and pictures in the notebook.
    hidden = ("PUDM_HEADLESS", "MPLBACKEND")
    environment = {k: v for k, v in os.environ.items() if k not in hidden} | {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
    }
    command = [*command, "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}"]
    PICTURES.mkdir(parents=True, exist_ok=True)
    with open(PICTURES / "jupyterlab.log", "w") as log:
        server = subprocess.Popen(
            command, env=environment | variables, stdout=log, stderr=log
        )
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/api/status?token={token}", server)
            yield address, token
        finally:
            server.terminate()  # it ends its kernels first
            server.wait(PATIENCE / SECOND)


def _wait_for(address: str, server: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE / SECOND
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start, see {PICTURES / 'jupyterlab.log'}")


@contextmanager
def empty_page(name: str) -> Iterator[Page]:
    """Of a laptop's size; what it looks like in the end is kept under that name."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=FLAGS, timeout=PATIENCE
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        try:
            yield page
        finally:
            page.screenshot(path=PICTURES / f"{name}.png")
            browser.close()
