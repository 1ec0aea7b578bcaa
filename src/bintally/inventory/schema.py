"""The ledger's tables. Facts are only ever added; what is thought of them can be made again from them.

```
site ──┬─ person                          who may do what
       ├─ product
       └─ bin ─┬─ stock_record ── stock_line     what the stock system said, each version of it
               ├─ movement                       what was picked and stowed
               ├─ photo ─┬─ estimate             what a model saw, alone
               │         └─ comparison           ... beside the photo before
               ├─ belief                         the bin's posterior over time
               ├─ verdict                        what was decided of a record, and why
               ├─ judged                         how much of all that the last judgement knew
               └─ review ── decision ─┬─ adjustment   what a person made of it
                                      └─ label        ... and what a model may learn from it
erp_connection ── posting ── posting_step       what stock systems were told, and what they answered
intake, policy: what was taken in and what was promised.       audit: who did all that (`database.audit`).
```

Every fact comes with a key of its sender, or gets one from its content: delivered twice, it stands once. Times are UTC;
`*_at` of the world and `received_at` of the ledger are told apart, so that one can ask what was known when.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from bintally.database.types import Key, Table

CODE: Final = 200  # characters of a name that comes from outside
CORRECTION: Final = "review"
"""`StockRecord.source` of what a person corrected here."""


def _key() -> Mapped[int]:
    return mapped_column(Key, primary_key=True)


def _of(table: str, **how: Any) -> Mapped[Any]:
    return mapped_column(Key, ForeignKey(f"{table}.id"), **how)


def _code() -> Mapped[str]:
    return mapped_column(String(CODE))


class Site(Table):
    """A warehouse. All its money is in one currency."""

    __tablename__ = "site"
    id: Mapped[int] = _key()
    code: Mapped[str] = mapped_column(String(CODE), unique=True)
    name: Mapped[str] = mapped_column(String(CODE))
    currency: Mapped[str] = mapped_column(String(3))  # ISO 4217


class Person(Table):
    """Somebody who looks, decides or approves."""

    __tablename__ = "person"
    id: Mapped[int] = _key()
    name: Mapped[str] = mapped_column(String(CODE), unique=True)
    role: Mapped[str] = mapped_column(String(20))  # `people.ROLES`
    site_id: Mapped[int | None] = _of("site")  # None: all sites
    active: Mapped[bool] = mapped_column(default=True)
    __table_args__ = (CheckConstraint("role IN ('viewer', 'reviewer', 'approver', 'admin')", name="role"),)


class Product(Table):
    """What may lie in bins."""

    __tablename__ = "product"
    id: Mapped[int] = _key()
    site_id: Mapped[int] = _of("site")
    sku: Mapped[str] = _code()
    name: Mapped[str] = mapped_column(Text, default="")
    abc: Mapped[str] = mapped_column(String(1), default="C")  # A: the products with the top 80% of value; B; C
    unit: Mapped[str] = mapped_column(String(20), default="each")  # records must be in it
    unit_value: Mapped[Decimal | None]
    height_in: Mapped[float | None]
    length_in: Mapped[float | None]
    width_in: Mapped[float | None]
    weight_lb: Mapped[float | None]
    __table_args__ = (
        UniqueConstraint("site_id", "sku"),
        CheckConstraint("abc IN ('A', 'B', 'C')", name="abc"),
    )


class Bin(Table):
    """A place that holds products, and is photographed."""

    __tablename__ = "bin"
    id: Mapped[int] = _key()
    site_id: Mapped[int] = _of("site")
    code: Mapped[str] = _code()
    __table_args__ = (UniqueConstraint("site_id", "code"),)


class StockRecord(Table):
    """What the stock system said of a bin from `effective_at` on. A later version never overwrites an earlier one."""

    __tablename__ = "stock_record"
    id: Mapped[int] = _key()
    bin_id: Mapped[int] = _of("bin")
    key: Mapped[str] = _code()
    quantity: Mapped[int]  # of all products together
    effective_at: Mapped[datetime]
    received_at: Mapped[datetime]
    source: Mapped[str] = mapped_column(String(CODE))  # a file, an ERP, or `CORRECTION`
    __table_args__ = (
        UniqueConstraint("bin_id", "key"),
        Index(None, "bin_id", "effective_at", "id"),
        CheckConstraint("quantity >= 0", name="quantity"),
    )


class StockLine(Table):
    """How much of one product a record says. A record may come without lines: then only its total is known."""

    __tablename__ = "stock_line"
    record_id: Mapped[int] = _of("stock_record", primary_key=True)
    product_id: Mapped[int] = _of("product", primary_key=True)
    quantity: Mapped[int]
    __table_args__ = (CheckConstraint("quantity >= 0", name="quantity"),)


class Movement(Table):
    """A recorded transaction: so many items came in (below 0: went out)."""

    __tablename__ = "movement"
    id: Mapped[int] = _key()
    bin_id: Mapped[int] = _of("bin")
    key: Mapped[str] = _code()
    product_id: Mapped[int | None] = _of("product")
    quantity: Mapped[int]
    moved_at: Mapped[datetime]
    received_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("bin_id", "key"), Index(None, "bin_id", "moved_at"))


class Photo(Table):
    """A photo of a bin, known by the SHA-256 of its bytes. `place`: where it lies; None: retention removed it."""

    __tablename__ = "photo"
    id: Mapped[int] = _key()
    bin_id: Mapped[int] = _of("bin")
    sha256: Mapped[str] = mapped_column(String(64))
    taken_at: Mapped[datetime]
    received_at: Mapped[datetime]
    size_bytes: Mapped[int]
    place: Mapped[str | None] = mapped_column(Text)
    removed_at: Mapped[datetime | None]
    __table_args__ = (UniqueConstraint("bin_id", "sha256"), Index(None, "bin_id", "taken_at"), Index(None, "sha256"))


class Estimate(Table):
    """What a model saw on a photo alone. `body`: `records.CountEstimate` as JSON; `prior`: the mix it is for."""

    __tablename__ = "estimate"
    id: Mapped[int] = _key()
    photo_id: Mapped[int] = _of("photo")
    model: Mapped[str] = mapped_column(String(CODE))
    model_sha256: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    prior: Mapped[str] = mapped_column(Text)  # JSON {count key: share}
    made_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("photo_id", "model_sha256"),)


class Comparison(Table):
    """What a model saw of the change between two photos of a bin: `counting.events.Photo`'s change and change_prior."""

    __tablename__ = "comparison"
    id: Mapped[int] = _key()
    earlier_id: Mapped[int] = _of("photo")
    later_id: Mapped[int] = _of("photo")
    model_sha256: Mapped[str] = mapped_column(String(64))
    change: Mapped[str] = mapped_column(Text)  # JSON
    change_prior: Mapped[str] = mapped_column(Text)  # JSON
    made_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("later_id", "earlier_id", "model_sha256"),)


