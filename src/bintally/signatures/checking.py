"""Whether a folder's files are the ones that were signed, and by whom."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bintally.errors import BundleError
from bintally.signatures.digest import SIGNATURE, digest_over, files_of
from bintally.signatures.envelope import IN_TOTO, SHOWN, Envelope, Signature, decoded, read_envelope
from bintally.signatures.extra import signatures_extra
from bintally.signatures.statement import files_in

if TYPE_CHECKING:
    from bintally.signatures.keys import PublicKey

_NAMED: Final = 3  # files in a sentence


class Signer(msgspec.Struct, frozen=True):
    """One who signed. `id`: the SHA-256 that the envelope names the key by, which proves nothing by itself.

    `trusted_as`: the file of the trusted key that the signature was checked with; None: no trusted key made it.
    """

    id: str
    trusted_as: str | None = None


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a folder. `problem` is a sentence; None: the files may be used."""

    folder: str
    sha256: str  # `digest_of` the files as they are
    files: tuple[str, ...]
    is_signed: bool
    signers: tuple[Signer, ...] = ()
    changed: tuple[str, ...] = ()  # files whose bytes are others
    missing: tuple[str, ...] = ()  # files that were signed and are not there
    extra: tuple[str, ...] = ()  # files that are there and were not signed
    problem: str | None = None
    hint: str = ""

    @property
    def trusted(self) -> tuple[Signer, ...]:
        """Those whose signature was checked with a trusted key."""
        return tuple(signer for signer in self.signers if signer.trusted_as is not None)


def check(folder: Path, trusted: Sequence[Path] = ()) -> Signed | None:
    """Looks whether a bundle may be used: signed by one of the `trusted` keys, and not a byte other than was signed.

    Without trusted keys, a signature that is there still tells damage. None: there is none, and nobody wanted one.

    `trusted`: files of public keys; the signature of one suffices.

    Raises:
        BundleError: the files are others, or no trusted key signed them.
        UsageError: one of `trusted` is no public key.
        MissingExtraError: keys are given, and `cryptography` is not installed.
    """
    if not trusted and not (folder / SIGNATURE).exists():
        return None
    found = inspect(folder, trusted)
    if found.problem is not None:
        raise BundleError(found.problem, hint=found.hint)
    return found


def inspect(folder: Path, trusted: Sequence[Path] = ()) -> Signed:
    """As `check`, but tells what is wrong instead of raising.

    Raises:
        BundleError: there is no such folder, or its files can't be read.
        UsageError: one of `trusted` is no public key.
        MissingExtraError: keys are given, and `cryptography` is not installed.
    """
    keys = keys_of(trusted)
    files = files_of(folder)
    found = Signed(folder=str(folder), sha256=digest_over(files), files=tuple(files), is_signed=False)
    try:
        envelope = read_envelope(folder / SIGNATURE)
        if envelope is None:
            return _unsigned(found) if trusted else found
        signers = tuple(signer_of(each, envelope, keys) for each in envelope.signatures)
        found = msgspec.structs.replace(found, is_signed=True, signers=signers)
        if trusted and not found.trusted:
            return _distrusted(found)
        return _compared(found, files, _told(envelope))
    except BundleError as error:
        return msgspec.structs.replace(found, problem=error.message, hint=error.hint)


def keys_of(trusted: Sequence[Path]) -> list["PublicKey"]:
    """The public keys in files.

    Raises:
        UsageError: one is none.
        MissingExtraError: `cryptography` is not installed.
    """
    if not trusted:
        return []
    with signatures_extra():
        from bintally.signatures.keys import read_public
    return [read_public(path) for path in trusted]


def signer_of(signature: Signature, envelope: Envelope, keys: Sequence["PublicKey"]) -> Signer:
    """Who made a signature: any trusted key may have, whatever name the envelope gives it."""
    sig, signed = decoded(signature.sig), envelope.signed
    key = next((key for key in keys if key.made(sig, signed)), None)
    return Signer(signature.keyid) if key is None else Signer(key.id, key.name)


def _told(envelope: Envelope) -> dict[str, str]:
    if envelope.payload_type != IN_TOTO:
        raise BundleError(
            f"What was signed is {envelope.payload_type!r}, no in-toto statement.",
            hint="Sign again with `bintally models sign --renew`.",
        )
    return files_in(envelope.body)


def _compared(found: Signed, files: dict[str, str], told: dict[str, str]) -> Signed:
    changed = tuple(sorted(name for name in files.keys() & told.keys() if files[name] != told[name]))
    missing, extra = tuple(sorted(told.keys() - files.keys())), tuple(sorted(files.keys() - told.keys()))
    found = msgspec.structs.replace(found, changed=changed, missing=missing, extra=extra)
    if not (changed or missing or extra):
        return found
    return msgspec.structs.replace(
        found,
        problem=f"{found.folder} is not what was signed: {'; '.join(_differences(found))}.",
        hint="Take the bundle from its source again; if it was changed on purpose, `bintally models sign --renew`.",
    )


def _differences(found: Signed) -> Iterator[str]:
    for name, files in (("changed", found.changed), ("missing", found.missing), ("not signed", found.extra)):
        if files:
            more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
            yield f"{name}: {', '.join(files[:_NAMED])}{more}"


def _unsigned(found: Signed) -> Signed:
    return msgspec.structs.replace(
        found,
        problem=f"{found.folder} is not signed.",
        hint="`bintally models sign FOLDER --key KEYFILE` signs it.",
    )


def _distrusted(found: Signed) -> Signed:
    who = ", ".join(signer.id[:SHOWN] or "a key without a name" for signer in found.signers) or "nobody"
    return msgspec.structs.replace(
        found,
        problem=f"{found.folder} is signed by {who}, and by none of the trusted keys.",
        hint="Name the signer's public key, or have it signed by a trusted one.",
    )
