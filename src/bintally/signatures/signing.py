"""Signs a folder's files: an envelope is put beside them, which is no part of what it signs."""

import base64
from pathlib import Path

import msgspec

from bintally.artifacts import one_at_a_time
from bintally.errors import ConflictError
from bintally.signatures.checking import Signed, inspect
from bintally.signatures.digest import SIGNATURE, files_of
from bintally.signatures.envelope import Envelope, Signature, envelope_of, read_envelope, write_envelope
from bintally.signatures.extra import signatures_extra
from bintally.signatures.statement import files_in, statement_of


def sign(folder: Path, key: Path, *, renew: bool = False) -> Signed:
    """Signs the files of a folder with the private key in the file `key`; signatures of others stay.

    `renew`: signatures that are there go: the files have changed since, on purpose.

    Raises:
        BundleError: there is no such folder, or it holds what can't be signed.
        ConflictError: the files are others than the ones that were signed before.
        UsageError: `key` is no private key.
        StorageError: the signature can't be written.
        MissingExtraError: `cryptography` is not installed.
    """
    with signatures_extra():
        from bintally.signatures.keys import KeyFile
    signer, place = KeyFile(key), folder / SIGNATURE
    with one_at_a_time(place):
        files = files_of(folder)
        envelope = None if renew else _before(folder, files)
        envelope = envelope or envelope_of(statement_of(files))
        made = Signature(base64.b64encode(signer.sign(envelope.signed)).decode(), signer.public.id)
        write_envelope(place, _with(envelope, (made,)))
    return inspect(folder)


def carry(source: Path, target: Path) -> None:
    """Puts the signatures of `source` beside those of `target`, a folder with the same files.

    Signatures of other files than `target` has are left behind: they would only call it damaged.

    Raises:
        BundleError: `source` holds an envelope that can't be used.
        StorageError: the signature can't be written.
    """
    brought = read_envelope(source / SIGNATURE)
    if brought is None or files_in(brought.body) != files_of(target):
        return
    with one_at_a_time(target / SIGNATURE):
        held = read_envelope(target / SIGNATURE)
        if held is not None and held.payload != brought.payload:
            return
        write_envelope(target / SIGNATURE, brought if held is None else _with(held, brought.signatures))


def _before(folder: Path, files: dict[str, str]) -> Envelope | None:
    """The envelope that others have signed; its bytes are signed as they are."""
    held = read_envelope(folder / SIGNATURE)
    if held is not None and files_in(held.body) != files:
        raise ConflictError(
            f"{folder} has changed since it was signed.",
            hint="`bintally models verify` says where; --renew signs it as it is, without the earlier signatures.",
        )
    return held


def _with(envelope: Envelope, new: tuple[Signature, ...]) -> Envelope:
    """The envelope with more signatures; one of the same key takes the place of the earlier."""
    names = {each.keyid for each in new if each.keyid}
    kept = tuple(each for each in envelope.signatures if each.keyid not in names and each not in new)
    return msgspec.structs.replace(envelope, signatures=(*kept, *new))
