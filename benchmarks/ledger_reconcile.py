"""How fast a ledger is judged whose photos were looked at before: bins/s, where the time goes, and of doing nothing.

    python benchmarks/ledger_reconcile.py [--bins 100000] [--followed 0.1] [--place PLACE]

Each bin has a record of one product and a photo with its estimate; a share of bins also has a count, a movement and a
second photo, so that they go through the filter over time. A tenth of the records is wrong.
"""

import argparse
import cProfile
import json
import os
import pstats
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from bintally.database.types import Table
from bintally.inventory import schema
from bintally.inventory.judging.how import How
from bintally.inventory.judging.reconcile import reconcile_ledger
from bintally.inventory.ledger import Ledger, add_site
from bintally.records import CountEstimate

MORNING = datetime(2026, 1, 5, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
PRODUCTS = 1000
AT_ONCE = 20_000
STEPS = (
    "changed_bins",
    "read_facts",
    "believe",
    "store_beliefs",
    "_claimed",
    "decide",
    "verdict",
    "_stored",
    "_open_reviews",
)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bins", type=int, default=100_000)
    parser.add_argument("--followed", type=float, default=0.1)
    parser.add_argument("--place", help="a ledger that is not there yet; default: a SQLite file in a temporary folder")
    parser.add_argument("--profile", action="store_true", help="say where the time goes (takes longer)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = asked.place or str(Path(folder) / "ledger.sqlite")
        with Ledger.open(place, create=True) as ledger:
            measure(ledger, asked.bins, asked.followed, profiled=asked.profile)


def measure(ledger: Ledger, bins: int, followed: float, *, profiled: bool) -> None:
    """Fills a ledger, judges it, and judges it again."""
    started = time.perf_counter()
    fill(ledger, How.open("champion"), bins, followed)
    print(f"{bins:,} bins made in {time.perf_counter() - started:.1f} s, {followed:.0%} of them with a history")
    print(f"load average {os.getloadavg()[0]:.1f}", flush=True)
    profile = cProfile.Profile()
    if profiled:
        profile.enable()
    cpu_s = time.process_time()
    report = reconcile_ledger(ledger=ledger, bundle="champion")
    cpu_s = time.process_time() - cpu_s
    if profiled:
        profile.disable()
        show(profile)
    print(f"judged: {report.bins / report.seconds:,.0f} bins/s ({report.seconds:.1f} s, {cpu_s:.1f} s of CPU)")
    print(f"        {report.outcomes}, {report.reviews:,} reviews")
    again = reconcile_ledger(ledger=ledger, bundle="champion")
    print(f"again:  {again.bins} bins, {again.seconds:.2f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


def fill(ledger: Ledger, how: How, bins: int, followed: float) -> None:
    """A site of `bins` bins, the first `followed` of which have a history."""
    with ledger.write() as connection:
        site = add_site(connection, code="S")
        products = [
            {
                "id": row,
                "site_id": site.id,
                "sku": f"P{row}",
                "abc": "ABC"[row % 3],
                "unit_value": 5 + row % 50,
            }
            for row in range(1, PRODUCTS + 1)
        ]
        connection.execute(insert(schema.Product), products)
    for start in range(1, bins + 1, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, bins + 1))
        with ledger.write() as connection:
            for table, rows in rows_of(how, site.id, numbers, int(bins * followed)):
                if rows:
                    connection.execute(insert(table), rows)


def rows_of(
    how: How, site_id: int, numbers: range, followed: int
) -> Iterator[tuple[type[Table], list[dict[str, object]]]]:
    """Rows of each table for some bins; ids are given, so that nothing need be asked back."""
    chance = np.random.default_rng(numbers.start)
    histories = [number for number in numbers if number <= followed]
    shares_nk = chance.dirichlet([0.15] * len(how.card.count_keys), len(numbers) + len(histories))
    best = {number: int(row.argmax()) for number, row in zip(numbers, shares_nk, strict=False)}
    wrong = {number: bool(draw < 0.1) for number, draw in zip(numbers, chance.random(len(numbers)), strict=True)}
    yield schema.Bin, [{"id": number, "site_id": site_id, "code": f"B{number:07}"} for number in numbers]
    yield schema.StockRecord, [
        {
            "id": number, "bin_id": number, "key": "first", "quantity": best[number] + wrong[number],
            "effective_at": MORNING, "received_at": MORNING, "source": "benchmark",
        }
        for number in numbers
    ]  # fmt: skip
    yield (
        schema.StockLine,
        [
            {"record_id": number, "product_id": 1 + number % PRODUCTS, "quantity": best[number] + wrong[number]}
            for number in numbers
        ],
    )
    photos = [(number, 2 * number, HOUR) for number in numbers] + [
        (number, 2 * number + 1, 3 * HOUR) for number in histories
    ]
    yield schema.Photo, [
        {
            "id": photo, "bin_id": number, "sha256": f"{photo:064x}", "taken_at": MORNING + after,
            "received_at": MORNING + after, "size_bytes": 40_000, "place": f"/nowhere/{photo}.jpg",
        }
        for number, photo, after in photos
    ]  # fmt: skip
    prior = json.dumps(how.card.target_prior)
    yield schema.Estimate, [
        {
            "photo_id": photo, "model": how.card.name, "model_sha256": how.card.model_sha256,
            "body": estimate(how, row), "prior": prior, "made_at": MORNING + after,
        }
        for (_, photo, after), row in zip(photos, shares_nk, strict=True)
    ]  # fmt: skip
    yield schema.Movement, [
        {
            "bin_id": number, "key": "pick", "quantity": 1, "moved_at": MORNING + 2 * HOUR,
            "received_at": MORNING + 2 * HOUR,
        }
        for number in histories
    ]  # fmt: skip


def estimate(how: How, shares_k: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    """An estimate as the ledger keeps it."""
    shares = {key: round(float(share), 6) for key, share in zip(how.card.count_keys, shares_k, strict=True)}
    return CountEstimate(count=int(shares_k.argmax()), probabilities=shares, model=how.card.name).to_json()


def show(profile: cProfile.Profile) -> None:
    """Seconds within each step, those it calls included."""
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for step in STEPS:
        inside = sum(told[3] for (_, _, name), told in stats.items() if name == step)
        print(f"  {step:<14} {inside:6.1f} s")


if __name__ == "__main__":
    main()
