"""What may be counted: files, folders, patterns, URLs and stdin."""

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bintally.counting import inputs
from bintally.counting.inputs import expand, id_of, read_input
from bintally.errors import DataError, PhotoError, UsageError

PHOTO = b"\xff\xd8 some bytes of a photo"


@pytest.fixture
def bins(tmp_path: Path) -> Path:
    for name in (
        "b/2.jpg",
        "b/10.JPG",
        "a/1.png",
        "c.webp",
        "notes.txt",
        ".hidden/3.jpg",
        "a/._1.png",
        "b/deep/4.tiff",
    ):
        path = tmp_path / "bins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PHOTO)
    return tmp_path / "bins"


def _names(found: list[str], bins: Path) -> list[str]:
    return [Path(name).relative_to(bins).as_posix() for name in found]


def test_a_folder_gives_its_photos_and_those_below_sorted_and_nothing_hidden(bins: Path) -> None:
    assert _names(expand([bins]), bins) == ["c.webp", "a/1.png", "b/10.JPG", "b/2.jpg", "b/deep/4.tiff"]


def test_a_pattern_gives_what_it_matches(bins: Path) -> None:
    assert _names(expand([f"{bins}/*/*.jpg"]), bins) == ["b/2.jpg"]
    assert _names(expand([f"{bins}/**/[0-9].*"]), bins) == ["a/1.png", "b/2.jpg", "b/deep/4.tiff"]
    assert _names(expand([f"{bins}/b*"]), bins) == ["b/10.JPG", "b/2.jpg", "b/deep/4.tiff"]


def test_a_file_is_taken_whatever_its_name_is(bins: Path) -> None:
    odd = bins / "photo [1]*.dat"
    odd.write_bytes(PHOTO)
    assert expand([odd]) == [str(odd)]


def test_a_photo_named_twice_is_counted_once_in_first_place(bins: Path) -> None:
    assert _names(expand([bins / "b/2.jpg", bins / "b"]), bins) == ["b/2.jpg", "b/10.JPG", "b/deep/4.tiff"]


def test_a_list_is_taken_line_by_line_and_a_missing_photo_spoils_only_its_own(bins: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{bins}/c.webp\n\nnowhere.jpg\nhttps://example.org/1.jpg\n")
    assert expand([], listed=listed) == [f"{bins}/c.webp", "nowhere.jpg", "https://example.org/1.jpg"]


@pytest.mark.parametrize(
    ("named", "told"),
    [(["nowhere.jpg"], "no photo or folder nowhere.jpg"), (["no*where.jpg"], "No photo matches"), ([], "Nothing")],
)
def test_what_does_not_exist_is_told_before_anything_is_counted(named: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        expand(named)


def test_a_folder_without_photos_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photo in"):
        expand([tmp_path])
    with pytest.raises(UsageError, match="list"):
        expand([], listed=tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("name", "bin_image_id"),
    [
        ("bins/00001.jpg", "00001"),
        ("bins/1.tar.jpg", "1.tar"),
        ("https://example.org/bin-images/00042.jpg?size=2", "00042"),
        ("https://example.org/", None),
        ("-", None),
    ],
)
def test_the_bins_id_is_the_files_stem_with_its_zeros(name: str, bin_image_id: str | None) -> None:
    assert id_of(name) == bin_image_id


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/photo.jpg":
            self._answer(200, PHOTO)
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/photo.jpg")
            self.end_headers()
        elif self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif self.path == "/cut":
            self._answer(200, PHOTO, claims=10_000)
        elif self.path == "/big":
            self._answer(200, bytes(4096))
        elif self.path == "/drip":
            self._drip()
        else:
            self._answer(404, b"")

    def _answer(self, status: int, body: bytes, claims: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(claims or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b".")
                self.wfile.flush()
                threading.Event().wait(0.05)
        except OSError:  # the client left
            return

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the base class names it so


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/photo.jpg", "/moved"])
def test_a_url_is_fetched(server: str, path: str) -> None:
    assert expand([server + path]) == [server + path]
    assert read_input(server + path) == PHOTO


@pytest.mark.parametrize(
    ("path", "told"), [("/missing.jpg", "404"), ("/cut", "early|can't be fetched"), ("/file", "can't be fetched|302")]
)
def test_a_url_that_fails_is_a_photo_error(server: str, path: str, told: str) -> None:
    with pytest.raises(PhotoError, match=told):
        read_input(server + path)


def test_a_server_that_is_not_there_is_a_photo_error() -> None:
    with pytest.raises(PhotoError, match="can't be fetched"):
        read_input("http://127.0.0.1:9/photo.jpg")


def test_a_url_has_a_size_limit(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_BYTES", 1024)
    with pytest.raises(PhotoError, match="holds more than"):
        read_input(server + "/big")


def test_a_server_that_drips_meets_the_deadline(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "URL_DEADLINE_S", 0.2)
    with pytest.raises(PhotoError, match="took more than"):
        read_input(server + "/drip")


def test_stdin_is_one_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PHOTO)))
    assert expand(["-"]) == ["-"]
    assert read_input("-") == PHOTO


def test_a_device_that_never_ends_is_no_photo() -> None:
    with pytest.raises(PhotoError, match="no photo"):
        read_input("/dev/zero")
