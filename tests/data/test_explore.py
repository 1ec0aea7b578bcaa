import json
import re
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from bintally.data.check import check
from bintally.data.explore import ExploreReport, ExploreSettings, explore
from bintally.data.survey import MOST_CHANGE, measures, visits, with_bins
from bintally.errors import DataError, ManifestError
from bintally.manifest import FETCHED, Manifest
from bintally.records import COUNT_KEYS, Product
from tests.conftest import run_here
from tests.data.bin_folder import BinFolder, draw_photo, encoded, record

Page = str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bins of 1 to 8 items, some photographed again, two encodings, a broken photo and a copy; checked."""
    bins = BinFolder(tmp_path_factory.mktemp("explore") / "bins <of> ours")
    for number in range(24):
        name, bin_number = f"{number + 1:05d}", number // 3
        quantities = [1] * (bin_number + 1 - number % 2) or [1]
        bins.add(
            name,
            draw_photo(number),
            metadata=record(f"{bin_number}_", quantities),
            encoding="native" if number % 2 else "half",
        )
    bins.add("00050", encoded(draw_photo(50))[:700]).add("00051", draw_photo(1), metadata=record("0_", [1]))
    check(data=bins.write(), workers=1)
    return bins.folder


@pytest.fixture(scope="module")
def report(folder: Path) -> ExploreReport:
    return explore(data=folder)


@pytest.fixture(scope="module")
def page(report: ExploreReport) -> Page:
    return Path(report.page).read_text()


def page_of(folder: Path, out: Path) -> Page:
    report = explore(data=folder, out=out)
    page = out.read_text()
    assert report.page == str(out)
    assert report.page_bytes == len(page.encode()) < 5_000_000
    return page


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert "url(http" not in page
    assert "<script src" not in page
    assert page.count("<svg") == page.count("</svg>") >= 9


def test_names_from_outside_are_escaped(page: Page) -> None:
    assert "bins &lt;of&gt; ours" in page
    assert "<of>" not in page


def test_every_part_is_there_with_its_figures(page: Page) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "How many items",
        "The tail",
        "What the counts look like",
        "The same bin over time",
        "Brightness",
        "Sharpness",
        "Sizes",
        "Products against items",
        "How large the products are",
        "How heavy they are",
        "What check found",
    ]
    assert ">truncated</span><b>1</b>" in page
    assert ">duplicate</span><b>1</b>" in page
    assert "no picture" in page  # the truncated photo's frame


def test_the_report_has_the_headline_figures(folder: Path, report: ExploreReport) -> None:
    table = Manifest.read(folder).usable()
    assert (report.photos, report.usable) == (26, 24)
    assert report.counts == {key: table.filter(pl.col("count_key") == key).height for key in COUNT_KEYS}
    assert report.bins == 8
    assert report.products == len({asin for asins in table["product_ids"] for asin in asins})
    assert report.imbalance == round(max(report.counts.values()) / min(filter(None, report.counts.values())), 2)


def test_a_seed_draws_the_same_photos_again_even_zero_and_another_seed_others(
    folder: Path, page: Page, tmp_path: Path
) -> None:
    settings = ExploreSettings.of({"seed": 5})
    pages = []
    for seed in (0, None):
        explore(data=folder, out=tmp_path / "page.html", seed=seed, settings=settings)
        pages.append((tmp_path / "page.html").read_text())
    assert pages[0] == page
    assert "(seed 5)" in pages[1]
    assert pages[1].replace("seed 5", "seed 0") != page


def test_before_check_the_page_says_what_check_would_add(tmp_path: Path) -> None:
    data = BinFolder(tmp_path).add("1", draw_photo(1), metadata=record("1", [2])).write()
    page = page_of(data, data / "explore.html")
    assert "not measured yet" in page
    assert "run `bintally check`" in page


def test_own_photos_without_records_have_a_page_too(tmp_path: Path) -> None:
    data = BinFolder(tmp_path).add("a", draw_photo(1), count=1).add("b", draw_photo(2), count=7).write()
    check(data=data, workers=1)
    page = page_of(data, data / "explore.html")
    assert "No records came with these photos" in page
    assert "No photo of 0, 2, 3, 4, 5." in page
    assert "every photo is sound" in page


def test_one_photo_and_odd_records_are_enough(tmp_path: Path) -> None:
    bins = BinFolder(tmp_path).add(
        "1", Image.new("L", (90, 90), 100), count=0, metadata=b"no record", count_source="list"
    )
    page_of(bins.write(), tmp_path / "unchecked.html")
    check(data=tmp_path, workers=1)
    page_of(tmp_path, tmp_path / "checked.html")


def test_no_photo_with_a_count_is_a_page_that_says_so(tmp_path: Path) -> None:
    data = BinFolder(tmp_path).add("1", draw_photo(1), count=None).write()
    assert "No photo of 0, 1, 2, 3, 4, 5, 6+." in page_of(data, tmp_path / "page.html")


def test_an_empty_manifest_and_none_at_all_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        explore(data=tmp_path)
    Manifest.build(tmp_path, []).write(FETCHED)
    with pytest.raises(DataError, match="lists no photo"):
        explore(data=tmp_path)


def test_changes_are_those_between_a_bins_neighbouring_photos(tmp_path: Path) -> None:
    counts = {"8": 3, "9": 2, "10": 2, "11": 12, "00009": 5}  # as numbers, not as text: 9 comes before 10
    groups = {"8": "a", "9": "a", "10": "a", "11": "a", "00009": "b"}
    rows: list[dict[str, object]] = [
        {"bin_image_id": name, "path": name, "recorded_count": counts[name], "group": groups[name]} for name in counts
    ]
    found = visits(with_bins(Manifest.build(tmp_path, rows)))
    assert (found.bins, found.pairs) == (2, 3)
    assert {step: pairs for step, pairs in found.changes.items() if pairs} == {
        "\N{MINUS SIGN}1": 1,
        "0": 1,
        f"≥ +{MOST_CHANGE}": 1,
    }
    assert found.photos_per_bin == {"1": 1, "2": 0, "3": 0, "4": 1, "5": 0, "6+": 0}


def test_bins_are_found_where_the_source_gave_no_groups(folder: Path) -> None:
    table = with_bins(Manifest.read(folder))
    assert not table["group"].null_count()
    assert table.filter(pl.col("bin_image_id").is_in(["00001", "00002", "00003"]))["group"].n_unique() == 1


def test_sides_are_sorted_and_unknown_ones_left_out() -> None:
    products = {"A": Product("A", "a", 1, 5.0, 2.0, 9.0, None), "B": Product("B", "b", 1, 1.0, None, 2.0, 0.5)}
    sizes = {name: values.tolist() for name, values in measures(products).items()}
    assert sizes == {"shortest side": [2.0], "middle side": [5.0], "longest side": [9.0], "weight": [0.5]}


def test_the_command_says_where_the_page_is(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    ran = run_here("explore", folder, "--out", out, "--seed", "3", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["page"] == str(out)
    assert "(seed 3)" in out.read_text()
