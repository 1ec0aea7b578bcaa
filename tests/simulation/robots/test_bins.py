from pathlib import Path

import pytest

from bintally.errors import DataError
from bintally.simulation.robots.bins import read_bins


@pytest.mark.parametrize(
    "text",
    [
        "bin\nA-1\nA-2\n",
        "site,bin\nS,A-1\nS,A-2\nS,A-1\n",
        "A-1\nA-2\n\n",
        "A-1,3\nA-2,5\n",
        "\ufeffbin\r\nA-1\r\nA-2\r\n",
    ],
)
def test_codes_are_read_from_tables_and_lists(tmp_path: Path, text: str) -> None:
    (tmp_path / "bins.csv").write_text(text)
    assert read_bins(tmp_path / "bins.csv") == ("A-1", "A-2")


def test_a_file_without_bins_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "bins.csv").write_text("bin\n")
    for name in ("bins.csv", "nowhere.csv"):
        with pytest.raises(DataError, match="ledger export bins"):
            read_bins(tmp_path / name)
