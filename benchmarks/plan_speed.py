"""How long the plan of a day takes over a million bins, and how much memory: `choose` alone, and from a ledger.

    python benchmarks/plan_speed.py [--bins 1000000]

The ledger is a SQLite file that the database fills itself: a record of one product, two movements, a photo's verdict
and to every fifth bin a count. Each part runs in a process of its own.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import text

from bintally.inventory.ledger import Ledger, add_site
from bintally.inventory.people import add_person

_TOLD: Final = """
seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{seconds:6.1f} s ({cpu_s:.1f} s CPU) {peak_mb:7.0f} MB   {told}")
"""
_BEGIN: Final = """
import resource, sys, time
from pathlib import Path
start, start_cpu = time.perf_counter(), time.process_time()
"""

CHOOSE: Final = f"""
import resource, sys, time
import numpy as np, polars as pl
from bintally.inventory.planning.choose import choose
from bintally.inventory.planning.settings import Capacity
many, chance = int(sys.argv[1]), np.random.default_rng(0)
bins = pl.DataFrame(dict(
    bin=[f"A{{n // 5000}}-{{n % 5000}}" for n in range(many)], abc=chance.choice(list("ABC"), many),
    units=chance.integers(0, 9, many), unit_value=chance.lognormal(2.5, 1, many), right=chance.beta(20, 1, many),
    days_since_count=chance.integers(0, 400, many), days_since_photo=chance.integers(0, 90, many),
    moves_since=chance.poisson(4, many)))
start, start_cpu = time.perf_counter(), time.process_time()
told = f"{{len(choose(bins, Capacity(100, 500)))}} looks"
{_TOLD}"""

LEDGER: Final = f"""
{_BEGIN}
from bintally.inventory.planning.run import plan_counts
report = plan_counts(ledger=sys.argv[2], day="2026-11-22", counts=100, photos=500, out=Path(sys.argv[3]) / "plan.csv")
told = f"{{len(report.bins)}} looks of {{report.candidates:,}} bins, {{report.overdue:,}} overdue"
{_TOLD}"""

_FILLED: Final = (
    "INSERT INTO policy (sha256, body, made_at) VALUES ('p', '{\"settings\": {}}', '2026-01-01 00:00:00.000000')",
    """INSERT INTO product (id, site_id, sku, name, unit, abc, unit_value) NUMBERS
    SELECT i, 1, 'SKU-' || i, '', 'each', substr('ABBCCCCCCC', 1 + i % 10, 1), 10000 * (i % 90) FROM n
    WHERE i <= 20000""",
    "INSERT INTO bin (id, site_id, code) NUMBERS SELECT i, 1, 'A' || (i / 5000) || '-' || (i % 5000) FROM n",
    """INSERT INTO stock_record (id, bin_id, key, quantity, effective_at, received_at, source) NUMBERS
    SELECT i, i, 'k', i % 6, DAY0, DAY0, 'erp' FROM n""",
    "INSERT INTO stock_line (record_id, product_id, quantity) NUMBERS SELECT i, 1 + i % 20000, i % 6 FROM n",
    """INSERT INTO movement (bin_id, key, quantity, moved_at, received_at) NUMBERS
    SELECT i, 'a', 1, DAYS, DAYS FROM n UNION ALL SELECT i, 'b', -1, LATE, LATE FROM n""",
    """INSERT INTO belief (id, bin_id, at, events, kind, probabilities, prior, made_at) NUMBERS
    SELECT i, i, DAYS, 'e', 'photo', '[]', '[]', DAYS FROM n""",
    """INSERT INTO verdict (id, bin_id, record_id, belief_id, policy_sha256, outcome, "right", blind_recount, body,
    made_at) NUMBERS SELECT i, i, i, i, 'p', 'uncertain', 0.5 + (i % 50) / 100.0, 0, '{"prior_right": 0.95}', DAYS
    FROM n""",
    """INSERT INTO review (id, bin_id, verdict_id, round, state, reason, blind, worth, propensity, opened_at, closed_at)
    NUMBERS SELECT i, i, i, 1, 'closed', 'uncertain', 0, 1, 1.0, DAYS, DAYS FROM n WHERE i % 5 = 0""",
    """INSERT INTO decision (id, review_id, person_id, key, kind, count, note, counted_at, made_at) NUMBERS
    SELECT i, i, 1, 'd-' || i, CASE WHEN i % 20 = 0 THEN 'correct' ELSE 'accept' END, i % 6 + (i % 20 = 0), '', DAYS,
    DAYS FROM n WHERE i % 5 = 0""",
)
_WORDS: Final = {
    "NUMBERS": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :bins)",
    "DAY0": "'2026-01-01 00:00:00.000000'",
    "DAYS": "datetime('2026-01-05', '+' || (i * 7 % 20000000) || ' seconds') || '.000000'",
    "LATE": "datetime('2026-10-01', '+' || (i * 7 % 4000000) || ' seconds') || '.000000'",
}


def main() -> None:
    """Prints the figures."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--bins", type=int, default=1_000_000)
    bins = asked.parse_args().bins
    print(f"{bins:,} bins, load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    with TemporaryDirectory() as folder:
        _run("choose", CHOOSE, str(bins))
        place = Path(folder) / "ledger.sqlite"
        start = time.perf_counter()
        fill(place, bins)
        print(f"  a ledger made in {time.perf_counter() - start:.0f} s")
        _run("plan_counts", LEDGER, str(bins), str(place), folder)


def fill(place: Path, bins: int) -> None:
    """A ledger of so many bins."""
    with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
        add_site(connection, code="STR1", currency="EUR")
        add_person(connection, name="rita", role="reviewer", by="benchmark")
        for statement in _FILLED:
            for word, meaning in _WORDS.items():
                statement = statement.replace(word, meaning)
            connection.execute(text(statement.replace('": ', '"\\: ')), {"bins": bins} if ":bins" in statement else {})


def _run(name: str, code: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    print(f"  {name:<12} {done.stdout.strip()}")


if __name__ == "__main__":
    main()
