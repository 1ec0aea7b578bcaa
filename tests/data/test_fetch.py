"""fetch from this machine: folders laid out like the bucket, one's own photos, the rendered sample."""

import asyncio
import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.data.abid import parse_list
from bintally.data.fetch import FetchReport, FetchSettings, fetch
from bintally.data.journal import JOURNAL, Journal
from bintally.data.selection import parse_ids
from bintally.data.sources.own import ids_of
from bintally.errors import BintallyError, ConfigError, SourceError, StorageError, UsageError
from bintally.manifest import Manifest
from tests.conftest import shared_dir
from tests.data.servers import lay_out, tree

IDS = ["00001", "00002", "00003", "00010", "1", "10", "100313", "2"]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "bucket", IDS, without_metadata=("10",))


def details(out: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((out / "fetch.json").read_text())
    return loaded


def counts_of(out: Path) -> dict[str, int | None]:
    table = Manifest.read(out).table
    return dict(zip(table["bin_image_id"], table["recorded_count"], strict=True))


def test_a_folder_arrives_whole_and_ids_keep_their_zeros(bucket: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    report = fetch(source=str(bucket), out=out)
    table = Manifest.read(out).table
    assert table["bin_image_id"].to_list() == sorted(IDS)
    for row in table.iter_rows(named=True):
        original = (bucket / row["path"]).read_bytes()
        assert (out / row["path"]).read_bytes() == original
        assert (row["sha256"], row["size_bytes"]) == (hashlib.sha256(original).hexdigest(), len(original))
        if row["bin_image_id"] != "10":
            assert (out / row["metadata_path"]).read_bytes() == (bucket / row["metadata_path"]).read_bytes()
            assert row["count_source"] == "metadata"
            assert len(row["product_ids"]) == 1
    assert (report.asked, report.photos, report.fetched, report.without_metadata, report.without_count) == (
        8,
        8,
        8,
        1,
        1,
    )
    assert sum(report.counts.values()) == 7
    assert details(out)["without_count"] == ["10"]


def test_a_second_run_fetches_nothing_and_changes_nothing(bucket: Path, tmp_path: Path) -> None:
    fetch(source=str(bucket), out=tmp_path / "data")
    before = tree(tmp_path / "data")
    report = fetch(source=str(bucket), out=tmp_path / "data")
    assert (report.fetched, report.reused, report.bytes) == (0, 8, 0)
    assert tree(tmp_path / "data") == before


def test_what_changed_here_or_there_is_fetched_again_and_nothing_else(bucket: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    fetch(source=str(bucket), out=out)
    (bucket / "bin-images/1.jpg").write_bytes(b"another photo")  # changed there
    (bucket / "metadata/2.json").write_bytes(b'{"BIN_FCSKU_DATA": {}, "EXPECTED_QUANTITY": 5}')
    (out / "bin-images/00001.jpg").write_bytes(b"truncat")  # damaged here
    (out / "bin-images/00002.jpg").unlink()
    os.utime(out / "bin-images/00003.jpg", (1, 1))  # copied without its times: still the same bytes
    (out / "metadata/00010.json").unlink()
    report = fetch(source=str(bucket), out=out)
    assert (report.fetched, report.reused) == (5, 3)
    assert (out / "bin-images/1.jpg").read_bytes() == b"another photo"
    assert counts_of(out)["2"] == 5
    (bucket / "metadata/2.json").unlink()
    fetch(source=str(bucket), out=out)
    assert counts_of(out)["2"] is None
    assert not (out / "metadata/2.json").exists()


def test_a_photo_edited_here_never_changes_the_source(bucket: Path, tmp_path: Path) -> None:
    fetch(source=str(bucket), out=tmp_path / "data")
    with (tmp_path / "data/bin-images/1.jpg").open("r+b") as photo:
        photo.write(b"scribble")
    assert not (bucket / "bin-images/1.jpg").read_bytes().startswith(b"scribble")


def test_labels_give_missing_counts_groups_and_splits_but_never_overrule_metadata(bucket: Path, tmp_path: Path) -> None:
    (bucket / "metadata/1.json").write_bytes(b'{"BIN_FCSKU_DATA": {}}')
    truth = json.loads((bucket / "metadata/00002.json").read_bytes())["EXPECTED_QUANTITY"]
    (bucket / "labels.csv").write_text(
        f"id,count,group,split,encoding\n10,4,g1,test,native\n1,2,g2,train,\n00002,{truth + 1},g3,val,\n00003,x,,,\n"
    )
    report = fetch(source=str(bucket), out=tmp_path / "data")
    rows = {row["bin_image_id"]: row for row in Manifest.read(tmp_path / "data").table.iter_rows(named=True)}
    told = ("recorded_count", "count_source", "group", "split", "encoding")
    assert [rows["10"][name] for name in told] == [4, "labels", "g1", "test", "native"]
    assert [rows["1"][name] for name in told] == [2, "labels", "g2", "train", None]
    assert [rows["00002"][name] for name in told] == [truth, "metadata", "g3", "val", None]
    assert (report.contradictions, report.odd, report.without_count) == (1, 2, 0)
    assert details(tmp_path / "data")["contradictions"] == [
        {"bin_image_id": "00002", "metadata": truth, "told": truth + 1}
    ]


def test_photos_and_folder_may_be_links(bucket: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "bin-images").symlink_to(bucket / "bin-images")
    report = fetch(source=str(linked), out=tmp_path / "data")
    assert (report.photos, report.without_metadata) == (8, 8)
    assert not (tmp_path / "data/bin-images").is_symlink()


def test_what_is_no_photo_is_ignored_aloud(bucket: Path, tmp_path: Path) -> None:
    (bucket / "bin-images/readme.txt").write_text("hello")
    (bucket / "bin-images/1.png").write_bytes(b"a second photo of the same id")
    (bucket / "bin-images/wide.PNG").write_bytes(b"kept under its own suffix")
    report = fetch(source=str(bucket), out=tmp_path / "data")
    assert (report.photos, report.odd) == (9, 2)
    assert details(tmp_path / "data")["ignored"] == [
        "bin-images/1.png has the id of bin-images/1.jpg",
        "bin-images/readme.txt has no name of a photo",
    ]
    assert (tmp_path / "data/bin-images/wide.PNG").exists()


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({"ids": "00001-00003"}, ["00001", "00002", "00003"]),
        ({"ids": "1,10"}, ["1", "10"]),
        ({"limit": 3}, ["00001", "00002", "00003"]),
        ({"counts": "1-2"}, ["00002", "00003"]),
        ({"counts": "0,6+"}, ["00001", "100313", "2"]),
        ({"counts": "1-6+", "limit": 3}, ["00002", "00003", "00010"]),
        ({"counts": "1-6+", "ids": "00003-00010,1"}, ["00003", "00010", "1"]),
    ],
)
def test_selection(bucket: Path, tmp_path: Path, options: dict[str, str | int], chosen: list[str]) -> None:
    fetch(source=str(bucket), out=tmp_path / "data", **options)  # type: ignore[arg-type]
    assert Manifest.read(tmp_path / "data").table["bin_image_id"].to_list() == chosen
    assert sorted(path.stem for path in (tmp_path / "data/bin-images").iterdir()) == chosen


def test_asked_for_by_id_but_not_there_is_listed(bucket: Path, tmp_path: Path) -> None:
    report = fetch(source=str(bucket), out=tmp_path / "data", ids="00001-00005")
    assert (report.asked, report.photos, report.missing) == (5, 3, 2)
    assert details(tmp_path / "data")["missing"] == ["00004", "00005"]


def test_the_course_list_selects_and_tells_counts(bucket: Path, tmp_path: Path) -> None:
    course = tmp_path / "file_list.json"
    course.write_text(
        json.dumps({"2": ["data/metadata/10.json", "data/metadata/00003.json"], "5": ["data/metadata/9.json"]})
    )
    report = fetch(source=str(bucket), out=tmp_path / "data", list_file=course)
    assert counts_of(tmp_path / "data") == {"00003": 2, "10": 2}
    assert Manifest.read(tmp_path / "data").table["count_source"].to_list() == ["metadata", "list"]
    assert (report.missing, report.contradictions) == (1, 0)


def test_a_table_as_list_brings_group_and_split(bucket: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("id,count,group,split\n10,3,g7,val\n")
    fetch(source=str(bucket), out=tmp_path / "data", list_file=table, counts="3")
    row = Manifest.read(tmp_path / "data").table.row(0, named=True)
    assert (row["recorded_count"], row["count_source"], row["group"], row["split"]) == (3, "list", "g7", "val")


def test_counts_leave_out_and_count_photos_nobody_counted(bucket: Path, tmp_path: Path) -> None:
    assert fetch(source=str(bucket), out=tmp_path / "data", counts="0-6+").uncounted == 1


def test_own_photos_in_folders_named_by_count(tmp_path: Path) -> None:
    for name in ("0/a.jpg", "3/a.jpg", "3/deep/b.PNG", "12/c.jpeg", "3/notes.txt", "6+/d.jpg"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    report = fetch(source=str(tmp_path / "mine"), out=tmp_path / "data")
    assert counts_of(tmp_path / "data") == {"0_a": 0, "3_a": 3, "3_deep_b": 3, "12_c": 12}
    assert Manifest.read(tmp_path / "data").table["count_source"].unique().to_list() == ["folder"]
    assert (tmp_path / "data/bin-images/3_deep_b.PNG").read_bytes() == b"3/deep/b.PNG"
    assert details(tmp_path / "data")["odd_labels"] == [
        "3/notes.txt has no suffix of a photo",
        "6+ is no folder named by a count",
    ]
    assert report.odd == 2


def test_own_photos_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    elsewhere = tmp_path / "elsewhere.jpg"
    for path in (tmp_path / "shots/a.jpg", tmp_path / "shots/b.jpg", elsewhere):
        path.write_bytes(path.name.encode())
    table = tmp_path / "photos.csv"
    table.write_text(
        f"path,count,split\nshots/a.jpg,2,train\nshots/b.jpg,many,\nshots/gone.jpg,1,\n{elsewhere},5,test\n"
    )
    report = fetch(source=str(table), out=tmp_path / "data")
    counts = counts_of(tmp_path / "data")
    assert counts["shots_a"] == 2
    assert counts["shots_b"] is None
    assert sorted(counts.values(), key=str) == [2, 5, None]
    assert (report.photos, report.missing, report.without_count, report.odd) == (3, 1, 1, 1)


@given(st.lists(st.text(st.sampled_from("ab/._1"), min_size=1, max_size=6), unique=True, max_size=8))
def test_every_path_gets_an_id_of_its_own(paths: list[str]) -> None:
    ids = ids_of(paths)
    assert len(set(ids)) == len(paths)
    assert not any("/" in known or known.startswith(".") for known in ids)


def test_the_sample_is_rendered_once_and_fetched_like_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINTALLY_CACHE", str(tmp_path / "cache"))
    report = fetch(source="sample", out=tmp_path / "a", photos=6, seed=3)
    again = fetch(source="sample", out=tmp_path / "b", photos=6, seed=3)
    assert (report.photos, again.photos, report.without_count) == (6, 6, 0)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert len([path for path in (tmp_path / "cache/sample").iterdir() if path.is_dir()]) == 1


def test_real_photos_with_the_course_list(tmp_path: Path) -> None:
    shared = shared_dir("abid")
    real = tmp_path / "real"
    real.mkdir()
    (real / "bin-images").symlink_to(shared / "bin-images")
    (real / "labels.csv").symlink_to(shared / "labels.csv")
    listed = parse_list((shared / "file_list.json").read_bytes(), "file_list.json").by_id
    with zipfile.ZipFile(shared / "metadata.zip") as archive:
        wanted = {f"metadata/{known}.json" for known in sorted(listed)[:300]}
        archive.extractall(real, wanted & set(archive.namelist()))
    report = fetch(source=str(real), out=tmp_path / "data", list_file=shared / "file_list.json", limit=300)
    assert report.photos + report.missing == report.asked == 300
    assert report.missing > 0  # a part of the course's photos is not in the folder
    assert report.photos > 100
    assert (report.without_count, report.broken) == (0, 0)
    table = Manifest.read(tmp_path / "data").table
    assert set(table["recorded_count"].unique()) == {1, 2, 3, 4, 5}
    assert table["encoding"].null_count() == 0


def test_it_runs_where_an_event_loop_already_runs(bucket: Path, tmp_path: Path) -> None:
    """A notebook has one: `asyncio.run` alone would refuse."""

    async def cell() -> FetchReport:
        return fetch(source=str(bucket), out=tmp_path / "data")

    assert asyncio.run(cell()).photos == 8


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"counts": "7"}, ConfigError, "'7' is no count"),
        ({"counts": "5-1"}, ConfigError, "'5-1' is no count"),
        ({"limit": 0}, ConfigError, "'limit'"),
        ({"concurrency": 0}, ConfigError, "'concurrency'"),
        ({"ids": "1-00500"}, ConfigError, "differ in length"),
        ({"ids": "00500-00001"}, ConfigError, "empty or endless"),
        ({"ids": " , "}, ConfigError, "no id"),
        ({"list_file": Path("no-such-list.json")}, ConfigError, "no-such-list.json can't be read"),
        ({"ids": "77777"}, SourceError, "None of 1 photos came .*: 1 missing, 0 broken"),
        ({"counts": "6+", "ids": "00001"}, SourceError, "no photo that fits"),
        ({"source": "abit"}, SourceError, "no source 'abit'.*Did you mean 'abid'"),
        ({"source": "ftp://host/x"}, SourceError, "no address"),
        ({"source": "s3://"}, SourceError, "no address"),
    ],
)
def test_bad_requests(
    bucket: Path, tmp_path: Path, options: dict[str, object], error: type[BintallyError], told: str
) -> None:
    with pytest.raises(error, match=told):
        fetch(**{"source": str(bucket), "out": tmp_path / "data", **options})  # type: ignore[arg-type]
    assert not (tmp_path / "data/manifest.parquet").exists()


