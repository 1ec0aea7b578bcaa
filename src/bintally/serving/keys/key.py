"""One API key: what is kept of it, and what a caller shows.

A key reads `btk_<id>_<secret>`: the id finds the key, the secret is 32 random bytes in base64url. What is kept is the
secret's SHA-256. A slow hash (bcrypt, scrypt) would guard passwords, which people choose; 256 random bits can't be
guessed at any speed, so a slow hash would only make each request slower.
"""

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, NamedTuple, Self, TypeAlias, get_args

import msgspec

Scope: TypeAlias = Literal["count", "read", "admin"]
"""count: photos. read: the model, samples, the API's description, metrics. admin: load, unload and reload models."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MOST_RATE: Final = 1e6  # photos a second
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
PRESENTED: Final = re.compile(r"btk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES: Final = 32
_NO_HASH: Final = "0" * 64  # of no secret anybody knows

# What people change by hand is looked at when the file is read, not when a key is shown.
_Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
_Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Rate: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=MOST_RATE)]


class Made(NamedTuple):
    """A new secret: what is shown once, and what is kept."""

    text: str
    sha256: str

    @classmethod
    def of(cls, key_id: str) -> Self:
        """A secret for the key `key_id`."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        return cls(f"btk_{key_id}_{secret}", sha256_of(secret))


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a key. `rate`: photos a second, in place of the service's; 0: no limit."""

    id: str
    name: str
    sha256: _Sha256
    scopes: tuple[Scope, ...]
    created: _Moment
    expires: _Moment | None = None
    rate: _Rate | None = None
    rotated: _Moment | None = None
    previous_sha256: _Sha256 | None = None  # of the secret before the last rotation, valid until
    previous_until: _Moment | None = None

    def is_expired(self, now: datetime) -> bool:
        """Whether it is taken no more."""
        return self.expires is not None and self.expires <= now

    def opens_with(self, sha256: str, now: datetime) -> bool:
        """Whether `sha256` is of its secret, or of the one before while that is valid. Takes as long either way."""
        is_current = hmac.compare_digest(sha256, self.sha256)
        is_previous = hmac.compare_digest(sha256, self.previous_sha256 or _NO_HASH)
        return is_current or (is_previous and self.previous_until is not None and now < self.previous_until)


NOBODY: Final = Key(id="", name="", sha256=_NO_HASH, scopes=(), created=datetime(1970, 1, 1, tzinfo=UTC))
"""Compared with where an id is unknown, so that the time of an answer does not tell which ids exist."""


def sha256_of(secret: str) -> str:
    """The hash that is kept of a secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_id() -> str:
    """An id that no other key has."""
    return secrets.token_hex(6)
