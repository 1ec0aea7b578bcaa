"""kill -9 at any moment loses nothing that was confirmed and does nothing twice.

A child takes facts in, judges them and decides reviews, step by step, and says which are done. It is killed again and
again, in the middle of a transaction, right after one, or whenever it happens to be; each time it is started again from
the first step that nobody confirmed. In the end the ledger must hold what one holds whose process was never disturbed.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, select, text

from bintally.bundle import read_card
from bintally.database import audit
from bintally.inventory import schema
from bintally.inventory.ledger import Ledger
from tests.bundles import make_bundle
from tests.crashing import Child
from tests.inventory.crash_child import STEPS
from tests.inventory.judging.yard import accept

PROGRAM = Path(__file__).parent / "crash_child.py"
TRIES = 9  # fewer kills than that, and it is left in peace

Place = Callable[[], str]


class LedgerChild(Child):
    """`crash_child`, ready to fork."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        super().__init__(PROGRAM, folder)
        self._bundle = bundle

    def run(
        self,
        place: str,
        folder: Path,
        *,
        start: int = 0,
        die: tuple[int, str] | None = None,
        after_s: float | None = None,
    ) -> tuple[int, str]:
        """The first step that is not confirmed after a run that may have been killed, and its last line."""
        task = {"place": place, "bundle": str(self._bundle), "folder": str(folder), "start": start, "die": die}
        return self.ask(task, after_s=after_s)


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerChild]:
    folder = make_bundle(tmp_path_factory.mktemp("crash") / "bundle", change=True, sharpness=4.0)
    card = read_card(folder / "card.json")
    accept(folder, card.name, card.model_sha256)
    made = LedgerChild(folder, folder.parent)
    yield made
    made.close()


@pytest.fixture
def fresh_place(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where empty ledgers can be made, one after the other, on the database of `place`."""
    if "://" not in place:
        return lambda: str(tmp_path / f"{uuid4().hex}.sqlite")
    server = str(request.getfixturevalue("postgresql"))

    def made() -> str:
        name = f"ledger_{uuid4().hex}"
        engine = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return server.replace("/postgres?", f"/{name}?")

    return made


@pytest.fixture(scope="module")
def undisturbed(child: LedgerChild, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What the ledger holds in the end, and how many transactions it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    place = str(folder / "ledger.sqlite")
    confirmed, last = child.run(place, folder / "photos")
    assert confirmed == len(STEPS)
    return held(place), int(last.split()[-1])


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_and_nothing_is_done_twice(
    place: str, child: LedgerChild, undisturbed: tuple[dict[str, Any], int], tmp_path: Path, seed: int
) -> None:
    survives(place, child, undisturbed, tmp_path / "photos", seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_two_hundred_runs(
    fresh_place: Place, child: LedgerChild, undisturbed: tuple[dict[str, Any], int], tmp_path: Path, part: int
) -> None:
    for seed in range(100 + 10 * part, 110 + 10 * part):  # on each database
        survives(fresh_place(), child, undisturbed, tmp_path / f"photos {seed}", seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_between_any_two_transactions(
    fresh_place: Place, child: LedgerChild, undisturbed: tuple[dict[str, Any], int], tmp_path: Path, when: str
) -> None:
    expected, transactions = undisturbed
    for number in range(transactions):
        place, folder = fresh_place(), tmp_path / f"photos {number}"
        confirmed, _ = child.run(place, folder, die=(number, when))
        assert child.run(place, folder, start=confirmed)[0] == len(STEPS)
        assert held(place) == expected, f"killed {when} the commit of transaction {number}"


def survives(place: str, child: LedgerChild, undisturbed: tuple[dict[str, Any], int], folder: Path, seed: int) -> None:
    """Kills a child at moments that `seed` chooses until it has done all, and looks at what is there then."""
    chance = random.Random(seed)
    expected, transactions = undisturbed
    confirmed = 0
    for _ in range(chance.randrange(1, TRIES)):
        if chance.random() < 0.7:
            left = max(transactions * (len(STEPS) - confirmed) // len(STEPS), 2)
            die = (chance.randrange(left), chance.choice(["before", "after"]))
            confirmed, _ = child.run(place, folder, start=confirmed, die=die)
        else:
            confirmed, _ = child.run(place, folder, start=confirmed, after_s=chance.uniform(0.0, 0.8))
    assert child.run(place, folder, start=confirmed)[0] == len(STEPS)
    assert held(place) == expected


def held(place: str) -> dict[str, Any]:
    """All that a ledger holds, by the names that things have in the world; the audit log must be whole."""
    with Ledger.open(place) as ledger, ledger.read() as connection:
        assert audit.verify(connection).is_whole
        rows = {
            table.__tablename__: connection.execute(select(table.__table__)).all()
            for table in (
                schema.Bin, schema.StockRecord, schema.Movement, schema.Photo, schema.Estimate, schema.Comparison,
                schema.Belief, schema.Verdict, schema.Review, schema.Decision, schema.Adjustment, schema.Label,
                schema.Judged, schema.Policy, schema.Person, schema.Site,
            )
        }  # fmt: skip
        facts = [
            (each.action, each.subject, str(each.body.get("key") or each.body.get("sha256") or ""))
            for each in audit.entries(connection)
            if each.action.endswith((".take", ".add", ".set"))
        ]
    for row in rows["photo"]:
        assert Path(row.place).stat().st_size == row.size_bytes
    named = _names(rows)
    told = {name: sorted(repr(_plain(name, row, named)) for row in table) for name, table in rows.items()}
    return told | {"audit of facts": sorted(facts)}


_OF = {
    "bin_id": "bin", "photo_id": "photo", "earlier_id": "photo", "later_id": "photo", "record_id": "stock_record",
    "belief_id": "belief", "verdict_id": "verdict", "decision_id": "decision", "undoes_id": "decision",
    "review_id": "review", "person_id": "person", "lease_person_id": "person", "approved_by_id": "person",
    "site_id": "site",
}  # fmt: skip
_ORDER = ("site", "person", "bin", "photo", "stock_record", "belief", "verdict", "review", "decision")
_NOT_TOLD = {"id", "received_at", "made_at", "opened_at", "closed_at", "settled_at", "place", "lease_token"}


def _names(rows: dict[str, Any]) -> dict[str, dict[int, str]]:
    """A name for each row by what it says; numbers differ from run to run."""
    named: dict[str, dict[int, str]] = {}
    for table in _ORDER:
        named[table] = {row.id: repr(_plain(table, row, named)) for row in rows[table]}
    return named


def _plain(table: str, row: Any, named: dict[str, dict[int, str]]) -> dict[str, Any]:
    plain = {}
    for column, value in row._mapping.items():
        if column in _NOT_TOLD:
            continue
        of = named.get(_OF.get(column, ""))
        plain[column] = of[value] if of is not None and value is not None else value
    if table == "stock_record" and row.source == "review":
        plain["key"] = "of a decision"
    return plain