def test_an_unknown_setting_of_a_recipe_says_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'limits'\. Did you mean 'limit'"):
        FetchSettings.of({"limits": 3}, where="recipe.toml")


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ([], "is empty"),
        (["notes.txt"], "is not laid out as a source"),
        (["3/notes.txt"], "hold no photo"),
        (["bin-images/notes.txt"], "has no photo that fits"),
    ],
)
def test_folders_without_photos(tmp_path: Path, made: list[str], told: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in made:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no photo")
    with pytest.raises(SourceError, match=told):
        fetch(source=str(folder), out=tmp_path / "data")


def test_a_data_folder_keeps_to_one_source(bucket: Path, tmp_path: Path) -> None:
    fetch(source=str(bucket), out=tmp_path / "data")
    other = lay_out(tmp_path / "other", ["00001"], seed=9)
    with pytest.raises(UsageError, match="holds photos from"):
        fetch(source=str(other), out=tmp_path / "data")


def test_two_fetches_never_write_to_one_folder(bucket: Path, tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "data", str(bucket.resolve()))
    with pytest.raises(UsageError, match="Another fetch"):
        fetch(source=str(bucket), out=tmp_path / "data")
    journal.close()
    assert fetch(source=str(bucket), out=tmp_path / "data").photos == 8


def test_a_torn_journal_is_read_up_to_the_tear_and_an_edited_one_refused(bucket: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    fetch(source=str(bucket), out=out)
    whole = (out / JOURNAL).read_bytes()
    (out / JOURNAL).write_bytes(whole[:-20])
    assert fetch(source=str(bucket), out=out).fetched == 1
    (out / JOURNAL).write_bytes(whole.replace(b'{"id"', b'{"ID"', 1))
    with pytest.raises(UsageError, match="was edited"):
        fetch(source=str(bucket), out=out)


def test_a_full_disk_stops_the_fetch_with_nothing_half_written(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "data"
    real_replace, calls = Path.replace, 0

    def full(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise OSError(28, "No space left on device")
        return real_replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        fetch(source=str(bucket), out=out)
    monkeypatch.undo()
    assert not (out / "manifest.parquet").exists()
    assert not list(out.rglob("*.tmp"))
    for photo in (out / "bin-images").iterdir():
        assert photo.read_bytes() == (bucket / "bin-images" / photo.name).read_bytes()
    assert fetch(source=str(bucket), out=out).photos == 8


def test_a_photo_that_cannot_be_read_is_listed(bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_read = Path.read_bytes

    def failing(self: Path) -> bytes:
        if self.name == "1.jpg":
            raise OSError(5, "Input/output error")
        return real_read(self)

    monkeypatch.setattr(Path, "read_bytes", failing)
    report = fetch(source=str(bucket), out=tmp_path / "data")
    assert (report.photos, report.broken, report.missing) == (7, 1, 0)
    assert details(tmp_path / "data")["broken"] == [
        {"bin_image_id": "1", "key": "bin-images/1.jpg", "why": "Input/output error"}
    ]


def test_a_link_that_leads_nowhere_is_missing_and_a_folder_no_photo(bucket: Path, tmp_path: Path) -> None:
    (bucket / "bin-images/3.jpg").symlink_to(tmp_path / "gone.jpg")
    (bucket / "bin-images/4.jpg").mkdir()
    report = fetch(source=str(bucket), out=tmp_path / "data")
    assert (report.asked, report.photos, report.missing, report.odd) == (9, 8, 1, 1)


def test_a_fetch_never_writes_over_its_source(bucket: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is the source itself"):
        fetch(source=str(bucket), out=bucket)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "bin-images").symlink_to(bucket / "bin-images")
    with pytest.raises(UsageError, match="is a link"):
        fetch(source="s3://anything", out=linked, anonymous=True)
    assert not (bucket / JOURNAL).exists()


@given(st.integers(0, 99_000), st.integers(0, 50), st.integers(5, 8))
def test_a_range_holds_every_id_once_and_all_are_equally_long(first: int, more: int, width: int) -> None:
    ids = parse_ids(f"{first:0{width}}-{first + more:0{width}}")
    assert len(ids) == more + 1
    assert {len(known) for known in ids} == {width}
    assert [int(known) for known in ids] == list(range(first, first + more + 1))
