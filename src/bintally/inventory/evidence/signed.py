"""Whether a bundle's files are those of its manifest and of its signature, and who signed."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from bintally.errors import BundleError
from bintally.inventory.evidence.layout import MANIFEST
from bintally.signatures.checking import Signer, keys_of, signer_of
from bintally.signatures.digest import SIGNATURE
from bintally.signatures.envelope import IN_TOTO, SHOWN, Envelope, Signature, bytes_of, decoded, read_envelope
from bintally.signatures.statement import files_in, statement_of

if TYPE_CHECKING:
    from bintally.signatures.keys import PublicKey


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Files held against what a statement says of them."""

    changed: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    extra: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    signers: tuple[Signer, ...] = ()

    @classmethod
    def of(cls, files: Mapping[str, str], told: Mapping[str, str], problems: Sequence[str] = ()) -> Self:
        """SHA-256s by name: as they are, and as they should be."""
        return cls(
            changed=frozenset(name for name in files.keys() & told.keys() if files[name] != told[name]),
            missing=frozenset(told.keys() - files.keys()),
            extra=frozenset(files.keys() - told.keys()),
            problems=tuple(problems),
        )


def with_manifest(folder: Path, files: Mapping[str, str]) -> Compared:
    """Files held against the manifest, which must be as it was written itself."""
    others = {name: sha256 for name, sha256 in files.items() if name != MANIFEST}
    try:
        body = (folder / MANIFEST).read_bytes()
        told = files_in(body)
    except FileNotFoundError:
        return Compared(missing=frozenset({MANIFEST}))
    except BundleError:
        return Compared(changed=frozenset({MANIFEST}))
    if statement_of(told) != body:
        return Compared(changed=frozenset({MANIFEST}))
    return Compared.of(others, told)


def with_signature(folder: Path, files: Mapping[str, str], trusted: Sequence[Path]) -> Compared:
    """Files held against what was signed, if anything was; one of the `trusted` public keys must have signed.

    Raises:
        UsageError: one of `trusted` is no public key.
        MissingExtraError: keys are given, and `cryptography` is not installed.
    """
    keys = keys_of(trusted)
    try:
        envelope = read_envelope(folder / SIGNATURE)
        if envelope is None:
            return Compared(problems=("It is not signed.",) if keys else ())
        signers = tuple(signer_of(each, envelope, keys) for each in envelope.signatures)
        told = files_in(envelope.body) if envelope.payload_type == IN_TOTO else {}
        problems = list(_problems(folder, envelope, signers, keys))
    except BundleError as error:
        return Compared(changed=frozenset({SIGNATURE}), problems=(error.message,))
    return msgspec.structs.replace(Compared.of(files, told, problems), signers=signers)


def _problems(
    folder: Path, envelope: Envelope, signers: Sequence[Signer], keys: Sequence["PublicKey"]
) -> Iterator[str]:
    if keys and not any(signer.trusted_as for signer in signers):
        who = ", ".join(signer.id[:SHOWN] or "a key without a name" for signer in signers) or "nobody"
        yield f"It is signed by {who}, and by none of the trusted keys."
    if bytes_of(_plain(envelope)) != (folder / SIGNATURE).read_bytes() or not signers:
        yield f"{SIGNATURE} is not as it was written."
    ids = {key.name: key.id for key in keys}
    for signer, signature in zip(signers, envelope.signatures, strict=True):
        if signer.trusted_as is not None and signature.keyid != ids[signer.trusted_as]:
            yield f"{SIGNATURE} gives the key {signer.trusted_as} another name."


def _plain(envelope: Envelope) -> Envelope:
    """An envelope with its base64 written in the one way that we write it."""
    signatures = tuple(Signature(_again(each.sig), each.keyid) for each in envelope.signatures)
    return msgspec.structs.replace(envelope, payload=_again(envelope.payload), signatures=signatures)


def _again(text: str) -> str:
    return base64.b64encode(decoded(text)).decode()
