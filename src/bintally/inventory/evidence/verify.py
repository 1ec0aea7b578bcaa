"""verify_evidence: whether a bundle is as it was exported, and who vouches for that; the ledger is not needed.

A bundle that agrees with itself proves nothing: whoever changes a photo can write its manifest anew. What proves it
comes from elsewhere: a public key that was known before, the digest that the export told, or the ledger that wrote it
down.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, select

from bintally.database import audit
from bintally.errors import BundleError, DataError, UsageError
from bintally.inventory.evidence import chain, words
from bintally.inventory.evidence.contents import Read, contradictions, read_contents
from bintally.inventory.evidence.export import subject_of
from bintally.inventory.evidence.signed import Compared, with_manifest, with_signature
from bintally.inventory.evidence.zipped import unpacked
from bintally.inventory.ledger import Ledger
from bintally.signatures.checking import Signer
from bintally.signatures.digest import digest_over, files_of

Outcome: TypeAlias = Literal["vouched", "unvouched", "broken"]
"""vouched: as it was exported, says a key, a digest or a ledger. unvouched: it agrees with itself, and nobody said
more. broken: something was changed, or does not hold that was asked for."""

_AT_ONCE: Final = 500
_HEX: Final = frozenset("0123456789abcdef")


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `vouched_by` and `unchecked` are sentences: who says so, and what nobody has looked at.

    `sha256`: the digest over all files as they are. `removed`: photos that retention had removed, and when.
    """

    bundle: str
    outcome: Outcome
    sha256: str = ""
    files: int = 0
    corrections: int = 0
    audit_lines: int = 0
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    vouched_by: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    signers: tuple[Signer, ...] = ()
    removed: dict[str, datetime] = {}


def verify_evidence(
    *, bundle: Path, trust: Sequence[Path] = (), expect: str | None = None, ledger: Ledger | None = None
) -> VerifyReport:
    """Looks whether a bundle, a folder or a zip, is as it was exported.

    `trust`: files of public keys, of which one must have signed. `expect`: the digest that the export told. `ledger`:
    its audit log must hold the bundle's lines, tell of its export, and be whole.

    Raises:
        UsageError: there is no such bundle; `expect` is no digest, or one of `trusted` no public key.
        StorageError: a zip can't be unpacked.
        MissingExtraError: keys are given, and `cryptography` is not installed.
    """
    wanted = None if expect is None else _digest(expect)
    try:
        with _opened(bundle) as folder:
            return _verified(bundle, folder, trust, wanted, ledger)
    except (BundleError, DataError) as error:
        return VerifyReport(bundle=str(bundle), outcome="broken", problems=(error.message,))


def _verified(
    bundle: Path, folder: Path, trust: Sequence[Path], expect: str | None, ledger: Ledger | None
) -> VerifyReport:
    files = files_of(folder)
    sha256 = digest_over(files)
    compared = (with_manifest(folder, files), with_signature(folder, files, trust))
    changed, missing, extra = (_union(compared, name) for name in ("changed", "missing", "extra"))
    problems = [problem for each in compared for problem in each.problems]
    if expect is not None and expect != sha256:
        problems.append(f"Its digest is {sha256}, not {expect}.")
    read, log = Read(), _Log()
    if not (changed or missing):
        contents = read_contents(folder)
        problems += contradictions(folder, files, contents, read)
        if ledger is not None:
            with ledger.read() as connection:
                log = _held_against(connection, read, audit.Head.of(contents.head), sha256, ledger.database.name)
    problems += log.problems
    signers = compared[1].signers
    vouched_by = () if problems or changed or missing or extra else tuple(_vouchers(signers, expect, log))
    is_broken = bool(problems or changed or missing or extra)
    return VerifyReport(
        bundle=str(bundle),
        outcome="broken" if is_broken else "vouched" if vouched_by else "unvouched",
        sha256=sha256,
        files=len(files),
        corrections=read.corrections,
        audit_lines=len(read.lines),
        changed=changed,
        missing=missing,
        extra=extra,
        problems=tuple(problems),
        vouched_by=vouched_by,
        unchecked=() if is_broken else tuple(words.unchecked(read, signers, vouched_by, has_ledger=ledger is not None)),
        signers=signers,
        removed=read.removed,
    )


class _Log(msgspec.Struct, frozen=True):
    """What a ledger says of a bundle. `exported`: the line that tells of its export."""

    problems: tuple[str, ...] = ()
    exported: audit.Entry | None = None
    name: str = ""


def _held_against(connection: Connection, read: Read, head: audit.Head, sha256: str, name: str) -> _Log:
    line, problems = audit.AuditLine, []
    whole = audit.verify(connection, expect=head)
    if not whole.is_whole:
        problems.append(f"The audit log of {name} does not hold: {whole.reason}.")
    numbers = sorted(read.lines)
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        rows = connection.execute(select(line.number, line.hash).where(line.number.in_(some)))
        held = {row.number: row.hash for row in rows}
        wrong = [number for number in some if held.get(number) != read.lines[number]]
        problems += [f"Line {number} of the audit log is another one in {name}." for number in wrong]
    told = audit.entries(connection, subject=subject_of(sha256))
    exported = next((each for each in told if each.action == chain.EXPORT), None)
    if exported is None:
        problems.append(f"The audit log of {name} tells of no export of this bundle.")
    return _Log(tuple(problems), exported, name)


def _vouchers(signers: Sequence[Signer], expect: str | None, log: _Log) -> Iterator[str]:
    for signer in signers:
        if signer.trusted_as is not None:
            yield words.by_key(signer)
    if expect is not None:
        yield "It has the digest that was expected."
    if log.exported is not None:
        yield words.by_ledger(log.exported, log.name)


def _union(compared: Sequence[Compared], name: str) -> tuple[str, ...]:
    names: set[str] = set().union(*(getattr(each, name) for each in compared))
    return tuple(sorted(names))


@contextmanager
def _opened(bundle: Path) -> Iterator[Path]:
    if bundle.is_file():
        with unpacked(bundle) as folder:
            yield folder
    elif bundle.is_dir():
        yield bundle
    else:
        raise UsageError(f"There is no bundle {bundle}.", hint="Name the folder or the .zip that was exported.")


def _digest(text: str) -> str:
    told = text.strip().lower()
    if len(told) != 64 or not set(told) <= _HEX:
        raise UsageError(f"{text!r} is no digest.", hint="It is the 64 hexadecimal digits that the export told.")
    return told
