"""Signatures of registered versions: made on the registry's own copy of the bundle, and written down."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bintally import signatures
from bintally.database import audit
from bintally.errors import BundleError
from bintally.registry.acting import actor
from bintally.registry.bundles import is_whole
from bintally.registry.place import Registry
from bintally.registry.versions import Version, version_of
from bintally.signatures import Signed

_HINT = "Something changed or damaged them: register the bundle again."


def sign_version(registry: Registry, called: str, key: Path, *, by: str, renew: bool = False) -> Signed:
    """Signs the files of a version, if they are still the ones that were registered.

    Raises:
        UsageError: there is no such version, or `key` is no private key.
        BundleError: its bundle is gone or damaged.
        StorageError: the signature can't be written.
        MissingExtraError: `cryptography` is not installed.
    """
    by, version = actor(by), _version(registry, called)
    folder = registry.bundle_of(version.bundle_sha256)
    if not is_whole(folder):
        raise BundleError(f"The files of {version.name} are not those that were registered.", hint=_HINT)
    found = signatures.sign(folder, key, renew=renew)
    body = {"bundle": version.bundle_sha256, "key": found.signers[-1].id}
    with registry.write() as connection:
        audit.append(connection, actor=by, action="model.sign", subject=f"model:{version.name}", body=body)
    return found


def inspect_version(registry: Registry, called: str, trusted: Sequence[Path] = ()) -> Signed:
    """What `signatures.inspect` finds in the folder of a version; its files must also be the ones that were registered.

    Raises:
        UsageError: there is no such version, or one of `trusted` is no public key.
        BundleError: its bundle is gone.
        MissingExtraError: keys are given, and `cryptography` is not installed.
    """
    version = _version(registry, called)
    found = signatures.inspect(registry.bundle_of(version.bundle_sha256), trusted)
    if found.problem is None and found.sha256 != version.bundle_sha256:
        problem = f"The files of {version.name} are not those that were registered."
        return msgspec.structs.replace(found, problem=problem, hint=_HINT)
    return found


def _version(registry: Registry, called: str) -> Version:
    with registry.read() as connection:
        return version_of(connection, called)
