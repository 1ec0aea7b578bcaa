"""What a bundle says of a correction: one JSON file each, with the ledger's numbers (`id`) of everything it names.

Words are the ledger's own (`inventory.schema`). Times are UTC, money is a decimal number in a string, in the site's
currency. What was kept as JSON stands as it was kept: `estimate`, `verdict`, `posting`, the steps' `body`.
"""

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

PhotoState: TypeAlias = Literal["included", "removed", "missing", "damaged"]
"""included: its bytes are in the bundle. removed: by retention. missing, damaged: at the export its file was not there
any more, or had other bytes than were taken in."""


class Named(msgspec.Struct, frozen=True):
    """Somebody or something, by its number and its name."""

    id: int
    name: str


class Site(msgspec.Struct, frozen=True):
    """A warehouse; `currency` is that of all money."""

    id: int
    code: str
    name: str
    currency: str


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a model saw on a photo alone. `registered`: versions that the registry has of it, such as "bintally/3"."""

    id: int
    model: str
    model_sha256: str
    registered: tuple[str, ...]
    estimate: dict[str, Any]
    prior: dict[str, Any]
    made_at: datetime


class Photo(msgspec.Struct, frozen=True, kw_only=True):
    """A photo, known by the SHA-256 of its bytes. `file`: its name in the bundle, if it is included."""

    id: int
    sha256: str
    taken_at: datetime
    received_at: datetime
    size_bytes: int
    state: PhotoState
    file: str | None
    removed_at: datetime | None
    estimates: tuple[Estimate, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a model saw of the change between two photos, by their numbers; tables as `counting.events.Photo` has."""

    id: int
    earlier: int
    later: int
    model_sha256: str
    registered: tuple[str, ...]
    change: dict[str, Any]
    change_prior: dict[str, Any]
    made_at: datetime


class Belief(msgspec.Struct, frozen=True, kw_only=True):
    """The posterior over counts 0, 1, 2 .. that was judged by; `prior` is the same without any photo."""

    id: int
    photo: int | None
    at: datetime
    events: str
    kind: str
    probabilities: list[float]
    prior: list[float]
    made_at: datetime


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of the record before anybody looked. `policy`: SHA-256; `policy_file` has that content."""

    id: int
    record: int
    belief: int
    policy: str
    policy_file: str
    outcome: str
    right: float | None
    blind_recount: bool
    verdict: dict[str, Any]
    made_at: datetime


class RecordLine(msgspec.Struct, frozen=True):
    """How much of a product a record says."""

    product: int
    sku: str
    quantity: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the bin's record. `role`: what it is to this correction."""

    id: int
    role: Literal["judged", "corrected", "made", "restored"]
    key: str
    quantity: int
    lines: tuple[RecordLine, ...]
    effective_at: datetime
    received_at: datetime
    source: str


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """What was picked (below 0) or stowed between the photo before and the count."""

    id: int
    key: str
    product: int | None
    sku: str | None
    quantity: int
    moved_at: datetime
    received_at: datetime


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decided. `lines`: what was counted, by product, where that was told."""

    id: int
    by: Named
    kind: str
    count: int | None
    lines: dict[str, int] | None
    note: str
    undoes: int | None
    counted_at: datetime | None
    made_at: datetime


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A look at the bin: all rounds of the verdict are told. `blind`: the record was not shown."""

    id: int
    round: int
    state: str
    reason: str
    blind: bool
    worth: str
    propensity: float
    opened_at: datetime
    closed_at: datetime | None
    decisions: tuple[Decision, ...]


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """A change of stock. `product` None: of the bin's total. `value`: of the change; below 0: stock was lost."""

    id: int
    record: int
    product: Named | None
    sku: str | None
    before: int
    after: int
    value: str | None
    state: str
    approved_by: Named | None
    made_at: datetime
    settled_at: datetime | None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision tells models about a photo."""

    id: int
    photo: int
    count: int | None
    kind: str
    made_at: datetime
    withdrawn_at: datetime | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a posting: what was sent, or what the stock system answered."""

    id: int
    at: datetime
    step: str
    body: dict[str, Any]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A stock system that was told. `system`: those of its settings that say which one it is, and no others."""

    id: int
    name: str
    kind: str
    system: dict[str, str]


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """What a stock system was told, and what became of it. `reverses`: the posting that it takes back."""

    id: int
    to: Told
    key: str
    kind: str
    state: str
    reason: str
    reference: str | None
    reverses: int | None
    posting: dict[str, Any]
    made_at: datetime
    settled_at: datetime | None
    steps: tuple[Step, ...]


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the audit log: `hash` is `database.audit.hash_of` the line and `before`, the hash of the line before.

    `body` is the very text that was hashed. None: it is withheld, since it holds what looks like a secret; then only
    the ledger can tell whether the hash is right.
    """

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    body: str | None
    before: str
    hash: str


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """All that the ledger knows of why and how a decision changed stock.

    `photos`: the one before first, the one that was judged by last. `audit`: the lines of the log about what is here.
    """

    decision: int
    site: Site
    bin: Named
    adjustments: tuple[Adjustment, ...]
    records: tuple[Record, ...]
    photos: tuple[Photo, ...]
    comparisons: tuple[Comparison, ...]
    movements: tuple[Movement, ...]
    belief: Belief
    verdict: Verdict
    reviews: tuple[Review, ...]
    labels: tuple[Label, ...]
    postings: tuple[Posting, ...]
    audit: tuple[AuditLine, ...]

    @property
    def deciding(self) -> Decision:
        """The decision that asked for the adjustments."""
        return next(each for each in self.decisions if each.id == self.decision)

    @property
    def decisions(self) -> list[Decision]:
        """All that was decided, in all rounds."""
        return [each for review in self.reviews for each in review.decisions]

    @property
    def corrected(self) -> Record:
        """The version of the record that the adjustments start from."""
        return next(each for each in self.records if each.id == self.adjustments[0].record)
