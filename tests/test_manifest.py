from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import ManifestError
from bintally.manifest import CHECKED, FETCHED, SCHEMA, SPLIT, Manifest, count_key
from bintally.records import COUNT_KEYS, key_of

IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"bin_image_id": IDS, "path": st.just("bin-images/a.jpg")},
        optional={
            "recorded_count": st.none() | st.integers(0, 2**31 - 1),
            "product_ids": st.none() | st.lists(st.text("AB0", max_size=3), max_size=3),
            "quarantine": st.none() | st.lists(st.sampled_from(["truncated", "duplicate:1"]), max_size=2),
            "split": st.sampled_from(["train", "val", "test", None]),
            "dhash": st.none() | st.integers(0, 2**64 - 1),
            "brightness": st.none() | st.floats(0, 255, width=32),
        },
    ),
    unique_by=lambda row: str(row["bin_image_id"]),
    max_size=6,
)


def row(name: str, **columns: object) -> dict[str, object]:
    return {"bin_image_id": name, "path": f"bin-images/{name}.jpg", **columns}


def edited(folder: Path, change: pl.Expr | list[pl.Expr]) -> str:
    """What is said of a good table of two rows after `change` was made to it behind our back."""
    Manifest.build(folder, [row("1", recorded_count=3), row("00001", recorded_count=4)]).write(FETCHED)
    path = folder / FETCHED
    pl.read_parquet(path).with_columns(change).write_parquet(path)
    return refused(folder)


def refused(folder: Path, *names: str) -> str:
    with pytest.raises(ManifestError) as caught:
        Manifest.read(folder, *names)
    assert "bintally" in caught.value.hint
    return caught.value.message


@given(ROWS)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> None:
    folder = tmp_path_factory.mktemp("data")
    written = Manifest.build(folder, rows)
    written.write(FETCHED)
    read = Manifest.read(folder)
    assert read.table.equals(written.table)
    assert dict(read.table.schema) == SCHEMA
    assert read.path == folder / FETCHED


def test_ids_keep_their_zeros(tmp_path: Path) -> None:
    Manifest.build(tmp_path, [row("1"), row("00001"), row("01")]).write(FETCHED)
    assert Manifest.read(tmp_path).table["bin_image_id"].to_list() == ["1", "00001", "01"]


def test_the_latest_stage_is_read_unless_one_is_named(tmp_path: Path) -> None:
    stages = {FETCHED: "a", CHECKED: "b", SPLIT: "c"}
    for name, only in stages.items():
        Manifest.build(tmp_path, [row(only)]).write(name)
        assert Manifest.read(tmp_path).table["bin_image_id"].item() == only
    assert Manifest.read(tmp_path, CHECKED, FETCHED).table["bin_image_id"].item() == "b"
    (tmp_path / CHECKED).unlink()
    assert Manifest.read(tmp_path, CHECKED, FETCHED).name == FETCHED


def test_a_changed_table_takes_the_later_stages_tables_with_it(tmp_path: Path) -> None:
    """A second fetch once left the first one's split behind, and the old photos were trained on."""
    for name in (FETCHED, CHECKED, SPLIT):
        Manifest.build(tmp_path, [row("1")]).write(name)
    Manifest.build(tmp_path, [row("1")]).write(FETCHED)
    assert (tmp_path / SPLIT).is_file(), "the same table again changes nothing"
    Manifest.build(tmp_path, [row("1"), row("2")]).write(CHECKED)
    assert not (tmp_path / SPLIT).exists()
    assert (tmp_path / FETCHED).is_file()


