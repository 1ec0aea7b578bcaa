"""What `bintally count` may be pointed at, and how each becomes a photo's bytes.

```
photo.jpg   a file, whatever its suffix          bins/        a folder: photos in it and below, by name
'b*/*.jpg'  a pattern (** goes into folders)     https://...  one photo      -   one photo on stdin
```
"""

import glob
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from bintally.errors import DataError, PhotoError, UsageError
from bintally.photos import PHOTO_SUFFIXES, read_photo

STDIN: Final = "-"
MAX_BYTES: Final = 64 * 1024 * 1024
"""No more is taken from a URL or stdin: 50 megapixels (`photos.MAX_PIXELS`) as a JPEG are about 20 MB."""

URL_TIMEOUT_S: Final = 20.0
URL_DEADLINE_S: Final = 60.0
"""A server that drips a byte at a time meets every timeout, but not a deadline."""

_CHUNK: Final = 1 << 16


def expand(inputs: Iterable[str | Path], *, listed: Path | None = None) -> list[str]:
    """The photos that `inputs` and the lines of the file `listed` name, each once, in order.

    Folders and patterns are looked into and sorted; a line of `listed` is taken as it stands, so that one photo missing
    from a long list spoils only its own line.

    Raises:
        UsageError: an input that does not exist.
        DataError: no photo in any of them.
    """
    inputs = list(inputs)
    if not inputs and listed is None:
        raise UsageError("Nothing was named to count.", hint="Name a photo or a folder: bintally count photo.jpg")
    found = dict.fromkeys(photo for each in inputs for photo in _photos_of(str(each)))
    if listed is not None:
        found |= dict.fromkeys(_lines_of(listed))
    if not found:
        named = ", ".join(map(str, [*inputs, *([listed] if listed else [])]))
        raise DataError(f"There is no photo in {named}.", hint=f"Photos end in {', '.join(PHOTO_SUFFIXES)}.")
    return list(found)


def is_url(name: str) -> bool:
    """Whether `name` is fetched over HTTP rather than opened."""
    return name.startswith(("http://", "https://"))


def id_of(name: str) -> str | None:
    """The bin's id: the file's name without its suffix, zeros kept; None for stdin, which has no name."""
    if name == STDIN:
        return None
    if is_url(name):
        from urllib.parse import unquote, urlsplit

        return PurePosixPath(unquote(urlsplit(name).path)).stem or None
    return Path(name).stem


def read_input(name: str) -> bytes:
    """The bytes of a photo that `expand` named.

    Raises:
        PhotoError: it can't be had, or is too large.
    """
    if name == STDIN:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
        _limit(len(data), "stdin")
        return data
    if is_url(name):
        return _fetched(name)
    return read_photo(Path(name))


def _photos_of(name: str) -> Iterator[str]:
    # Not Path.is_file, which raises where a name is too long.
    if name == STDIN or is_url(name) or os.path.isfile(name):  # noqa: PTH113
        yield name
    elif os.path.isdir(name):  # noqa: PTH112
        yield from _photos_in(name)
    elif glob.has_magic(name):
        matches = sorted(glob.iglob(name, recursive=True))  # noqa: PTH207 - Path.glob refuses absolute patterns
        if not matches:
            raise UsageError(f"No photo matches {name}.", hint="Look at the pattern; ** goes into folders.")
        for match in matches:
            yield from _photos_in(match) if Path(match).is_dir() else [match]
    else:
        raise UsageError(f"There is no photo or folder {name}.", hint="Look at the path.")


def _photos_in(folder: str) -> Iterator[str]:
    """Photos in `folder` and below, sorted; hidden files and folders hold thumbnails and leftovers, not photos."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith("."):
                yield str(Path(parent, name))


def _lines_of(listed: Path) -> Iterator[str]:
    try:
        text = listed.read_text(errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"The list {listed} can't be read: {error.strerror}.", hint="Look at the path.") from error
    return (line for line in text.splitlines() if line.strip())


def _fetched(url: str) -> bytes:
    import http.client
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + URL_DEADLINE_S
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "bintally"})  # noqa: S310 - only http(s) comes here
        with urllib.request.urlopen(request, timeout=URL_TIMEOUT_S) as response:  # noqa: S310
            data = bytearray()
            while chunk := response.read1(_CHUNK):
                data += chunk
                _limit(len(data), url)
                if time.monotonic() > deadline:
                    raise PhotoError(f"{url} took more than {URL_DEADLINE_S:.0f} s.", hint="Try again later.")
            if response.length:
                raise PhotoError(f"{url} ended {response.length} bytes early.", hint="Try again.")
            return bytes(data)
    except urllib.error.HTTPError as error:
        raise PhotoError(f"{url} answered {error.code} {error.reason}.", hint="Open it in a browser.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise PhotoError(f"{url} can't be fetched: {reason}.", hint="Look at the address and the network.") from error


def _limit(size_bytes: int, where: str) -> None:
    if size_bytes > MAX_BYTES:
        raise PhotoError(f"{where} holds more than {MAX_BYTES // 2**20} MB.", hint="Scale the photo down first.")
