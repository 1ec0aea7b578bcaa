"""What may stand in a ledger: names, quantities, moments; and the keys of facts that come without one."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from bintally.errors import DataError
from bintally.inventory.schema import CODE

MOST: Final = 2_147_483_647
"""The largest quantity: PostgreSQL's `integer`."""

FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2999
UNIT: Final = 20
"""Characters of a unit's name."""

EACH: Final = "each"
"""The unit of totals, and of products that say none."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_BYTES: Final = 16  # of a bin's few thousand facts, no two will ever share one


def name_of(what: str, text: str) -> str:
    """`text` without blanks around it, as the name of a `what`.

    Raises:
        DataError: it is empty, too long, or holds control characters.
    """
    text = text.strip()
    if not text:
        raise DataError(f"A {what} without a name can't be taken in.", hint="Name it.")
    if len(text) > CODE:
        raise DataError(f"The {what} {text[:20]!r}... has a name of {len(text)} characters.", hint=f"{CODE} is most.")
    if not text.isprintable():
        raise DataError(f"The {what} {text!r} has characters in its name that can't be printed.", hint="Mend it.")
    return text


def quantity_of(quantity: int, *, of: str, lowest: int = 0) -> int:
    """`quantity`, if it is a whole number in the ledger's range.

    Raises:
        DataError: it is not.
    """
    if isinstance(quantity, bool) or not isinstance(quantity, int):
        raise DataError(f"{quantity!r} items of {of} is no whole number.", hint="Records count whole items.")
    if not lowest <= quantity <= MOST:
        raise DataError(f"{quantity:,} items of {of} can't be.", hint=f"{lowest:,} to {MOST:,} can.")
    return quantity


def moment_of(moment: datetime, *, of: str) -> datetime:
    """`moment` in UTC.

    Raises:
        DataError: it has no offset from UTC, or lies outside the years 1970 to 2999.
    """
    if moment.tzinfo is None:
        raise DataError(f"The time {moment} of {of} has no offset from UTC.", hint="Give it one: 2026-01-31T12:00Z.")
    moment = moment.astimezone(UTC)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise DataError(f"The time {moment} of {of} can't be.", hint=f"{FIRST_YEAR} to {LAST_YEAR} can.")
    return moment


def record_key(effective_at: datetime, quantity: int, lines: Mapping[str, int]) -> str:
    """The key of a record's version that came without one: the same content, the same key."""
    told = "".join(f"\x1f{sku}\x1f{count}" for sku, count in sorted(lines.items()))
    return digest(f"{_microseconds(effective_at)}|{quantity}{told}")


def movement_key(moved_at: datetime, quantity: int, product: str | None) -> str:
    """The key of a movement that came without one. Two equal ones at the same microsecond are taken for one."""
    return digest(f"{_microseconds(moved_at)}|{quantity}|{product or ''}")


def digest(text: str) -> str:
    """A content's key: BLAKE2b (RFC 7693), 128 bits as hex."""
    return hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).hexdigest()


def _microseconds(moment: datetime) -> int:
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
