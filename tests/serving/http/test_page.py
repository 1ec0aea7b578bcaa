"""The page in a real Chromium, used as a person uses it: mouse, keyboard, drop, phone."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from bintally.records import CountEstimate
from tests.bundles import bin_photo, no_bin_pixels
from tests.conftest import run_here
from tests.serving.conftest import running

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which `make test` installs")
from playwright.sync_api import Browser, Error, Page, Route, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: `apt-get install chromium`, or `make test` as root")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(bundle: Path, samples: Path) -> Iterator[str]:
    with running(bundle, "--samples", samples, "--max-photo-mb", "1") as (url, _):
        yield url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The open page; a script error or anything the content policy stops fails the test."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    page.goto(url)
    yield page
    page.close()
    assert wrong == []


def choose(page: Page, name: str, photo: bytes, kind: str = "image/png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": photo})


def answered(page: Page, state: str) -> None:
    expect(page.locator("#bench")).to_have_attribute("data-state", state)


def test_a_chosen_photo_is_shown_with_its_count_and_distribution(page: Page) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a photo").click()
    chooser.value.set_files({"name": "bin.png", "mimeType": "image/png", "buffer": bin_photo(3)})
    answered(page, "counted")
    expect(page.locator("#count")).to_have_text("3")
    expect(page.locator("#sure")).to_contain_text("sure")
    expect(page.locator("#bars li")).to_have_count(7)
    expect(page.locator("#bars li.best .key")).to_have_text("3")
    expect(page.get_by_role("img", name="The photo bin.png")).to_be_visible()
    shown = [int(text.strip("<%")) for text in page.locator("#bars .share").all_inner_texts()]
    assert 97 <= sum(shown) <= 103
    widths = [
        page.evaluate("bar => getComputedStyle(bar, '::before').width", bar)
        for bar in page.query_selector_all("#bars i")
    ]
    assert max(widths, key=lambda text: float(text.removesuffix("px"))) == widths[3]


def test_a_sample_is_counted_and_held_against_its_record(page: Page) -> None:
    page.get_by_role("button", name="record: 9").click()
    answered(page, "counted")
    expect(page.locator("#count")).to_have_text("6+")
    expect(page.locator("#recorded")).to_contain_text("The record says 9")
    expect(page.locator("#strip [aria-pressed=true]")).to_have_count(1)


def test_the_set_the_mean_and_the_times_are_told(page: Page) -> None:
    choose(page, "bin.png", bin_photo(2.5))
    answered(page, "counted")
    expect(page.locator("#set")).to_have_text("2 or 3")
    expect(page.locator("#expected")).to_have_text("2.50")
    expect(page.locator("#time")).to_contain_text("ms")
    expect(page.get_by_text("in 90% of photos")).to_be_visible()


def test_a_photo_that_is_no_bin_is_not_sold_as_a_count(page: Page, tmp_path: Path) -> None:
    Image.fromarray(no_bin_pixels()).save(tmp_path / "face.png")
    page.set_input_files("#file", tmp_path / "face.png")
    answered(page, "doubt")
    expect(page.get_by_text("Not taken for a photo of a bin", exact=True)).to_be_visible()
    expect(page.locator("#reason")).to_contain_text("Reason: ")
    choose(page, "bin.png", bin_photo(1))
    answered(page, "counted")
    expect(page.locator("#doubt")).to_be_hidden()
    expect(page.locator("#sure")).to_contain_text("item,")


@pytest.mark.parametrize(
    ("photo", "kind", "says"),
    [
        (bin_photo(3)[:900], "image/png", "can't be decoded"),
        (b"hello", "text/plain", "is not a JPEG, PNG or WebP photo"),
        (bytes(2**20 + 1), "image/jpeg", "has more than 1 MB"),
    ],
    ids=["torn", "text", "large"],
)
def test_an_error_is_a_sentence_with_the_next_step_and_no_count_stays(
    page: Page, photo: bytes, kind: str, says: str
) -> None:
    choose(page, "bin.png", bin_photo(3))
    answered(page, "counted")
    choose(page, "wrong", photo, kind)
    answered(page, "failed")
    expect(page.locator("#failure-message")).to_contain_text(says)
    expect(page.locator("#failure-hint")).not_to_be_empty()
    expect(page.locator("#count")).to_have_text("?")
    expect(page.locator("#bars .best")).to_have_count(0)


def test_a_dropped_photo_is_counted(page: Page) -> None:
    page.evaluate(
        """base64 => {
            const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0)), transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.png", {type: "image/png"}));
            for (const kind of ["dragenter", "dragover", "drop"])
                document.getElementById("drop").dispatchEvent(
                    new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        base64.b64encode(bin_photo(5)).decode(),
    )
    answered(page, "counted")
    expect(page.locator("#count")).to_have_text("5")
    expect(page.locator("#name")).to_have_text("dropped.png")


