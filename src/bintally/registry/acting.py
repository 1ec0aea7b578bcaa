"""Who does something, and why: what every change of the registry is kept with."""

from bintally.errors import UsageError
from bintally.registry import schema


def actor(by: str) -> str:
    """The name of whoever acts, as it is kept.

    Raises:
        UsageError: it is none, or too long.
    """
    name = " ".join(by.split())
    if not name or len(name) > schema.NAME:
        raise UsageError(f"{by[:50]!r} is nobody's name.", hint=f"Say it with --as NAME, up to {schema.NAME} letters.")
    return name


def because(reason: str | None, *, what: str) -> str:
    """The reason for `what`, which must have one.

    Raises:
        UsageError: it has none.
    """
    told = (reason or "").strip()
    if not told:
        raise UsageError(f"{what} needs a reason, which is kept.", hint="Say it with --reason 'WHY'.")
    return told