class Belief(Table):
    """A bin's posterior over counts after all that was known at some moment; one row for each state of knowledge."""

    __tablename__ = "belief"
    id: Mapped[int] = _key()
    bin_id: Mapped[int] = _of("bin")
    photo_id: Mapped[int | None] = _of("photo")  # the last photo it knows
    at: Mapped[datetime]  # of the last event it knows
    events: Mapped[str] = mapped_column(String(64))  # SHA-256 of the events and settings it was made from
    kind: Mapped[str] = mapped_column(String(20))  # "photo", "change", "followed" or "none"
    probabilities: Mapped[str] = mapped_column(Text)  # JSON [count 0, 1 ..]
    prior: Mapped[str] = mapped_column(Text)  # the same without any photo
    made_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("bin_id", "events"),)


class Policy(Table):
    """Settings and acceptance tables that verdicts were made by, under the SHA-256 of both."""

    __tablename__ = "policy"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    made_at: Mapped[datetime]


class Verdict(Table):
    """A decision about a version of a record. `body`: `inventory.verdict.Verdict` as JSON."""

    __tablename__ = "verdict"
    id: Mapped[int] = _key()
    bin_id: Mapped[int] = _of("bin")
    record_id: Mapped[int] = _of("stock_record")
    belief_id: Mapped[int] = _of("belief")
    policy_sha256: Mapped[str] = mapped_column(String(64), ForeignKey("policy.sha256"))
    outcome: Mapped[str] = mapped_column(String(20))
    right: Mapped[float | None]
    blind_recount: Mapped[bool]
    body: Mapped[str] = mapped_column(Text)
    made_at: Mapped[datetime]
    __table_args__ = (
        Index(None, "record_id", "belief_id", "policy_sha256"),  # twice, where a site goes back to an earlier policy
        Index(None, "bin_id", "id"),
        CheckConstraint("outcome IN ('match', 'mismatch', 'uncertain', 'stale')", name="outcome"),
    )