@pytest.mark.parametrize(("name", "verb"), [(FETCHED, "fetch"), (CHECKED, "check"), (SPLIT, "split")])
def test_a_missing_table_names_the_stage_that_makes_it(tmp_path: Path, name: str, verb: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.read(tmp_path, name)
    assert name in caught.value.message
    assert f"bintally {verb}" in caught.value.hint


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_table_is_refused(tmp_path: Path, keep: float) -> None:
    path = Manifest.build(tmp_path, [row(str(index)) for index in range(50)]).write(FETCHED)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "no readable table" in refused(tmp_path)


def test_a_lost_and_an_unknown_column_are_both_named(tmp_path: Path) -> None:
    Manifest.build(tmp_path, [row("1")]).write(FETCHED)
    table = pl.read_parquet(tmp_path / FETCHED).rename({"sha256": "sha265"})
    table.write_parquet(tmp_path / FETCHED)
    message = refused(tmp_path)
    assert "lacks sha256" in message
    assert "unknown sha265" in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (pl.lit("1").alias("bin_image_id"), "stands twice"),
        (pl.lit("").alias("bin_image_id"), "no bin_image_id"),
        (pl.lit(None, pl.String).alias("bin_image_id"), "no bin_image_id"),
        (pl.lit(-1, pl.Int32).alias("recorded_count"), "negative recorded_count"),
        (pl.lit("many").alias("recorded_count"), "was edited"),
        (pl.lit("holdout").alias("split"), "unknown split"),
        (pl.lit(None, pl.String).alias("path"), "no path"),
        (pl.lit("/etc/passwd").alias("path"), "leads out"),
        (pl.lit("bin-images/../../secret.jpg").alias("path"), "leads out"),
        (pl.lit("..").alias("path"), "leads out"),
    ],
)
def test_an_edit_against_the_rules_is_named(tmp_path: Path, change: pl.Expr, told: str) -> None:
    assert told in edited(tmp_path, change)


def test_an_edit_says_in_how_many_rows_and_names_the_first(tmp_path: Path) -> None:
    change = pl.when(pl.col("bin_image_id") == "00001").then(-5).otherwise("recorded_count").alias("recorded_count")
    message = edited(tmp_path, change)
    assert "1 row(s)" in message
    assert "'00001'" in message


def test_a_path_with_dots_in_its_names_stays_in_the_folder_and_is_fine(tmp_path: Path) -> None:
    manifest = Manifest.build(tmp_path, [{"bin_image_id": "1", "path": "bin-images/a..b/..c.jpg"}])
    assert len(manifest) == 1


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1))
def test_count_keys_of_a_column_are_those_of_its_values(counts: list[int]) -> None:
    keys = pl.DataFrame({"count": counts}).select(count_key(pl.col("count"))).to_series()
    assert keys.to_list() == [key_of(count) for count in counts]


@given(ROWS, st.sampled_from([None, "train", "val"]), st.none() | st.lists(st.sampled_from(COUNT_KEYS), unique=True))
def test_usable_rows_have_a_count_no_quarantine_and_what_was_asked_for(
    rows: list[dict[str, object]], split: str | None, counts: list[str] | None
) -> None:
    def fits(row: dict[str, object]) -> bool:
        count = row.get("recorded_count")
        return (
            isinstance(count, int)
            and not row.get("quarantine")
            and split in (None, row.get("split"))
            and (counts is None or key_of(count) in counts)
        )

    usable = Manifest.build(Path(), rows).usable(split, counts)
    assert usable["bin_image_id"].to_list() == [row["bin_image_id"] for row in rows if fits(row)]


def test_the_fingerprint_changes_with_any_value(tmp_path: Path) -> None:
    prints = set()
    for count in (1, 2):
        Manifest.build(tmp_path, [row("1", recorded_count=count)]).write(FETCHED)
        prints |= {Manifest.read(tmp_path).fingerprint(), Manifest.read(tmp_path).fingerprint()}
    assert len(prints) == 2


def test_another_table_of_the_same_folder_is_checked_too(tmp_path: Path) -> None:
    manifest = Manifest.build(tmp_path, [row("1")])
    assert manifest.with_table(manifest.table).folder == tmp_path
    with pytest.raises(ManifestError):
        manifest.with_table(manifest.table.drop("sha256"))
