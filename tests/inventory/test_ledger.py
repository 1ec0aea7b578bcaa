"""Opening a ledger, and its sites."""

from pathlib import Path

import pytest

from bintally.database import audit
from bintally.errors import StorageError, UsageError
from bintally.inventory.ledger import LEDGER, Ledger, add_site, site_of


def test_a_folder_holds_its_ledger_under_one_name(tmp_path: Path) -> None:
    Ledger.open(tmp_path, create=True).close()
    assert (tmp_path / LEDGER).is_file()
    with Ledger.open(tmp_path) as ledger, ledger.read() as connection:
        assert audit.verify(connection).is_whole


def test_what_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no ledger .*ledger init PLACE"):
        Ledger.open(tmp_path / "none.sqlite")
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_away_is_an_error_that_says_so() -> None:
    with pytest.raises(StorageError, match="Is the database running"):
        Ledger.open("postgresql://nobody@127.0.0.1:9/none")


def test_a_change_that_fails_half_way_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), ledger.write() as connection:
        add_site(connection, code="STR1")
        raise RuntimeError
    with ledger.read() as connection:
        assert audit.head(connection).number == 0
        with pytest.raises(UsageError, match="no site yet"):
            site_of(connection)


def test_the_only_site_needs_no_name_and_one_of_several_does(ledger: Ledger) -> None:
    with ledger.write() as connection:
        first = add_site(connection, code="STR1", currency="EUR")
        assert site_of(connection) == first
        assert add_site(connection, code="STR1", currency="USD") == first
        add_site(connection, code="LEJ1")
        assert site_of(connection, "LEJ1").currency == "USD"
        with pytest.raises(UsageError, match=r"several sites\. Say --site: LEJ1, STR1"):
            site_of(connection)
        with pytest.raises(UsageError, match="Did you mean 'STR1'"):
            site_of(connection, "STR2")
        assert audit.head(connection).number == 2  # the second time nothing was done