class Judged(Table):
    """How much was known of a bin when it was last judged. Facts are only added: as many as then means nothing new."""

    __tablename__ = "judged"
    bin_id: Mapped[int] = _of("bin", primary_key=True)
    facts: Mapped[int]  # estimates, comparisons, movements, record versions and decisions together
    how: Mapped[str] = mapped_column(String(64))  # SHA-256 of model, settings and policy


_OPEN: Final = text("state IN ('open', 'waiting')")


class Review(Table):
    """A bin that a person should look at. At most one is open for a bin.

    `blind`: the reviewer is not shown the record. `lease_*`: who has taken it, until when.
    """

    __tablename__ = "review"
    id: Mapped[int] = _key()
    bin_id: Mapped[int] = _of("bin")
    verdict_id: Mapped[int] = _of("verdict")
    round: Mapped[int] = mapped_column(default=1)  # 2, 3 ..: somebody else counts what was looked at before
    state: Mapped[str] = mapped_column(String(20), default="open")
    reason: Mapped[str] = mapped_column(
        String(20)
    )  # mismatch, uncertain, check (of an accepted one), recount, disagreed, planned (counted without being asked)
    blind: Mapped[bool] = mapped_column(default=False)
    worth: Mapped[Decimal]  # what a look is expected to save
    propensity: Mapped[float]  # how likely such a bin was to be looked at
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    lease_person_id: Mapped[int | None] = _of("person")
    lease_until: Mapped[datetime | None]
    lease_token: Mapped[str | None] = mapped_column(String(64))
    __table_args__ = (
        Index("uq_review_open", "bin_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        UniqueConstraint("verdict_id", "round"),
        Index(None, "bin_id"),
        Index(None, "state", "worth"),
        Index(None, "state", "opened_at", "id"),
        CheckConstraint("state IN ('open', 'waiting', 'closed', 'withdrawn')", name="state"),
    )  # waiting: for a second person


class Decision(Table):
    """What a person decided. Never changed; "undo" is a decision too.

    `kind`: accept, correct, recount, uncountable, not_this_bin; count (a blind one that settles nothing alone);
    approve, reject, undo.
    """

    __tablename__ = "decision"
    id: Mapped[int] = _key()
    review_id: Mapped[int] = _of("review", index=True)
    person_id: Mapped[int] = _of("person")
    key: Mapped[str] = mapped_column(String(CODE), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    count: Mapped[int | None]  # what the person counted
    lines: Mapped[str | None] = mapped_column(Text)  # JSON {sku: quantity}, where it was told by product
    note: Mapped[str] = mapped_column(Text, default="")
    undoes_id: Mapped[int | None] = _of("decision", unique=True)
    counted_at: Mapped[datetime | None]  # when the count was true: the photo's moment, or that of a count at the bin
    made_at: Mapped[datetime]


_TOTAL: Final = text("product_id IS NULL")


class Adjustment(Table):
    """A change of stock that a correction asks for. `product_id` None: of the bin's total."""

    __tablename__ = "adjustment"
    id: Mapped[int] = _key()
    decision_id: Mapped[int] = _of("decision")
    bin_id: Mapped[int] = _of("bin", index=True)
    record_id: Mapped[int] = _of("stock_record")
    product_id: Mapped[int | None] = _of("product")
    before: Mapped[int]
    after: Mapped[int]
    value: Mapped[Decimal | None]  # of the change; below 0: stock was lost
    state: Mapped[str] = mapped_column(String(20))
    approved_by_id: Mapped[int | None] = _of("person")
    made_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("decision_id", "product_id"),
        Index("uq_adjustment_total", "decision_id", unique=True, sqlite_where=_TOTAL, postgresql_where=_TOTAL),
        CheckConstraint("state IN ('proposed', 'approved', 'rejected', 'undone')", name="state"),
    )


class Label(Table):
    """A photo whose count a person told. `withdrawn_at`: the decision was undone."""

    __tablename__ = "label"
    id: Mapped[int] = _key()
    photo_id: Mapped[int] = _of("photo", index=True)
    decision_id: Mapped[int] = _of("decision", unique=True)
    count: Mapped[int | None]  # None: it can't be counted
    kind: Mapped[str] = mapped_column(String(20))  # "confirmed", "corrected", "uncountable", "not_this_bin"
    made_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class Intake(Table):
    """A file that was taken in, known by its SHA-256: taken in twice, it counts once."""

    __tablename__ = "intake"
    id: Mapped[int] = _key()
    site_id: Mapped[int] = _of("site")
    kind: Mapped[str] = mapped_column(String(20))  # bins, products, records, movements
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int]
    bad_rows: Mapped[int]
    done_at: Mapped[datetime]
    __table_args__ = (UniqueConstraint("site_id", "kind", "sha256"),)


