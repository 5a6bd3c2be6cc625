"""The page of all results in a browser: no error, pictures, sorting, filter, narrow screens."""

from __future__ import annotations

import os
import shutil

import pytest
from report_examples import write_results

from common.report import write_index

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


def table_of(page):
    """The table of DASBE's Table 1, which has several verdicts."""
    return page.locator("article", has_text="Table 1: adjusted").locator("table").first


def column(page, place):
    """The texts of a column of :func:`table_of`, as they stand."""
    cells = table_of(page).locator(f"tr.main > :nth-child({place})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_every_picture_loads(page):
    page.locator("summary", has_text="film").first.click()
    widths = page.evaluate(
        "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert widths == [6, 6]


def test_a_click_and_the_keyboard_sort_the_table(page):
    before = column(page, 3)
    assert len(before) == 15
    head = table_of(page).locator("th", has_text="here")
    head.locator("button").click()
    up = [float(text.split()[0]) for text in column(page, 3)]
    assert head.get_attribute("aria-sort") == "ascending"
    assert up == sorted(up) != [float(text.split()[0]) for text in before]
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text.split()[0]) for text in column(page, 3)] == up[::-1]
    assert "here, descending" in page.locator("#said").inner_text()

    page.keyboard.press("Tab")  # the next head
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "none"
    verdicts = column(page, 4)
    assert verdicts == sorted(verdicts)
    assert column(page, 1) != before


def test_numbers_that_are_not_there_come_last(page):
    table_of(page).locator("th", has_text="time").locator("button").click()
    cells = table_of(page).locator("tr.main > :nth-child(8)")
    times = [cell.get_attribute("data-value") for cell in cells.all()]
    there = [float(text) for text in times if text]
    assert there == sorted(there) and len(there) >= 2


def test_a_row_opens_with_all_that_is_known(page):
    button = table_of(page).locator("button", has_text="bars, DASBE")
    more = page.locator("#" + button.get_attribute("aria-controls"))
    assert not more.is_visible()
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "true" and more.is_visible()
    assert "96.5 (Table 1)" in more.inner_text() and "command" in more.inner_text()
    button.press("Enter")
    assert not more.is_visible()


def test_filter_by_paper_and_verdict(page):
    shown = page.locator(".chapter:visible")
    count = shown.count()
    assert count >= 4
    page.locator("#paper").select_option(label="GUST")
    assert shown.count() == 1 and "GUST" in shown.inner_text()
    page.locator("#paper").select_option(label="all papers")
    page.locator("#verdict").select_option(label="reached")
    rows = page.locator("tr.main:visible")
    assert rows.count() > 0
    assert {text.strip() for text in rows.locator("td:nth-child(4)").all_inner_texts()} == {
        "reached"
    }
    assert page.locator("#shown").inner_text() == f"{rows.count()} numbers"
    page.locator("#verdict").select_option(label="missing")
    assert page.locator("tr.main:visible").count() == 0
    assert "scripts/" in page.locator("main").inner_text()
    page.locator("#verdict").select_option(label="all verdicts")
    assert shown.count() == count


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 740})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    page.evaluate("document.querySelectorAll('.open').forEach(b => b.click())")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(b => b.scrollWidth > b.clientWidth)"
        ".map(b => b.ariaLabel)"
    )
    assert wide == []
    colors = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colors == "rgb(20, 23, 26)") == (scheme == "dark")


def test_keyboard_reaches_the_results_first(page):
    page.keyboard.press("Tab")
    skip = page.evaluate("document.activeElement.className")
    page.keyboard.press("Enter")
    assert skip == "skip" and page.evaluate("document.activeElement.id") == "results"
