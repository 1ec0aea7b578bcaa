"""What was asked before: the same inputs and settings give the same files, so they are not made again.

`FIRST_OUT.reconcile.json` holds the digests of all inputs and outputs, and the report. It is written last.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bintally.artifacts import fingerprint, sha256_of, write_bytes
from bintally.errors import UsageError
from bintally.inventory.reconcile.report import ReconcileReport


class Done(msgspec.Struct, frozen=True):
    """A reconciliation that was finished."""

    asked: str  # fingerprint of inputs, settings and code
    outputs: dict[str, str]  # SHA-256 by path
    report: ReconcileReport


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's JSON files.

    Raises:
        UsageError: it can't be read.
    """
    try:
        if path.is_dir():
            return fingerprint({each.name: sha256_of(each) for each in sorted(path.glob("*.json"))})
        return sha256_of(path)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.", hint="Look at the path.") from error


def done_before(outs: Sequence[Path], asked: str) -> ReconcileReport | None:
    """The report of the same question, if all its files are still whole."""
    if not outs:
        return None
    try:
        found = msgspec.json.decode(_place(outs).read_bytes(), type=Done)
        wanted = {str(out) for out in outs} <= set(found.outputs)
        whole = all(sha256_of(Path(path)) == digest for path, digest in found.outputs.items())
    except (OSError, msgspec.DecodeError):
        return None
    if found.asked != asked or not wanted or not whole:
        return None
    return msgspec.structs.replace(found.report, is_repeated=True)


def remember(outs: Sequence[Path], made: Sequence[Path], asked: str, report: ReconcileReport) -> None:
    """Writes down what was asked and what came of it."""
    outputs: Mapping[str, str] = {str(path): sha256_of(path) for path in made}
    write_bytes(_place(outs), msgspec.json.encode(Done(asked, dict(outputs), report)) + b"\n")


def _place(outs: Sequence[Path]) -> Path:
    return outs[0].with_name(f"{outs[0].name}.reconcile.json")
