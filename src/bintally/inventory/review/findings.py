"""What a person said of a bin, held against the record that was in force when it was counted."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, TypeAlias, get_args

import msgspec
from sqlalchemy import Connection

from bintally.errors import ConflictError, UsageError
from bintally.inventory.intake import Version, lines_of, record_as_of
from bintally.inventory.known import products_of
from bintally.inventory.review import effects
from bintally.inventory.review.case import DISAGREED, Case, settings_of
from bintally.inventory.review.shown import blind_counts
from bintally.inventory.review.tolerance import tolerance_of
from bintally.inventory.values import MOST

Kind: TypeAlias = Literal["accept", "correct", "recount", "uncountable", "not_this_bin"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Asked(msgspec.Struct, frozen=True):
    """What a person said, checked as far as it can be without the ledger."""

    kind: Kind
    count: int | None
    lines: dict[str, int] | None


class Found(msgspec.Struct, frozen=True):
    """What that means for the record in force when it was counted. `kind`: as decisions are kept."""

    kind: str
    count: int | None = None
    lines: dict[str, int] | None = None
    counted_at: datetime | None = None
    base: Version | None = None
    before: dict[str, int] = {}
    agreed: bool = False  # with a blind count of somebody else


def asked_of(kind: Kind, count: int | None, lines: Mapping[str, int] | None) -> Asked:
    """What was said, if it makes sense.

    Raises:
        UsageError: it does not.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no decision.", hint=f"Known: {', '.join(KINDS)}.")
    quantities = [*(lines or {}).values(), *([] if count is None else [count])]
    if any(isinstance(each, bool) or not isinstance(each, int) or not 0 <= each <= MOST for each in quantities):
        raise UsageError(f"A count is a whole number from 0 to {MOST:,}.", hint="Count whole items.")
    if kind == "correct" and not quantities:
        raise UsageError("A correction needs a count.", hint="Say how many there are, in all or of each product.")
    if kind not in ("accept", "correct") and quantities:
        raise UsageError(f"{kind!r} takes no count.", hint="To tell a count, correct.")
    if kind == "accept" and lines:
        raise UsageError("To accept takes no counts by product.", hint="To tell them, correct.")
    if lines and count is not None and sum(lines.values()) != count:
        raise UsageError(f"The products add up to {sum(lines.values())}, not {count}.", hint="Count again.")
    return Asked(kind, sum(lines.values()) if lines else count, dict(lines) if lines else None)


def find(connection: Connection, case: Case, asked: Asked, at: datetime, counted_at: datetime | None) -> Found:
    """What is to be kept of what was said about `case`.

    Raises:
        UsageError: a blind review takes only counts; a count of another record than the one that was shown.
        ConflictError: the record has changed since.
        DataError: an unknown product.
    """
    if asked.kind == "recount" and case.blind:
        raise UsageError("This is a recount already.", hint="Give it back, and somebody else does it.")
    if asked.kind == "accept" and case.blind:
        raise UsageError("A blind recount can't be accepted: it needs your count.", hint="Correct with a count.")
    if asked.kind not in ("accept", "correct"):
        return Found(asked.kind)
    if counted_at is not None and counted_at > at:
        raise UsageError("A count can't be from the future.", hint="Say when the bin was counted.")
    moment = counted_at or case.taken_at or at
    base = base_of(connection, case, moment, elsewhere=counted_at is not None and asked.kind == "correct")
    before = lines_of(connection, base.id)
    if asked.kind == "accept" and asked.count not in (None, base.quantity):
        raise UsageError(f"The record says {base.quantity}, not {asked.count}.", hint="Correct it instead.")
    count = base.quantity if asked.count is None else asked.count
    lines = _lines(connection, case, asked, before)
    found = Found("accept", count, lines, moment, base, before)
    if asked.kind == "accept" or _agrees(connection, case, found):
        return found
    counted = blind_counts(connection, case)
    if case.blind and count not in counted:
        return msgspec.structs.replace(found, kind="count")
    return msgspec.structs.replace(found, kind="correct", agreed=count in counted)


def _lines(connection: Connection, case: Case, asked: Asked, before: Mapping[str, int]) -> dict[str, int] | None:
    if asked.lines is None:
        return None
    products_of(connection, case.site, list(asked.lines))
    if missing := sorted(sku for sku in before if sku not in asked.lines):
        raise UsageError(f"Nothing is said of {', '.join(missing)}.", hint="Say 0 for what is not there.")
    return asked.lines


def _agrees(connection: Connection, case: Case, found: Found) -> bool:
    """Whether a count says what the record says; a blind one may be off by the policy's tolerance."""
    assert found.base is not None and found.count is not None  # noqa: S101 - for type checkers
    off = [abs(found.count - found.base.quantity)]
    if found.lines is not None and found.before:
        off += [abs(many - found.before.get(sku, 0)) for sku, many in found.lines.items()]
    allowed = 0
    if case.blind and max(off):
        settings = settings_of(connection, case.policy_sha256)
        allowed = tolerance_of(connection, settings, found.base.id, found.base.quantity)
    return max(off) <= allowed


def base_of(connection: Connection, case: Case, moment: datetime, *, elsewhere: bool = False) -> Version:
    """The record in force at `moment`; it must say what the reviewed one says, unless it was counted `elsewhere`.

    Raises:
        ConflictError: another one has taken its place.
    """
    base = record_as_of(connection, case.bin_id, moment)
    if base is None or not (elsewhere or effects.same_stock(connection, case.record_id, base)):
        is_count = case.blind or case.reason == DISAGREED  # reconciling leaves those as they are
        hint = (
            "Count it at the bin: `b COUNT`, or --counted-at TIME."
            if is_count
            else "Reconcile again: it is judged anew."
        )
        raise ConflictError(f"The record of bin {case.bin} has changed since it was judged.", hint=hint)
    return base
