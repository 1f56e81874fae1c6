"""A reader's and an author's session: what git sees of it, and who is called."""

import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns
from urllib.parse import urlsplit

import pytest
from conftest import ROOT
from playwright.sync_api import Page, TimeoutError, expect
from visit import empty_page, jupyterlab

LAB = (sys.executable, "-m", "pudm_lib.book.lab")
CHAPTER = "00_start_here.ipynb"


@pytest.fixture
def book(tmp_path) -> Path:
    """A repository of its own with the chapters as they are."""
    folder = tmp_path / "book"
    hidden = ignore_patterns(".ipynb_checkpoints")
    copytree(ROOT / "notebooks", folder / "notebooks", ignore=hidden)
    for name in ("pyproject.toml", ".gitignore"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    git(folder, "init", "-q")
    git(folder, "add", ".")
    author = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    git(folder, *author, "commit", "-q", "-m", "the book")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def page():
    """A page that notes who is called in `page.called`."""
    with empty_page("reading") as page:
        page.called = set()
        page.on("request", lambda request: page.called.add(request.url))
        page.on("websocket", lambda socket: page.called.add(socket.url))
        yield page


def open_lab(page: Page, served: tuple[str, str]) -> None:
    address, token = served
    page.goto(f"{address}/?token={token}")  # as `jupyter lab` opens its browser
    page.get_by_text("(ipykernel) | Idle").wait_for()


def run_two_cells_and_save(page: Page) -> None:
    page.locator(".jp-CodeCell .cm-content").first.click()
    for number in (1, 2):
        page.keyboard.press("Shift+Enter")
        prompt = page.locator(".jp-CodeCell .jp-InputPrompt").nth(number - 1)
        expect(prompt).to_have_text(f"[{number}]:")
    save(page)


def save(page: Page) -> None:
    def saved(response) -> bool:
        return response.request.method == "PUT" and CHAPTER in response.url

    for _ in range(20):  # JupyterLab drops a save that comes while another one ends
        try:
            with page.expect_response(saved, timeout=15_000) as waited:
                page.keyboard.press("Control+s")
        except TimeoutError:
            continue
        assert waited.value.ok
        break
    else:
        pytest.fail("JupyterLab did not save")
    expect(page.locator(".jp-Dialog")).to_have_count(0)


def called_elsewhere(page: Page) -> list[str]:
    hosts = ("127.0.0.1", "localhost")
    seen = [url for url in page.called if urlsplit(url).scheme not in ("data", "blob")]
    assert seen
    return [url for url in seen if urlsplit(url).hostname not in hosts]


def test_reading_changes_nothing_and_calls_nobody(book, page, tmp_path):
    with jupyterlab(LAB, tmp_path, PUDM_ROOT=str(book), PUDM_BUILD="") as served:
        open_lab(page, served)
        # Chapter 00 is open, and there are the notebooks alone to choose from.
        expect(page.locator(".jp-NotebookPanel")).to_have_count(1)
        names = page.locator(".jp-DirListing-itemText").all_inner_texts()
        assert CHAPTER in names and all(n.endswith(".ipynb") for n in names)
        run_two_cells_and_save(page)
        # No question about news or updates, on the first day either.
        expect(page.locator(".jp-toastContainer, .Toastify__toast")).to_have_count(0)
    copy = (book / "build" / "lab" / CHAPTER).read_text()
    assert '"execution_count": 2' in copy  # the save arrived
    assert git(book, "status", "--porcelain") == ""
    assert called_elsewhere(page) == []


def test_an_authors_save_is_the_authors_change(book, page, tmp_path):
    command, place = (*LAB, "--edit"), {"PUDM_ROOT": str(book), "PUDM_BUILD": ""}
    with jupyterlab(command, tmp_path, **place) as served:
        open_lab(page, served)
        run_two_cells_and_save(page)
        assert git(book, "status", "--porcelain") == ""
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Control+End")
        page.keyboard.type("  # mine")
        save(page)
        # Saved twice: the file has not changed behind JupyterLab's back.
        page.keyboard.type("!")
        save(page)
    changed = git(book, "diff", "--unified=0", "--no-color").splitlines()
    lines = [x for x in changed if x[0] in "+-" and x[:3] not in ("+++", "---")]
    assert [x.strip('+-" ') for x in lines if x.startswith("+")] == (
        ["import pudm_lib as pu  # mine!"] * 2
    )
    assert len(lines) == 4 and called_elsewhere(page) == []
