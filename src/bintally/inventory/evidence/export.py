"""export_evidence: why records were corrected, as a bundle that can be checked without the ledger.

A bundle tells one moment's state. What the export itself changes, its line in the audit log with the bundle's digest,
is not in it: of the same state, the same bytes. The line is written first and the bundle appears after it, whole or
not at all: what is out there is in the log.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from sqlalchemy import Connection

from bintally.artifacts import atomic_folder, storage_errors
from bintally.database import audit
from bintally.errors import ConflictError, UsageError
from bintally.inventory.evidence import chain, gather
from bintally.inventory.evidence.writing import Writer
from bintally.inventory.evidence.zipped import write_zip
from bintally.inventory.kept_photos import photos_folder
from bintally.inventory.ledger import Ledger, Site, site_of
from bintally.inventory.people import Person, person_of
from bintally.progress import SILENT, Progress
from bintally.signatures import sign
from bintally.signatures.extra import signatures_extra


class Wanted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which corrections: one, by an adjustment's or a decision's number, or a site's, of a bin, from `since` on."""

    adjustment: int | None = None
    decision: int | None = None
    bin: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported. `sha256`: the digest over all files; note it down where nobody can change the bundle too.

    `missing`: photos that should have been there; `line`: of the audit log, that says so; `signed_by`: the key's id.
    """

    bundle: str
    sha256: str
    corrections: int
    photos: int
    removed: int
    missing: int
    head: str
    line: int
    signed_by: str | None
    seconds: float


def export_evidence(
    *,
    ledger: Ledger,
    wanted: Wanted,
    out: Path,
    by: str,
    site: str | None = None,
    photos: Path | None = None,
    zipped: bool = False,
    key: Path | None = None,
    progress: Progress = SILENT,
) -> ExportReport:
    """Writes the evidence of corrections to the new folder `out` (`zipped`: a .zip file), as `by`, a viewer.

    `photos`: where the ledger's photos are, if not where it says. `key`: the private key that signs the bundle.

    Raises:
        UsageError: nothing was asked for, or there is no such thing; `key` is no private key.
        DataError: there is no such bin.
        AccessError: `by` may not look at that site.
        ConflictError: there is a file or folder `out`.
        StorageError: it can't be written.
        MissingExtraError: `key` is given, and `cryptography` is not installed.
    """
    start = time.perf_counter()
    out = out.with_name(f"{out.name}.zip") if zipped and out.suffix.lower() != ".zip" else out
    signed_by = None if key is None else _key_id(key)
    if out.exists():
        raise ConflictError(f"There is {out} already.", hint="Choose another name: evidence is never overwritten.")
    with _appearing(out, zipped=zipped) as folder:
        with ledger.read() as connection:
            of_site, who, decisions = _chosen(connection, wanted, site, by)
            single = wanted.adjustment is not None or wanted.decision is not None
            writer = Writer(connection, of_site, folder, kept=_kept(ledger, photos), single=single)
            with progress.task("export", total=len(decisions), unit="corrections") as task:
                for decision_id in decisions:
                    writer.add(decision_id)
                    task.advance()
            sha256 = writer.seal()
        if key is not None:
            sign(folder, key)
        told = {
            "sha256": sha256,
            "wanted": msgspec.to_builtins(wanted),
            "corrections": len(decisions),
            "signed_by": signed_by,
        }
        line = _note(ledger, of_site, who, told)
    return ExportReport(
        bundle=str(out),
        sha256=sha256,
        corrections=len(decisions),
        photos=len(writer.photos.files),
        removed=len(writer.photos.removed),
        missing=len(writer.photos.missing),
        head=str(writer.head),
        line=line,
        signed_by=signed_by,
        seconds=round(time.perf_counter() - start, 2),
    )


def subject_of(sha256: str) -> str:
    """What the audit log calls a bundle."""
    return f"evidence:{sha256}"


def _chosen(connection: Connection, wanted: Wanted, site: str | None, by: str) -> tuple[Site, Person, list[int]]:
    who = person_of(connection, by)
    if wanted == Wanted():
        raise UsageError("Evidence of what?", hint="Say an adjustment's number, --decision, --bin, --since or --until.")
    if wanted.adjustment is not None or wanted.decision is not None:
        if wanted != Wanted(adjustment=wanted.adjustment) and wanted != Wanted(decision=wanted.decision):
            raise UsageError("A number says which correction already.", hint="Leave out the rest.")
        decision = gather.decision_of(connection, adjustment=wanted.adjustment, decision=wanted.decision)
        of_site = gather.site_of_decision(connection, decision)
        who.need("viewer", site_id=of_site.id)
        return of_site, who, [decision]
    of_site = site_of(connection, site)
    who.need("viewer", site_id=of_site.id)
    decisions = gather.decisions_of(connection, of_site, code=wanted.bin, since=wanted.since, until=wanted.until)
    if not decisions:
        raise UsageError("No correction was decided there and then.", hint="Look at the bin's code and the times.")
    return of_site, who, decisions


@contextmanager
def _appearing(out: Path, *, zipped: bool) -> Iterator[Path]:
    """A folder that becomes `out` when the block ends without an error."""
    if not zipped:
        with atomic_folder(out) as folder:
            yield folder
        return
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as place:
            yield Path(place)
            write_zip(Path(place), out)


def _kept(ledger: Ledger, photos: Path | None) -> Path | None:
    if photos is not None:
        return photos
    return photos_folder(ledger) if ledger.database.is_sqlite else None


def _key_id(key: Path) -> str:
    """Looked at before hours of work, not after them."""
    with signatures_extra():
        from bintally.signatures.keys import KeyFile
    return KeyFile(key).public.id


def _note(ledger: Ledger, site: Site, who: Person, told: dict[str, Any]) -> int:
    with ledger.write() as connection:
        subject = subject_of(told["sha256"])
        body = told | {"site": site.code}
        return audit.append(connection, actor=who.name, action=chain.EXPORT, subject=subject, body=body).number
