"""The file of keys: JSON, readable by its owner only, changed by one command at a time and as a whole."""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from bintally.artifacts import atomic_write, one_at_a_time
from bintally.errors import ConflictError, StorageError, UsageError, did_you_mean
from bintally.serving.keys.key import MOST_RATE, NAME, SCOPES, Key, Made, Scope, new_id

FORMAT: Final = 1
GRACE_HOURS: Final = 24.0
_OWNER_ONLY: Final = 0o600


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's content."""

    keys: tuple[Key, ...] = ()
    format: int = FORMAT


class KeyFile:
    """Keys in the file `path`; none where there is no file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[Key, ...]:
        """The keys, in the order they were made in.

        Raises:
            StorageError: the file can't be read, or holds something else.
        """
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=Keys)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StorageError(
                f"The keys in {self.path} can't be read: {error.strerror}.",
                hint="Run the service as the user who owns the file.",
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            # What the decoder says would quote the file.
            raise StorageError(f"{self.path} is no file of keys.", hint="Put back a copy, or make new keys.") from None
        if found.format != FORMAT:
            raise StorageError(f"{self.path} was written by a newer bintally.", hint="Install that one.")
        return found.keys

    def create(
        self, name: str, *, scopes: Iterable[str], rate: float | None = None, expires_days: float | None = None
    ) -> tuple[Key, str]:
        """A new key, and the text of it that nobody can show again.

        Raises:
            UsageError: a name, scope, rate or time that is none.
            ConflictError: there is a key of that name.
            StorageError: the file can't be read or written.
        """
        wanted, now, key_id = _scopes(scopes), _now(), new_id()
        _check(name, rate, expires_days)
        expires = None if expires_days is None else now + timedelta(days=expires_days)
        text, sha256 = Made.of(key_id)
        key = Key(id=key_id, name=name, sha256=sha256, scopes=wanted, created=now, expires=expires, rate=rate)

        def add(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            if name in {each.name for each in keys}:
                raise ConflictError(
                    f"There is a key {name!r}.", hint=f"`bintally keys rotate {name}` gives it a new secret."
                )
            return (*keys, key)

        self._change(add)
        return key, text

    def rotate(self, name: str, *, grace_hours: float = GRACE_HOURS) -> tuple[Key, str]:
        """Gives a key a new secret; the one before is taken for `grace_hours` more.

        Raises:
            UsageError: no key of that name.
            StorageError: the file can't be read or written.
        """
        now = _now()
        changed: list[tuple[Key, str]] = []

        def renew(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            key = _find(keys, name)
            text, sha256 = Made.of(key.id)
            until = now + timedelta(hours=grace_hours)
            new = msgspec.structs.replace(
                key, sha256=sha256, rotated=now, previous_sha256=key.sha256, previous_until=until
            )
            changed.append((new, text))
            return tuple(new if each is key else each for each in keys)

        self._change(renew)
        return changed[0]

    def revoke(self, name: str) -> Key:
        """Takes a key away: within a second or two no service takes it.

        Raises:
            UsageError: no key of that name.
            StorageError: the file can't be read or written.
        """
        gone: list[Key] = []

        def remove(keys: tuple[Key, ...]) -> tuple[Key, ...]:
            gone.append(_find(keys, name))
            return tuple(each for each in keys if each is not gone[0])

        self._change(remove)
        return gone[0]

    def _change(self, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
        with one_at_a_time(self.path):
            keys = Keys(change(self.read()))
            with atomic_write(self.path) as file:
                os.fchmod(file.fileno(), _OWNER_ONLY)
                file.write(msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _scopes(given: Iterable[str]) -> tuple[Scope, ...]:
    wanted = set(given)
    for name in sorted(wanted - set(SCOPES)):
        raise UsageError(f"{name!r} is no scope.", hint=did_you_mean(name, SCOPES))
    if not wanted:
        raise UsageError("A key needs a scope.", hint=f"Give it one of {', '.join(SCOPES)}, or several.")
    return tuple(scope for scope in SCOPES if scope in wanted)


def _check(name: str, rate: float | None, expires_days: float | None) -> None:
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a key.", hint="Use letters, digits, '.', '_' and '-', 64 at most.")
    if rate is not None and not 0 <= rate <= MOST_RATE:
        raise UsageError(f"{rate} is no rate.", hint=f"Give photos a second, up to {MOST_RATE:.0f}; 0 for no limit.")
    if expires_days is not None and not 0 < expires_days <= 36_500:
        raise UsageError(f"A key can't expire in {expires_days:g} days.", hint="Give days above 0, such as 90.")


def _find(keys: tuple[Key, ...], name: str) -> Key:
    for key in keys:
        if key.name == name:
            return key
    known = [key.name for key in keys]
    hint = did_you_mean(name, known) if known else "Make one with `bintally keys create NAME`."
    raise UsageError(f"There is no key {name!r}.", hint=hint)
