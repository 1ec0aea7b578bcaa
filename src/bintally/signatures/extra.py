"""The library that checks signatures is an extra: what stands on it says so where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from bintally.errors import MissingExtraError


@contextmanager
def signatures_extra() -> Iterator[None]:
    """Turns a missing `cryptography` into a sentence that says how to install it.

    Raises:
        MissingExtraError: it is missing.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        raise MissingExtraError(
            "Signatures need cryptography, which is not installed.",
            hint="Install it with `pip install 'bintally[signatures]'`.",
        ) from error
