"""A review with all that a decision about it needs to know, locked so that nobody else decides at the same moment."""

from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, exists, select
from sqlalchemy.orm import aliased

from bintally.config import Config
from bintally.errors import DataError, UsageError
from bintally.inventory import schema
from bintally.inventory.ledger import Site
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.verdict import Verdict

CHECK: Final = "check"
RECOUNT: Final = "recount"
DISAGREED: Final = "disagreed"

TELLING: Final = ("accept", "correct", "uncountable", "not_this_bin")
"""Kinds of decision that settle a review."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A review, its verdict, and the photo that the verdict is from."""

    review_id: int
    bin_id: int
    bin: str
    site: Site
    state: str
    reason: str
    blind: bool
    worth: Any
    propensity: float
    lease_person_id: int | None
    lease_until: datetime | None
    lease_token: str | None
    verdict_id: int
    record_id: int
    policy_sha256: str
    verdict: Verdict
    photo_id: int | None
    taken_at: datetime | None

    @property
    def subject(self) -> str:
        """What the audit log calls the bin."""
        return f"bin:{self.site.code}/{self.bin}"


def lock_bins(connection: Connection, bin_ids: list[int]) -> None:
    """Nobody else opens, decides or undoes a review of these bins until the transaction ends. Facts may still come."""
    bins = schema.Bin
    connection.execute(
        select(bins.id).where(bins.id.in_(bin_ids)).order_by(bins.id).with_for_update(key_share=True)
    ).all()


def locked(connection: Connection, review_id: int) -> Case:
    """The review `review_id`, of which nobody else can change anything until the transaction ends.

    Raises:
        UsageError: there is no such review.
    """
    bin_id = connection.execute(select(schema.Review.bin_id).where(schema.Review.id == review_id)).scalar_one_or_none()
    if bin_id is None:
        raise UsageError(f"There is no review {review_id}.", hint="`bintally review list` shows those that wait.")
    lock_bins(connection, [bin_id])
    return case_of(connection, review_id, lock=True)


def case_of(connection: Connection, review_id: int, *, lock: bool = False) -> Case:
    """The review `review_id`."""
    review, verdict, photo, place, site = schema.Review, schema.Verdict, schema.Photo, schema.Bin, schema.Site
    query = (
        select(
            review.id.label("review_id"), review.bin_id, review.state, review.reason, review.blind,
            review.worth, review.propensity, review.lease_person_id, review.lease_until, review.lease_token,
            review.verdict_id, verdict.record_id, verdict.policy_sha256, verdict.body, schema.Belief.photo_id,
            photo.taken_at, place.code.label("bin"),
            site.id.label("site_id"), site.code.label("site"), site.name, site.currency,
        )
        .join(verdict, verdict.id == review.verdict_id)
        .join(schema.Belief, schema.Belief.id == verdict.belief_id)
        .outerjoin(photo, photo.id == schema.Belief.photo_id)
        .join(place, place.id == review.bin_id)
        .join(site, site.id == place.site_id)
        .where(review.id == review_id)
    )  # fmt: skip
    if lock:
        query = query.with_for_update(of=review)
    row = dict(connection.execute(query).one()._mapping)
    of_site = Site(row.pop("site_id"), row.pop("site"), row.pop("name"), row.pop("currency"))
    verdict_told = msgspec.json.decode(row.pop("body"), type=Verdict)
    return Case(site=of_site, verdict=verdict_told, **row)


def settings_of(connection: Connection, policy_sha256: str) -> PolicySettings:
    """The settings of a policy that verdicts were made by.

    Raises:
        DataError: what the ledger keeps of it can't be read.
    """
    body = connection.execute(select(schema.Policy.body).where(schema.Policy.sha256 == policy_sha256)).scalar_one()
    plain = msgspec.json.decode(body)
    if not isinstance(plain, dict):
        raise DataError(f"The ledger's policy {policy_sha256[:12]} can't be read.", hint="Reconcile again.")
    settings: Config = PolicySettings.of(plain.get("settings", plain), where=f"The policy {policy_sha256[:12]}")
    assert isinstance(settings, PolicySettings)  # noqa: S101 - for type checkers
    return settings


def stands() -> list[ColumnElement[bool]]:
    """What a decision that stands fulfils, in a query over `schema.Decision` and its `schema.Review`."""
    decision, undo, reject = schema.Decision, aliased(schema.Decision), aliased(schema.Decision)
    return [
        is_closed(),
        decision.kind.in_(TELLING),
        ~exists().where(undo.undoes_id == decision.id),
        ~exists().where(reject.review_id == decision.review_id, reject.kind == "reject"),
    ]


def is_closed() -> ColumnElement[bool]:
    """Whether a review is closed; said so that the index of open ones is not used, which orders them by worth.

    Through it, 200,000 decisions took three times as long on SQLite.
    """
    return schema.Review.state.not_in(("open", "waiting", "withdrawn"))
