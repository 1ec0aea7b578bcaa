"""Envelopes are DSSE's, as its specification and another hand's library have them."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey

from bintally.errors import BundleError
from bintally.signatures import check, sign
from bintally.signatures.digest import SIGNATURE, files_of
from bintally.signatures.envelope import Envelope, Signature, decoded, envelope_of, pae, read_envelope
from bintally.signatures.keys import read_public
from bintally.signatures.statement import PREDICATE, files_in, statement_of
from tests.signatures.folders import make_folder, make_key


def test_what_is_signed_is_the_specifications_example() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_are_of_bytes_not_of_letters() -> None:
    assert pae("é", "ü!".encode()) == "DSSEv1 2 é 3 ü!".encode()


@pytest.mark.parametrize("text", ["-_8=", "+/8="])
def test_both_alphabets_of_base64_are_read(text: str) -> None:
    assert decoded(text) == b"\xfb\xff"


def test_another_hands_library_takes_our_envelope(tmp_path: Path) -> None:
    folder, (key, public) = make_folder(tmp_path / "bundle"), make_key(tmp_path / "keys")
    sign(folder, key)
    theirs = TheirEnvelope.from_dict(json.loads((folder / SIGNATURE).read_text()))
    trusted = SSlibKey.from_crypto(load_pem_public_key(public.read_bytes()), keyid=read_public(public).id)
    assert set(theirs.verify([trusted], 1)) == {read_public(public).id}
    statement = json.loads(theirs.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == files_of(folder)


def test_we_take_the_envelope_of_another_hands_library(tmp_path: Path) -> None:
    folder, (_, public) = make_folder(tmp_path / "bundle"), make_key(tmp_path / "keys")
    theirs = TheirEnvelope(statement_of(files_of(folder)), "application/vnd.in-toto+json", {})
    signer = CryptoSigner.generate_ed25519()
    theirs.sign(signer)
    (folder / SIGNATURE).write_text(json.dumps(theirs.to_dict()))
    public.write_text(pem_of(signer))
    found = check(folder, [public])
    assert found is not None
    assert [each.trusted_as for each in found.signers] == [public.name]


def pem_of(signer: CryptoSigner) -> str:
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer.public_key.keyval["public"]))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_the_same_files_are_always_the_same_bytes() -> None:
    files = {"b": "2" * 64, "a": "1" * 64}
    assert statement_of(files) == statement_of(dict(sorted(files.items())))
    assert files_in(statement_of(files)) == files


def statement(**changes: object) -> bytes:
    told = json.loads(statement_of({"a": "1" * 64}))
    return json.dumps(told | changes).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"no JSON", "no statement"),
        (b"\xff", "no statement"),
        (b"{}", "no statement"),
        (statement(_type="https://in-toto.io/Statement/v0.1"), "not what bintally signs"),
        (statement(predicateType="https://slsa.dev/provenance/v1"), "not what bintally signs"),
        (statement(subject=[]), "contradicts itself"),
        (statement(subject=[{"name": "a", "digest": {"sha512": "1"}}]), "no statement"),
        (statement(subject=[{"name": "a", "digest": {"sha256": "1" * 64}}] * 2), "contradicts itself"),
        (statement(predicate={}), "no statement"),
        (statement(predicate={"digest": 3}), "no statement"),
    ],
)
def test_other_statements_are_refused_with_a_reason(body: bytes, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        files_in(body)
    assert PREDICATE.endswith("/v1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no DSSE envelope"),
        ('{"payload": "", "signatures": []}', "is no DSSE envelope"),
        ('{"payload": "", "payloadType": "x", "signatures": [{"keyid": "a"}]}', "is no DSSE envelope"),
        (json.dumps({"payload": "", "payloadType": "x", "signatures": [{"sig": ""}] * 101}), "too large"),
    ],
)
def test_files_that_are_no_envelopes_are_refused_with_a_reason(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / SIGNATURE).write_text(text)
    with pytest.raises(BundleError, match=why):
        read_envelope(tmp_path / SIGNATURE)


def test_fields_that_nobody_knows_are_passed_over(tmp_path: Path) -> None:
    text = {"payload": "", "payloadType": "x", "more": 1, "signatures": [{"sig": "", "cert": "y"}]}
    (tmp_path / SIGNATURE).write_text(json.dumps(text))
    assert read_envelope(tmp_path / SIGNATURE) == Envelope("", "x", (Signature(""),))


def test_what_is_no_base64_is_refused() -> None:
    with pytest.raises(BundleError, match="no base64"):
        decoded("é!")


def test_an_envelope_holds_its_bytes_as_they_are() -> None:
    body = b'{"a":  1}\n'
    assert envelope_of(body).body == body
    assert base64.b64decode(envelope_of(body).payload) == body
