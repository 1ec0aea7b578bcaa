"""What a request brings of a bin, as it is taken into the ledger: at once, or later from the disk."""

import hashlib
from datetime import UTC, datetime
from typing import Self

import msgspec

from bintally.bundle import Card
from bintally.records import CountEstimate
from bintally.serving.asked import Asked


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A photo of a known bin, and what was told with it.

    `captured_at` None: nobody said, so that `received_at` counts, unless the ledger has the photo. `estimate`: what the
    model of `model_sha256` saw, all counts asked for; None: it was asked for some only.
    """

    bin_id: str
    site: str | None
    photo: bytes
    captured_at: datetime | None
    received_at: datetime
    recorded_count: int | None
    estimate: CountEstimate | None
    model_sha256: str
    client: str
    request_id: str
    version: int = 1

    @classmethod
    def of(cls, asked: Asked, photo: bytes, estimate: CountEstimate, card: Card) -> Self:
        """What `asked` brings, with what was counted."""
        return cls(
            bin_id=(asked.bin_id or "").strip(),
            site=asked.site,
            photo=photo,
            captured_at=asked.captured_at,
            received_at=datetime.now(UTC),
            recorded_count=asked.recorded_count,
            estimate=estimate if asked.counts is None else None,
            model_sha256=card.model_sha256,
            client=asked.client,
            request_id=asked.request_id,
        )

    def seen_by(self, card: Card) -> CountEstimate | None:
        """What the model of `card` saw; None: it has to look."""
        return self.estimate if self.model_sha256 == card.model_sha256 else None

    @property
    def bin_key(self) -> str:
        """The bin's name in names of files. Bins of the same name at two sites share it: they wait for each other."""
        return bin_key(self.bin_id)

    @property
    def key(self) -> str:
        """The same for the same photo of the same bin with the same words."""
        told = [self.site, self.bin_id, self.captured_at, self.recorded_count, hashlib.sha256(self.photo).hexdigest()]
        return _digest(msgspec.json.encode(told), 16)


def bin_key(bin_id: str) -> str:
    """As `Delivery.bin_key`."""
    return _digest(bin_id.encode(), 8)


def _digest(data: bytes, size: int) -> str:
    return hashlib.blake2b(data, digest_size=size).hexdigest()
