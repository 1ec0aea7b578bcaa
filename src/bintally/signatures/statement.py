"""What is signed of a folder: an in-toto statement with each file's SHA-256.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Each file is a subject of its own, so that other
tools of in-toto can match any of them. SLSA's provenance is not the predicate: whoever signs vouches for the files, and
need not know how they were made. The predicate holds the digest over all of them, by which a registry names a bundle.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bintally.errors import BundleError
from bintally.signatures.digest import digest_over

TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://bintally/bundle/v1"
"""Names what the predicate means; nothing is there to be opened (as with OpenSSF's https://model_signing/...)."""

_SHA256: Final = "sha256"
_DIR_HASH: Final = "dirHash"


class Subject(msgspec.Struct, frozen=True):
    """One file."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True, rename={"kind": "_type", "predicate_type": "predicateType"}):
    """An in-toto statement."""

    kind: str
    subject: tuple[Subject, ...]
    predicate_type: str
    predicate: dict[str, Any] = {}


def statement_of(files: Mapping[str, str]) -> bytes:
    """The statement about files that are known by their names and SHA-256s: the same files, the same bytes."""
    subjects = tuple(Subject(name, {_SHA256: sha256}) for name, sha256 in sorted(files.items()))
    told = Statement(TYPE, subjects, PREDICATE, {"digest": {_DIR_HASH: digest_over(files)}})
    return msgspec.json.encode(told, order="sorted")


def files_in(body: bytes) -> dict[str, str]:
    """SHA-256 by name of the files that a statement is about.

    Raises:
        BundleError: it is no such statement, or contradicts itself.
    """
    try:
        told = msgspec.json.decode(body, type=Statement)
        files = {subject.name: subject.digest[_SHA256] for subject in told.subject}
        digest = told.predicate["digest"][_DIR_HASH]
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError) as error:
        raise _wrong("it is no statement about files") from error
    if (told.kind, told.predicate_type) != (TYPE, PREDICATE):
        raise _wrong(f"it says {told.predicate_type!r}, not what bintally signs")
    if len(files) != len(told.subject) or digest != digest_over(files):
        raise _wrong("it contradicts itself")
    return files


def _wrong(why: str) -> BundleError:
    return BundleError(f"What was signed can't be used: {why}.", hint="Sign again with `bintally models sign --renew`.")