class ErpConnection(Table):
    """A stock system that is told a site's corrections. Its secret is not here: `erp.connections`.

    `heard`: the audit log's last line that the outbox has been filled from; `away_since`: it could not be reached.
    """

    __tablename__ = "erp_connection"
    id: Mapped[int] = _key()
    site_id: Mapped[int] = _of("site")
    name: Mapped[str] = mapped_column(String(CODE), unique=True)
    kind: Mapped[str] = mapped_column(String(CODE))  # `erp.kinds`
    settings: Mapped[str] = mapped_column(Text)  # JSON
    since: Mapped[datetime | None]  # corrections that stood before are not told; None: by `heard`
    made_at: Mapped[datetime]
    paused_at: Mapped[datetime | None]
    heard: Mapped[int] = mapped_column(Key, default=0)
    reached_at: Mapped[datetime | None]
    away_since: Mapped[datetime | None]
    away_why: Mapped[str] = mapped_column(Text, default="")


class Posting(Table):
    """The outbox: a correction that a stock system is told. Made from adjustments, which stand with their decision.

    `body`: `erp.protocol.Posting` as JSON, as it was first meant; `tried`: how often it was begun; `next_at`: when it
    is tried again. `stale` and `refused` wait for a person, and so do later postings of the bin.
    """

    __tablename__ = "posting"
    id: Mapped[int] = _key()
    connection_id: Mapped[int] = _of("erp_connection")
    bin_id: Mapped[int] = _of("bin")
    decision_id: Mapped[int] = _of("decision")
    reverses_id: Mapped[int | None] = _of("posting", unique=True)
    key: Mapped[str] = mapped_column(String(40), unique=True)
    kind: Mapped[str] = mapped_column(String(10))
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    reason: Mapped[str] = mapped_column(Text, default="")
    reference: Mapped[str | None] = mapped_column(Text)  # the stock system's number of it
    tried: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)  # in a row
    next_at: Mapped[datetime]
    made_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("connection_id", "decision_id", "kind"),
        Index(None, "connection_id", "state", "id"),
        Index(None, "connection_id", "settled_at"),
        Index(None, "bin_id", "connection_id", "id"),
        CheckConstraint("kind IN ('adjust', 'reverse')", name="kind"),
        CheckConstraint("state IN ('waiting', 'posted', 'stale', 'refused', 'dropped', 'cancelled')", name="state"),
    )


class PostingStep(Table):
    """What happened to a posting, one thing after the other. Never changed. `body`: JSON, what was sent or answered."""

    __tablename__ = "posting_step"
    id: Mapped[int] = _key()
    posting_id: Mapped[int] = _of("posting", index=True)
    at: Mapped[datetime]
    step: Mapped[str] = mapped_column(String(20))
    body: Mapped[str] = mapped_column(Text)
