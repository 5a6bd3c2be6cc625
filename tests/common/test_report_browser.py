"""The page of all results in a browser: no error, pictures, narrow screens."""

from __future__ import annotations

import os
import shutil

import pytest
from report_examples import write_results

from common.report import write_index
from common.report.collect import RECORDS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason="Chromium is not installed (apt-get install chromium)"
    ),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of some results, as a file."""
    return write_index(write_results(tmp_path_factory.mktemp("results"))).as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with playwright.sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=BROWSER, args=FLAGS
        )
        yield context
        context.close()


@pytest.fixture
def page(browser, address):
    """The page in a window of its own; fails after the test where anything went wrong in it."""
    wrong, asked = [], []
    page = browser.new_page()
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    assert wrong == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    page.close()


def test_every_picture_loads(page):
    page.locator("summary", has_text="film").first.click()
    widths = page.evaluate(
        "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    committed = len(list(RECORDS.glob("*.png")))
    assert widths[:2] == [6, 6] and len(widths) == 2 + committed and all(widths)


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 740})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colors = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colors == "rgb(20, 23, 26)") == (scheme == "dark")