def test_the_keyboard_is_enough(page: Page) -> None:
    expect(page.locator("#strip button")).to_have_count(3)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose a photo")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("What the record says")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#strip button").first).to_be_focused()
    page.keyboard.press("Enter")
    answered(page, "counted")
    expect(page.get_by_role("status")).to_contain_text("1 item")


def test_the_answer_to_an_older_photo_never_replaces_the_newest(page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/counts*", lambda route: route.continue_() if held else held.append(route))
    choose(page, "older.png", bin_photo(1))
    expect(page.locator("#sure")).to_have_text("Counting")
    expect(page.locator("#name")).to_have_text("older.png")
    choose(page, "newest.png", bin_photo(4))
    answered(page, "counted")
    with suppress(Error):  # the page has given that request up
        held[0].fulfill(body=CountEstimate(count=1, probabilities={"1": 1.0}, count_set=("1",)).to_json())
    page.wait_for_load_state("networkidle")
    expect(page.locator("#count")).to_have_text("4")
    expect(page.locator("#name")).to_have_text("newest.png")


def test_on_a_phone_nothing_is_cut_off_and_the_answer_comes_into_view(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name="record: 1").click()
    answered(page, "counted")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    expect(page.locator("#photo")).to_be_in_viewport()
    expect(page.locator("#count")).to_be_in_viewport()


def test_a_service_that_went_away_is_told(page: Page) -> None:
    page.route("**/v1/counts*", lambda route: route.abort())
    choose(page, "bin.png", bin_photo(3))
    answered(page, "failed")
    expect(page.locator("#failure-message")).to_have_text("The service does not answer.")


def test_what_the_record_says_is_judged(page: Page) -> None:
    choose(page, "bin.png", bin_photo(3))
    answered(page, "counted")
    expect(page.locator("#verdict")).to_be_hidden()
    page.get_by_label("What the record says").fill("5")
    page.keyboard.press("Tab")
    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator("#outcome-words")).to_contain_text("It says 5")
    expect(page.locator("#reasons li").first).not_to_be_empty()
    page.get_by_label("What the record says").fill("")
    page.keyboard.press("Tab")
    expect(page.locator("#verdict")).to_be_hidden()
    answered(page, "counted")


def test_what_the_record_said_of_one_photo_is_not_said_of_the_next(page: Page) -> None:
    """A sample was judged by the record of the photo before, and taken into the ledger as one of its bin."""
    record = page.get_by_label("What the record says")
    record.fill("5")
    choose(page, "bin.png", bin_photo(3))
    expect(page.locator("#outcome-words")).to_contain_text("It says 5")
    page.locator("#strip button").first.click()
    answered(page, "counted")
    expect(record).to_have_value("")
    expect(page.locator("#verdict")).to_be_hidden()
    record.fill("4")
    choose(page, "bin.png", bin_photo(2))
    answered(page, "counted")
    expect(record).to_have_value("")


def test_where_the_model_looks_is_painted_over_the_photo_and_taken_away_again(page: Page) -> None:
    choose(page, "bin.png", bin_photo(3))
    answered(page, "counted")
    plain = page.locator("#photo").get_attribute("src")
    look = page.get_by_role("button", name="Where does it look?")
    look.click()
    expect(look).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#looks")).to_contain_text("Orange")
    assert page.locator("#photo").get_attribute("src") != plain
    assert page.evaluate("document.getElementById('photo').decode().then(() => photo.naturalWidth)") == 80
    look.click()
    expect(look).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#looks")).to_be_hidden()


def test_a_service_with_keys_asks_for_one_and_goes_on_with_it(
    browser: Browser, bundle: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.json"
    made = run_here("keys", "create", "page", "--scope", "count,read", "--json", "--keys", keys)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["key"]
    monkeypatch.setenv("BINTALLY_SERVE_KEYS", str(keys))
    monkeypatch.setenv("BINTALLY_SERVE_REQUIRE_KEYS", "always")
    with running(bundle, "--samples", samples) as (url, _):
        page = browser.new_page()
        page.goto(url)
        expect(page.locator("#locked")).to_be_visible()
        expect(page.locator("#samples")).to_be_hidden()
        page.get_by_label("API key").fill("btk_wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#locked-message")).to_contain_text("is not known here")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#locked")).to_be_hidden()
        page.locator("#strip button").first.click()
        answered(page, "counted")
        assert (
            page.evaluate("document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)") == "{}{}"
        )
        page.close()
