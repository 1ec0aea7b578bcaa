"""Ed25519 keys in PEM files, as OpenSSL has them: whoever signs keeps the private one, whoever trusts the public one.

`cryptography` is an extra: whoever imports this does it in a `signatures_extra()`.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from bintally.artifacts import atomic_write, one_at_a_time, storage_errors
from bintally.errors import ConflictError, UsageError
from bintally.signatures.envelope import SHOWN

PUBLIC: Final = ".pub"
"""What the public key's file has after the private one's name."""

_OWNER_ONLY: Final = 0o600
_EVERYBODY: Final = 0o644


class PublicKey(msgspec.Struct, frozen=True):
    """A key that signatures can be checked with. `id`: SHA-256 of its DER form; `name`: its file's, for people."""

    id: str
    name: str
    raw: bytes

    def made(self, signature: bytes, signed: bytes) -> bool:
        """Whether its private key made `signature` over `signed`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.name} ({self.id[:SHOWN]})"


class KeyFile:
    """The private key in a PEM file.

    Raises:
        UsageError: it is none.
    """

    def __init__(self, path: Path) -> None:
        self._key = _private(path)
        self.public = _named(self._key.public_key(), path.name)

    def sign(self, signed: bytes) -> bytes:
        """The signature over `signed`: 64 bytes (RFC 8032)."""
        return self._key.sign(signed)


def generate(path: Path) -> PublicKey:
    """Makes a pair of keys: the private one as `path`, which only its owner can read, the public one as `path`.pub.

    Raises:
        ConflictError: one of the files is there.
        StorageError: they can't be written.
    """
    key, public = Ed25519PrivateKey.generate(), path.with_name(path.name + PUBLIC)
    private_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public_pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with one_at_a_time(path):
        for each in (path, public):
            if os.path.lexists(each):
                raise ConflictError(f"There is a file {each}.", hint="Choose another name: a key is never overwritten.")
        _write(public, public_pem, _EVERYBODY)
        _write(path, private_pem, _OWNER_ONLY)
    return _named(key.public_key(), public.name)


def read_public(path: Path) -> PublicKey:
    """The public key in a PEM file.

    Raises:
        UsageError: it is none.
    """
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(
            f"{path} is no public key (Ed25519, PEM).", hint="Name the .pub file that `bintally models keygen` made."
        )
    return _named(key, path.name)


def _private(path: Path) -> Ed25519PrivateKey:
    hint = "`bintally models keygen KEYFILE` makes one."
    try:
        key = load_pem_private_key(_read(path), password=None)
    except TypeError:  # what it says of a key with a password
        key, hint = None, "Take the password off with `openssl pkey -in FILE`: none is asked for here."
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is no private key that can be used (Ed25519, PEM, no password).", hint=hint) from None
    return key


def _named(key: Ed25519PublicKey, name: str) -> PublicKey:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(der).hexdigest(), name, key.public_bytes_raw())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"The key {path} can't be read: {error.strerror}.", hint="Look at its name.") from None


def _write(path: Path, data: bytes, mode: int) -> None:
    with storage_errors(path), atomic_write(path) as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
