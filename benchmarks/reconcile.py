"""How fast a million records are held against a million counts, and in how much memory.

    python benchmarks/reconcile.py [--bins 1000000] [--folder FOLDER]

Makes the files (once), runs `bintally reconcile` on each kind in a process of its own, and prints its seconds from
start to end, peak memory and stages; beside them what it takes to read the bytes alone.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from bintally.bundle import CARD, read_card
from bintally.records import COUNT_KEYS
from bintally.settings import BUNDLED_CHAMPION

WRONG = 0.05
KINDS = (("jsonl", "csv", ("csv",)), ("csv", "csv", ("csv",)), ("parquet", "parquet", ("parquet",)))
"""Counts, records, and what is written."""


def main() -> None:
    """Prints the figures."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--bins", type=int, default=1_000_000)
    asked.add_argument("--folder", type=Path)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, given.bins)
        print(f"{given.bins:,} bins, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
        for counts, records, outs in KINDS:
            measure(folder / f"counts.{counts}", folder / f"stock.{records}", [folder / f"out.{out}" for out in outs])


def make(folder: Path, bins: int) -> None:
    """Counts as `bintally count` writes them, and records of which some are wrong."""
    if (folder / "stock.parquet").exists():
        return
    card, chance = read_card(BUNDLED_CHAMPION / CARD), np.random.default_rng(0)
    prior_k = np.array([card.target_prior[key] for key in COUNT_KEYS])
    true_n = chance.choice(len(COUNT_KEYS), bins, p=prior_k / prior_k.sum())
    logits_nk = chance.normal(0, 1, (bins, len(COUNT_KEYS))) - 0.9 * np.square(
        np.arange(len(COUNT_KEYS)) - true_n[:, None]
    )
    shares_nk = np.exp(logits_nk) / np.exp(logits_nk).sum(axis=1, keepdims=True)
    rows = {f"p_{key}": np.round(shares_nk[:, place], 4) for place, key in enumerate(COUNT_KEYS)}
    counts = pl.DataFrame(
        {
            "path": [f"photos/2026-11-21/B{index:07}.jpg" for index in range(bins)],
            "bin_image_id": [f"B{index:07}" for index in range(bins)],
            "count": shares_nk.argmax(axis=1),
            "expected_count": np.round(shares_nk @ np.arange(len(COUNT_KEYS)), 3),
            **rows,
            "count_set": ["1|2|3"] * bins,
            "abstain": pl.Series([None] * bins, dtype=pl.String),
            "error": pl.Series([None] * bins, dtype=pl.String),
            "model": [card.name] * bins,
            "decode_ms": np.full(bins, 4.21),
            "inference_ms": np.full(bins, 31.5),
        }
    )
    counts.write_csv(folder / "counts.csv")
    counts.write_parquet(folder / "counts.parquet")
    _json_lines(counts, folder / "counts.jsonl")
    wrong_n = chance.random(bins) < WRONG
    recorded_n = np.maximum(true_n + np.where(wrong_n, chance.choice([-2, -1, 1, 2], bins), 0), 0)
    stock = pl.DataFrame(
        {
            "bin": counts["bin_image_id"].shuffle(seed=1),
            "product": [f"P{index % 50_000:05}" for index in range(bins)],
            "quantity": recorded_n,
            "unit": ["each"] * bins,
            "unit_value": np.round(chance.lognormal(2.5, 1.0, bins), 2),
            "abc": chance.choice(["A", "B", "C"], bins),
            "as_of": ["2026-11-20T08:00:00Z"] * bins,
        }
    )
    stock = stock.with_columns(quantity=recorded_n[stock["bin"].str.slice(1).cast(pl.Int64).to_numpy()])
    stock.write_csv(folder / "stock.csv")
    stock.write_parquet(folder / "stock.parquet")


def _json_lines(counts: pl.DataFrame, path: Path) -> None:
    shares = pl.struct(pl.col(f"p_{key}").alias(key) for key in COUNT_KEYS).alias("probabilities")
    timings = pl.struct("decode_ms", "inference_ms").alias("timings")
    counts.select(
        "path", "bin_image_id", "count", "expected_count", shares, pl.col("count_set").str.split("|"), "abstain",
        "error", "model", timings, pl.lit(None).alias("previous"), pl.lit(None).alias("previous_count"),
        pl.lit(None).alias("unchanged"),
    ).write_ndjson(path)  # fmt: skip


def measure(counts: Path, records: Path, outs: Sequence[Path]) -> None:
    """Runs it once and prints what it took."""
    started = time.perf_counter()
    read_mb = sum(len(path.read_bytes()) for path in (counts, records)) / 1e6
    read_s = time.perf_counter() - started
    command = [sys.executable, "-m", "bintally", "reconcile", "--counts", str(counts), "--records", str(records)]
    command += ["--json", "--force", "--promise", "0.05", *(part for out in outs for part in ("--out", str(out)))]
    seconds, cpu_s, peak_mb, printed = run(command)
    report = json.loads(printed)
    wrote_mb = sum(out.stat().st_size for out in outs) / 1e6
    stages = ", ".join(f"{name} {took:.1f}" for name, took in report["stages_s"].items())
    kinds = f"{counts.suffix[1:]} + {records.suffix[1:]} -> {', '.join(out.suffix[1:] for out in outs)}"
    rate = report["judged"] / seconds
    print(f"{kinds:<28} {seconds:6.1f} s  {cpu_s:5.1f} s CPU  {peak_mb:6,.0f} MB peak  {rate:8,.0f} bins/s")
    print(f"    {stages} s; {read_mb:,.0f} MB read ({read_s:.2f} s for the bytes alone), {wrote_mb:,.0f} MB written")
    print(f"    {', '.join(f'{name} {number:,}' for name, number in report['outcomes'].items() if number)}")


def run(command: list[str]) -> tuple[float, float, float, bytes]:
    """Seconds, those of CPU time, peak memory of the child in MB, and what it printed."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        child = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, said.fileno(), 1)])
        _, status, usage = os.wait4(child, 0)
        seconds = time.perf_counter() - started
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
        said.seek(0)
        return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said.read()


if __name__ == "__main__":
    main()
