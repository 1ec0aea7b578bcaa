"""The page tells the story to people, in a real browser, and needs nothing from anywhere."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.databases import new_ledger
from tests.inventory.erp.notebook import Notebook
from tests.inventory.evidence.corrections import Rendered, connected, corrected, exported, made, taken_back, told
from tests.inventory.worlds import MORNING

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corrections, of which one was taken back."""
    folder = tmp_path_factory.mktemp("page")
    with new_ledger(folder / "ledger.sqlite") as ledger:
        erp = Notebook(folder / "erp.sqlite")
        with ledger.write() as connection:
            world = made(connection, folder / "photos", kind=Rendered)
            connected(world)
            for code in ("A-1", "A-2"):
                corrected(world, code)
                erp.put(code, **{"B00-DRILL": 3, "B00-BITS": 1})
        told(ledger, erp)
        taken_back(ledger, world, 1)
        told(ledger, erp, hours=8)
        exported(ledger, folder / "bundle", since=MORNING)
    return folder / "bundle"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs a Chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_the_page_shows_photos_people_and_answers_and_asks_for_nothing(browser: Browser, bundle: Path) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{bundle}/index.html")
    page.get_by_role("link").first.click()
    assert page.locator("h1").inner_text().split("\n")[0].startswith("Bin A-1: 4 recorded, 3 counted")
    assert page.locator("figure img").count() == 2
    widths = page.locator("figure img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert min(widths) > 100, "both photos are shown"
    text = page.locator("body").inner_text()
    for words in (
        "The photo before",
        "rita",
        "anna approved it",
        "one box was empty <b>",
        "took it back",
        "-40.00 EUR",
    ):
        assert words in text
    assert page.locator(".story").inner_text().count("has changed its stock") == 2
    with page.expect_navigation():
        page.locator("figure a").first.click()
    assert page.url.endswith(".jpg"), "the whole photo is in the bundle"
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    page.close()


def test_the_page_fits_a_phone(browser: Browser, bundle: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"file://{bundle}/corrections/1.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
