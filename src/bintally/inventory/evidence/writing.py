"""`Writer`: corrections go into a bundle's folder one by one; memory does not grow with them, but for their names."""

import hashlib
from decimal import Decimal
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from bintally.artifacts import write_bytes
from bintally.inventory.evidence import chain, layout, page, seen
from bintally.inventory.evidence.facts import Correction
from bintally.inventory.evidence.gather import Known, gather
from bintally.inventory.evidence.photos import PhotoStore
from bintally.inventory.ledger import Site
from bintally.signatures.digest import digest_over
from bintally.signatures.statement import statement_of


class Writer:
    """A bundle that is being written in `folder`, of one state of the ledger. `single`: it is of one correction."""

    def __init__(self, connection: Connection, site: Site, folder: Path, *, kept: Path | None, single: bool) -> None:
        self.photos = PhotoStore(folder, kept)
        self.head = chain.head(connection)
        self._connection, self._site, self._folder, self._single = connection, site, folder, single
        self._known = Known(connection, site)
        self._files: dict[str, str] = {}
        self._listed: list[layout.Listed] = []

    def add(self, decision_id: int) -> None:
        """A correction, with its photos and its policy."""
        gathered = gather(self._connection, decision_id, self._known)
        pairs = [self.photos.put(each, gathered.places.get(each.id)) for each in gathered.correction.photos]
        told = msgspec.structs.replace(gathered.correction, photos=tuple(photo for photo, _ in pairs))
        shown = layout.INDEX if self._single else layout.correction_page(decision_id)
        self._listed.append(listed(told, shown))
        self._put(layout.correction_file(decision_id), layout.plain_json(told))
        policy = told.verdict.policy_file
        if policy not in self._files:
            self._put(policy, seen.policy_body(self._connection, told.verdict.policy))
        previews = {photo.id: data for photo, data in pairs if data is not None}
        self._put(shown, page.correction_page(told, previews, str(self.head), up=shown.count("/")).encode())

    def seal(self) -> str:
        """Writes what is in the bundle; returns the digest over all of its files, in hex."""
        site = self._site
        contents = layout.Contents(
            format=layout.FORMAT,
            site=site.code,
            currency=site.currency,
            head=str(self.head),
            corrections=tuple(self._listed),
        )
        self._put(layout.CONTENTS, layout.plain_json(contents))
        if not self._single:
            self._put(layout.INDEX, page.list_page(contents).encode())
        files = self._files | self.photos.files
        self._put(layout.MANIFEST, statement_of(files))
        return digest_over(self._files | self.photos.files)

    def _put(self, name: str, data: bytes) -> None:
        write_bytes(self._folder / name, data, durable=False)
        self._files[name] = hashlib.sha256(data).hexdigest()


def listed(told: Correction, shown: str) -> layout.Listed:
    """A correction in a few words."""
    adjustments, decision = told.adjustments, told.deciding
    values = [each.value for each in adjustments if each.value is not None]
    last = {each.to.name: f"{each.state}{' (reversal)' * (each.kind == 'reverse')}" for each in told.postings}
    return layout.Listed(
        decision=told.decision,
        bin=told.bin.name,
        file=layout.correction_file(told.decision),
        page=shown,
        before=told.corrected.quantity,
        after=decision.count,
        value=f"{sum(map(Decimal, values), Decimal(0)):.4f}" if len(values) == len(adjustments) else None,
        state=adjustments[0].state,
        by=decision.by.name,
        made_at=decision.made_at,
        told=tuple(f"{name}: {state}" for name, state in last.items()),
    )
