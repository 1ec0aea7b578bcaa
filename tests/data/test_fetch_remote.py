"""fetch over the line: an S3 endpoint, GCS's protocol and web servers on localhost, all of which can misbehave."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from bintally.data import transfer
from bintally.data.fetch import fetch
from bintally.data.sources import base
from bintally.errors import SourceError
from bintally.manifest import Manifest
from tests.data.servers import FaultyServer, lay_out, serving, tree

IDS = [f"{number:05}" for number in range(1, 25)] + ["1", "2"]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries wait for 2 ms instead of 200: what is tested is that they happen."""
    monkeypatch.setattr(base, "FIRST_PAUSE_S", 0.002)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("source") / "bucket", IDS, without_metadata=("00005",))


@pytest.fixture(scope="module")
def s3(bucket: Path) -> Iterator[str]:
    """A moto server with the bucket's photos under s3://bins/some/prefix."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )
    client.create_bucket(Bucket="bins")
    for path in sorted(bucket.rglob("*.*")):
        client.put_object(
            Bucket="bins", Key=f"some/prefix/{path.relative_to(bucket).as_posix()}", Body=path.read_bytes()
        )
    client.close()
    yield endpoint
    server.stop()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials where the S3 client looks for them."""
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def assert_all_came(bucket: Path, out: Path, ids: list[str] = IDS) -> None:
    table = Manifest.read(out).table
    assert table["bin_image_id"].to_list() == sorted(ids)
    for row in table.iter_rows(named=True):
        original = (bucket / row["path"]).read_bytes()
        assert (out / row["path"]).read_bytes() == original
        assert row["sha256"] == hashlib.sha256(original).hexdigest()
        assert (row["metadata_path"] is None) == (row["bin_image_id"] == "00005")


def details(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "fetch.json").read_text())
    return loaded


@pytest.mark.usefixtures("keys")
def test_s3_by_listing(bucket: Path, s3: str, tmp_path: Path) -> None:
    report = fetch(source="s3://bins/some/prefix/", out=tmp_path / "data", endpoint=s3)
    assert_all_came(bucket, tmp_path / "data")
    assert (report.photos, report.without_metadata, report.without_count) == (26, 1, 1)
    again = fetch(source="s3://bins/some/prefix", out=tmp_path / "data", endpoint=s3)
    assert (again.reused, again.bytes) == (26, 0)


