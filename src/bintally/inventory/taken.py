"""What taking in a fact comes to."""

import msgspec

from bintally.errors import ConflictError


class Taken(msgspec.Struct, frozen=True):
    """A fact's number, and whether it was new."""

    id: int
    is_new: bool


def conflict(what: str, *, before: str, now: str) -> ConflictError:
    """The error of a key that comes again with another content; it names both."""
    return ConflictError(
        f"The {what} was taken in as {before}; now it says {now}.",
        hint="Nothing was changed: send what is new under a key of its own.",
    )
