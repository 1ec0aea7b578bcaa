"""DSSE envelopes, version 1.0.2 (https://github.com/secure-systems-lab/dsse): bytes, and who signed them.

What is signed is the payload as it is, never JSON that was written anew, together with what it is (`pae`). The name of
a key is a hint for people: whether a signature counts, its key alone decides.
"""

import base64
import binascii
from pathlib import Path
from typing import Final

import msgspec

from bintally.artifacts import write_bytes
from bintally.errors import BundleError

IN_TOTO: Final = "application/vnd.in-toto+json"
SHOWN: Final = 12
"""As many letters of a key's id as people compare."""

_MOST_BYTES: Final = 64 * 2**20  # some 250,000 files
_MOST_SIGNATURES: Final = 100
_URL_SAFE: Final = str.maketrans("-_", "+/")


class Signature(msgspec.Struct, frozen=True):
    """One signature, base64; `keyid` as the signer wrote it."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """What was signed (base64), what it is, and the signatures."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]

    @property
    def signed(self) -> bytes:
        """What each signature is over.

        Raises:
            BundleError: it is no base64.
        """
        return pae(self.payload_type, self.body)

    @property
    def body(self) -> bytes:
        """The payload.

        Raises:
            BundleError: it is no base64.
        """
        return decoded(self.payload)


def pae(payload_type: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def envelope_of(body: bytes) -> Envelope:
    """An envelope around an in-toto statement that nobody has signed yet."""
    return Envelope(base64.b64encode(body).decode(), IN_TOTO, ())


def decoded(text: str) -> bytes:
    """Standard or URL-safe base64: signers may use either.

    Raises:
        BundleError: it is neither.
    """
    try:
        return base64.b64decode(text.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_signature("a part of it is no base64") from error


def read_envelope(path: Path) -> Envelope | None:
    """The envelope in a file; None: there is no such file.

    Raises:
        BundleError: it holds something else, or can't be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{path} can't be read: {error.strerror}.", hint="Look at its permissions.") from error
    try:
        found = msgspec.json.decode(data, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_signature(f"{path} is no DSSE envelope") from error
    if len(data) > _MOST_BYTES or len(found.signatures) > _MOST_SIGNATURES:
        raise _no_signature(f"{path} is too large for one")
    return found


def write_envelope(path: Path, envelope: Envelope) -> None:
    """The envelope as a file, atomically."""
    write_bytes(path, bytes_of(envelope))


def bytes_of(envelope: Envelope) -> bytes:
    """What an envelope's file holds."""
    return msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n"


def _no_signature(why: str) -> BundleError:
    return BundleError(f"The signature can't be used: {why}.", hint="Sign again with `bintally models sign --renew`.")
