"""One digest for a folder: SHA-256 over the lines that `sha256sum` prints of its files, in the order of their names.

That is in-toto's `dirHash` (https://github.com/in-toto/attestation/blob/main/spec/v1/digest_set.md), which is Go's
Hash1, so that anybody can make it again:

```
find . -type f -not -path '*/.*' -not -path ./signature.dsse.json |
  cut -c3- | LC_ALL=C sort | xargs sha256sum | sha256sum
```

Hidden files (`.name`, and all in a folder `.name`) are no part of a bundle: editors, mounts and half-written files
leave them, and nothing here reads them.
"""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bintally.artifacts import sha256_of
from bintally.errors import BundleError

SIGNATURE: Final = "signature.dsse.json"
"""The file in a folder that says who vouches for the others."""


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 by name of each file of a folder, and of its folders, in the order of the names' bytes.

    Raises:
        BundleError: it is no folder, holds a link or what is no file, or a name that is another one elsewhere.
    """
    if not folder.is_dir():
        raise BundleError(f"There is no folder {folder}.", hint="Look at its name.")
    try:
        names = sorted(_names(folder, folder))
        _check_names(folder, names)
        return {name: sha256_of(folder / name) for name in names}
    except OSError as error:
        where = error.filename or folder
        raise BundleError(f"{where} can't be read: {error.strerror}.", hint="Look at its permissions.") from error


def digest_of(folder: Path) -> str:
    """The digest of a folder's files, in hex.

    Raises:
        BundleError: as `files_of`.
    """
    return digest_over(files_of(folder))


def digest_over(files: Mapping[str, str]) -> str:
    """The digest of files that are known by their names and SHA-256s, in hex."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _names(folder: Path, root: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            name = path.relative_to(root).as_posix()
            if entry.name.startswith(".") or name == SIGNATURE:
                continue
            if entry.is_symlink():  # it may lead anywhere, and elsewhere tomorrow
                raise BundleError(f"{path} is a link.", hint="Put the file itself in its place.")
            if entry.is_dir():
                yield from _names(path, root)
            elif entry.is_file():
                yield name
            else:
                raise BundleError(f"{path} is no file.", hint="A bundle holds files only.")


def _check_names(folder: Path, names: list[str]) -> None:
    """Whether each is one and the same name on every file system, and one line."""
    seen: dict[str, str] = {}
    for name in names:
        if not name.isprintable() or "\\" in name or unicodedata.normalize("NFC", name) != name:
            raise BundleError(
                f"{folder} has a file {name!r}, whose name is another one elsewhere.",
                hint="Name it with letters, digits, '.', '_' and '-'.",
            )
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise BundleError(
                f"{folder} has {other} and {name}, which are one file where case does not count.", hint="Rename one."
            )