@pytest.mark.usefixtures("keys")
def test_s3_endpoint_from_the_environment_and_selection_by_id_and_count(
    bucket: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    report = fetch(source="s3://bins/some/prefix", out=tmp_path / "data", ids="00020-00030", counts="1-5", limit=3)
    # Counts of 00020 ... are 5, 6, 0, 1, 2: the first three that fit
    assert Manifest.read(tmp_path / "data").table["bin_image_id"].to_list() == ["00020", "00023", "00024"]
    assert report.counts["5"] == report.counts["1"] == report.counts["2"] == 1


@pytest.mark.usefixtures("keys")
def test_s3_behind_a_line_that_delays_throttles_cuts_and_damages(bucket: Path, s3: str, tmp_path: Path) -> None:
    line = FaultyServer(upstream=s3, delay_s=0.002)
    prefix = "/bins/some/prefix/bin-images"
    line.faults[f"{prefix}/00001.jpg"] = ["503", "429", "503"]
    line.faults[f"{prefix}/00002.jpg"] = ["cut", "reset"]
    line.faults[f"{prefix}/00003.jpg"] = ["flip"]
    line.faults["/bins/some/prefix/metadata/00004.json"] = ["cut", "503", "flip"]
    line.faults["/bins"] = ["503", "reset"]  # the listing
    with serving(line) as endpoint:
        report = fetch(source="s3://bins/some/prefix", out=tmp_path / "data", endpoint=endpoint, concurrency=8)
    assert_all_came(bucket, tmp_path / "data")
    assert (report.missing, report.broken, report.retries) == (0, 0, 9)
    assert 1 < line.most_in_flight <= 8


@pytest.mark.usefixtures("keys")
def test_an_etag_that_is_no_md5_costs_a_second_look_not_the_photo(
    bucket: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under SSE-KMS an ETag looks like an MD5 and is none: every photo of such a bucket was once "broken"."""

    class Encrypting(FaultyServer):
        def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            status, kept, body = super().answer(method, target, headers)
            return status, {k: f'"{"ab" * 16}"' if k.lower() == "etag" else v for k, v in kept.items()}, body

    line = Encrypting(upstream=s3)
    with serving(line) as endpoint:
        report = fetch(source="s3://bins/some/prefix", out=tmp_path / "data", endpoint=endpoint, concurrency=1)
    assert_all_came(bucket, tmp_path / "data")
    assert (report.broken, report.retries) == (0, transfer.ODD_TAGS)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("options", [{}, {"ids": "00001-00003"}])
def test_a_bucket_that_is_not_there(s3: str, tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(SourceError, match="no bucket for s3://other"):
        fetch(source="s3://other", out=tmp_path / "data", endpoint=s3, retries=1, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("keys")
def test_a_prefix_with_nothing_under_it(s3: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no photo that fits"):
        fetch(source="s3://bins/nothing/here", out=tmp_path / "data", endpoint=s3)


@pytest.mark.usefixtures("keys")
def test_a_private_bucket_asked_without_credentials(s3: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="access denied"):
        fetch(source="s3://bins/some/prefix", out=tmp_path / "data", endpoint=s3, anonymous=True, retries=0)


def test_the_public_dataset_is_asked_without_credentials(bucket: Path, tmp_path: Path) -> None:
    """No key is sent, and the dataset's bucket lies right under its name."""
    seen: list[dict[str, str]] = []

    class Public(FaultyServer):
        def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            seen.append(headers)
            return super().answer(method, target.removeprefix("/aft-vbi-pds"), headers)

    with serving(Public(bucket)) as endpoint:
        report = fetch(source="abid", out=tmp_path / "data", endpoint=endpoint, ids="00001-00004")
    assert report.photos == 4
    assert seen
    assert not any(name.lower() == "authorization" for headers in seen for name in headers)


def test_google_cloud_storage(bucket: Path, tmp_path: Path) -> None:
    """Its XML protocol: a listing page, then objects, under the bucket's name."""

    class Google(FaultyServer):
        def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            if "list-type=2" in target:
                names = sorted(path.relative_to(bucket).as_posix() for path in bucket.glob("bin-images/*"))
                rows = "".join(
                    f"<Contents><Key>p/{name}</Key><Size>9</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"
                    f'<ETag>"x"</ETag></Contents>'
                    for name in names
                )
                body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
                return 200, {"Content-Type": "application/xml"}, body.encode()
            status, kept, body_ = super().answer(method, target.removeprefix("/bins/p"), headers)
            stamps = {"ETag": '"x"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            return status, kept | stamps, body_

    with serving(Google(bucket)) as endpoint:
        fetch(source="gs://bins/p", out=tmp_path / "data", endpoint=endpoint, anonymous=True)
    assert_all_came(bucket, tmp_path / "data")


def test_a_web_server_by_ids_with_every_fault_at_once(bucket: Path, tmp_path: Path) -> None:
    server = FaultyServer(bucket, delay_s=0.002)
    server.faults["/*/*"] = ["503", "cut", "reset", "429"] * 6
    with serving(server) as url:
        report = fetch(source=url, out=tmp_path / "data", ids=",".join(IDS), retries=20)
    assert_all_came(bucket, tmp_path / "data")
    assert report.retries == 24


def test_no_object_is_asked_for_twice(bucket: Path, tmp_path: Path) -> None:
    """--counts looks at the metadata first, and missing metadata was once asked for again with the photo."""
    server = FaultyServer(bucket)
    with serving(server) as url:
        report = fetch(source=url, out=tmp_path / "data", ids="00001-00030", counts="1-5")
        assert report.uncounted == 7  # 00005 has no metadata, 00025-00030 nothing at all
        assert set(server.requests.values()) == {1}
        server.requests.clear()
        fetch(source=url, out=tmp_path / "data", ids="00001-00030", counts="1-5")
    asked = {path for path in server.requests if path != "/labels.csv"}
    assert asked == {f"/metadata/{known}.json" for known in ("00005", *(f"000{n}" for n in range(25, 31)))}


def test_a_web_server_needs_to_be_told_the_ids(bucket: Path, tmp_path: Path) -> None:
    with serving(FaultyServer(bucket)) as url, pytest.raises(SourceError, match="can't be listed") as caught:
        fetch(source=url, out=tmp_path / "data")
    assert "--ids" in caught.value.hint


def test_a_web_servers_labels_tell_the_ids(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "bucket", ["00001", "1"], without_metadata=("1",))
    (folder / "labels.csv").write_text("id,count,split\n00001,0,train\n1,4,test\n77,2,test\n")
    server = FaultyServer(folder)
    server.faults["/base/labels.csv"] = ["503"]
    server.folder = tmp_path
    folder.rename(tmp_path / "base")
    with serving(server) as url:
        report = fetch(source=f"{url}/base/", out=tmp_path / "data")
    table = Manifest.read(tmp_path / "data").table
    assert table.select("bin_image_id", "recorded_count", "count_source", "split").rows() == [
        ("00001", 0, "metadata", "train"),
        ("1", 4, "labels", "test"),
    ]
    assert details(tmp_path / "data")["missing"] == ["77"]
    assert report.contradictions == 0


def test_a_web_server_that_answers_anything_with_a_page(bucket: Path, tmp_path: Path) -> None:
    class Polite(FaultyServer):
        def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            status, kept, body = super().answer(method, target, headers)
            return (status, kept, body) if status == 200 else (200, {}, b"<html>Not here</html>")

    with serving(Polite(bucket)) as url:
        report = fetch(source=url, out=tmp_path / "data", ids="00004,00005")
    assert (report.photos, report.without_count, report.odd) == (2, 1, 2)  # labels.csv and one record are pages


def test_a_stalled_answer_is_given_up_and_asked_again(bucket: Path, tmp_path: Path) -> None:
    server = FaultyServer(bucket)
    server.faults["/bin-images/00001.jpg"] = ["stall"]
    with serving(server) as url:
        report = fetch(source=url, out=tmp_path / "data", ids="00001-00003", timeout_s=0.5)
    assert report.photos == 3
    assert report.retries >= 1  # a busy machine may be slow to answer once more
    assert server.requests["/bin-images/00001.jpg"] >= 2


def test_what_never_comes_is_listed_and_the_rest_arrives(bucket: Path, tmp_path: Path) -> None:
    server = FaultyServer(bucket)
    server.always = {"/bin-images/00002.jpg": "cut", "/metadata/00003.json": "503", "/bin-images/00004.jpg": "403"}
    with serving(server) as url:
        report = fetch(source=url, out=tmp_path / "data", ids="00001-00006,99999", retries=2)
        assert (report.asked, report.photos, report.missing, report.broken) == (7, 4, 1, 3)
        told = {(broken["key"], broken["why"].partition(" (")[0]) for broken in details(tmp_path / "data")["broken"]}
        assert {key for key, _ in told} == {path.lstrip("/") for path in server.always}
        assert ("bin-images/00004.jpg", "access denied") in told
        assert server.requests["/bin-images/00002.jpg"] == 3
        assert server.requests["/bin-images/00004.jpg"] == 1  # no use asking again
        server.always.clear()
        again = fetch(source=url, out=tmp_path / "data", ids="00001-00006,99999")
    assert (again.photos, again.missing, again.broken, again.fetched, again.reused) == (6, 1, 0, 3, 3)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="can't be reached") as caught:
        fetch(source="http://127.0.0.1:9/x", out=tmp_path / "data", ids="00001", retries=1)
    assert caught.value.hint
    with pytest.raises(SourceError, match="can't be reached"):
        fetch(source="s3://b", out=tmp_path / "data2", endpoint="http://127.0.0.1:9", anonymous=True, retries=1)


def test_a_server_that_dies_midway_stops_the_fetch_which_then_goes_on(bucket: Path, tmp_path: Path) -> None:
    ids = [f"{number:05}" for number in range(100, 300)]
    folder = lay_out(tmp_path / "bucket", ids)
    server = FaultyServer(folder)

    class Dying(FaultyServer):
        def next_fault(self, path: str) -> str | None:
            fault = super().next_fault(path)
            return "503" if sum(self.requests.values()) > 150 and self.always else fault

    server = Dying(folder)
    server.always = {"/nowhere": "503"}
    with serving(server) as url:
        with pytest.raises(SourceError, match="does not answer: 64 objects in a row"):
            fetch(source=url, out=tmp_path / "data", ids="00100-00299", retries=1, concurrency=16)
        assert not (tmp_path / "data/manifest.parquet").exists()
        server.always.clear()
        report = fetch(source=url, out=tmp_path / "data", ids="00100-00299")
        assert report.photos == 200
        assert report.reused > 20
        fetch(source=url, out=tmp_path / "whole", ids="00100-00299")
    assert tree(tmp_path / "data") == tree(tmp_path / "whole")


def test_a_limit_stops_the_listing_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 10 of half a million photos took a minute of listing."""
    pages = 0

    class Endless(FaultyServer):
        def answer(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            nonlocal pages
            if "list-type=2" not in target:
                return (404, {}, b"") if "bin-images" not in target else (200, {"ETag": '"x"'}, b"photo")
            pages += 1
            rows = "".join(
                f"<Contents><Key>bin-images/{pages:03}{row:03}.jpg</Key><Size>5</Size>"
                "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
                for row in range(1000)
            )
            body = (
                f"<ListBucketResult><IsTruncated>true</IsTruncated>{rows}"
                f"<NextContinuationToken>{pages}</NextContinuationToken></ListBucketResult>"
            )
            return 200, {}, body.encode()

    with serving(Endless()) as endpoint:
        report = fetch(source="s3://b", out=tmp_path / "data", endpoint=endpoint, anonymous=True, limit=10)
    assert report.photos == 10
    assert pages < 10
