"""The page: self-contained, with the photos of doubtful bins, and no name that could do harm."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bintally.inventory.reconcile.run import reconcile
from tests.bundles import bin_photo
from tests.inventory.reconcile.files import estimate, write_lines

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def page(bundle: Path, tmp_path: Path) -> str:
    """Of one bin accepted, two doubtful ones (one whose photo is gone), and strange names."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "B.png").write_bytes(bin_photo(2))
    stock = ["bin,quantity,unit_value", "A,1,1", "B,3,2000", "gone,3,10", "alone,1,1", f"{EVIL},-1,1"]
    (tmp_path / "stock.csv").write_text("\n".join(stock) + "\n")
    told: list[Any] = [estimate(name, 1, share=0.999) for name in ("A", "B", "gone", EVIL)]
    counts = write_lines(tmp_path / "counts.jsonl", told)
    out = tmp_path / "result.html"
    reconcile(counts=counts, records=tmp_path / "stock.csv", bundle=bundle, promise=0.1, out=out)
    return out.read_text()


def test_it_needs_no_other_file(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/jpeg;base64,") == 1
    assert "photo not found" in page


def test_it_says_what_was_found_and_promised(page: str) -> None:
    assert "<h1>1 of 3 records need no person</h1>" in page
    assert "Of the accepted, at most 10.0% are wrong" in page
    assert re.search(r"2.0 items off expected, 3,9\d\d.\d\d USD; right with 1.\d%", page)
    assert page.index("<b>B</b>: 3 recorded, 1 seen") < page.index("<b>gone</b>: 3 recorded")
    assert "needed for the promise" in page
    assert "Records without a photo" in page
    assert "alone" in page


def test_names_are_text(page: str) -> None:
    assert EVIL not in page
    assert "&lt;script&gt;" in page


def test_plain_counts_have_a_page_too(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "stock.csv").write_text("bin,quantity\nA,3\n")
    (tmp_path / "counts.jsonl").write_text(json.dumps({"bin": "A", "count": 1}) + "\n")
    out = tmp_path / "result.html"
    reconcile(counts=tmp_path / "counts.jsonl", records=tmp_path / "stock.csv", bundle=bundle, out=out)
    assert "Nothing is promised here, so nothing is accepted." in out.read_text()
