"""A version's signature is made on the registry's copy, and written down."""

import shutil
from pathlib import Path

import pytest

from bintally import signatures
from bintally.database.audit import entries
from bintally.errors import BundleError, UsageError
from bintally.registry.place import Registry
from bintally.registry.registration import register
from bintally.registry.signing import inspect_version, sign_version
from bintally.signatures.keys import read_public
from tests.registry.conftest import MakeBundle
from tests.signatures.folders import make_key


def test_a_signed_version_is_the_version_it_was_and_the_audit_says_who_signed(
    registry: Registry, bundle: MakeBundle, tmp_path: Path
) -> None:
    key, public = make_key(tmp_path / "keys")
    version = register(registry, bundle("a"), by="rita").version
    sign_version(registry, "bintally/1", key, by="mara")
    assert inspect_version(registry, "bintally/1", [public]).problem is None
    assert register(registry, bundle("a"), by="rita").version == version
    with registry.read() as connection:
        line = list(entries(connection))[-1]
    assert (line.actor, line.action, line.subject) == ("mara", "model.sign", "model:bintally/1")
    assert line.body == {"bundle": version.bundle_sha256, "key": read_public(public).id}


def test_a_signed_bundle_brings_its_signature_into_the_registry(
    local: Registry, bundle: MakeBundle, tmp_path: Path
) -> None:
    (key, public), (other, others) = make_key(tmp_path / "keys"), make_key(tmp_path / "keys", "other")
    signed = Path(shutil.copytree(bundle("a"), tmp_path / "signed"))
    signatures.sign(signed, key)
    register(local, bundle("a"), by="rita")
    sign_version(local, "1", other, by="mara")
    register(local, signed, by="rita")
    assert len(inspect_version(local, "1", [public, others]).trusted) == 2


def test_files_that_were_changed_in_the_registry_are_not_signed(
    local: Registry, bundle: MakeBundle, tmp_path: Path
) -> None:
    key, _ = make_key(tmp_path / "keys")
    version = register(local, bundle("a"), by="rita").version
    (local.bundle_of(version.bundle_sha256) / "more.txt").write_text("x")
    with pytest.raises(BundleError, match="not those that were registered"):
        sign_version(local, "1", key, by="mara")
    assert inspect_version(local, "1").problem == "The files of bintally/1 are not those that were registered."


def test_whoever_signs_says_who_it_is(local: Registry, bundle: MakeBundle, tmp_path: Path) -> None:
    key, _ = make_key(tmp_path / "keys")
    register(local, bundle("a"), by="rita")
    with pytest.raises(UsageError):
        sign_version(local, "1", key, by=" ")
