"""A bundle as one file: a zip. The same contents always make the same bytes, so that its own bytes count too."""

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final

from bintally.artifacts import atomic_write, storage_errors
from bintally.errors import DataError

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip knows
_MODE: Final = 0o100644 << 16
_UNIX: Final = 3
_TORN: Final = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


def write_zip(folder: Path, target: Path) -> None:
    """All files of a folder, in the order of their names, not packed: photos are already.

    Raises:
        StorageError: it can't be written.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with atomic_write(target) as out, zipfile.ZipFile(out, "w") as archive:
        for name in names:
            _add(archive, folder / name, name)


@contextmanager
def unpacked(file: Path) -> Iterator[Path]:
    """The contents of a zip that `write_zip` has written, in a folder that is there as long as this.

    Raises:
        DataError: it is none, or not to the byte.
    """
    with TemporaryDirectory(prefix="bintally-evidence-") as place:
        folder, again = Path(place) / "contents", Path(place) / "again.zip"
        folder.mkdir()
        _unpack(file, folder)
        write_zip(folder, again)
        if not _same(file, again):
            raise DataError(
                f"{file}: the zip itself was changed, or packed by another program.",
                hint="Unpack it, and verify the folder: what is in it may be whole.",
            )
        again.unlink()
        yield folder


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system, info.external_attr, info.file_size = _UNIX, _MODE, path.stat().st_size
    with path.open("rb") as source, archive.open(info, "w") as entry:
        shutil.copyfileobj(source, entry, 1 << 20)


def _unpack(file: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                _check(info, file)
                _take_out(archive, info, folder, file)
    except _TORN as error:
        raise DataError(f"{file} is damaged: {error}.", hint="Take it from its source again.") from error


def _take_out(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, file: Path) -> None:
    target = folder / info.filename
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            try:
                with archive.open(info) as entry:
                    shutil.copyfileobj(entry, out, 1 << 20)
            except zipfile.BadZipFile as error:
                raise DataError(f"{file}: changed: {info.filename}.", hint="Take it from its source again.") from error


def _check(info: zipfile.ZipInfo, file: Path) -> None:
    """Nothing is unpacked that we have not packed like this: no way out of the folder, and no bomb."""
    parts = PurePosixPath(info.filename).parts
    strange = info.is_dir() or not parts or parts[0] == "/" or ".." in parts or "\\" in info.filename
    if strange or info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise DataError(f"{file}: {info.filename!r} was not packed by bintally.", hint="Take it from its source again.")


def _same(one: Path, other: Path) -> bool:
    """To the byte."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as ours, other.open("rb") as theirs:
        while block := ours.read(1 << 20):
            if block != theirs.read(1 << 20):
                return False
    return True
