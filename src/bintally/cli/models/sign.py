"""`bintally models sign`: vouching for a bundle's files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.cli.models.named import BundleFlag, By, Called, RegistryOption, acting, bundle_called, opened

if TYPE_CHECKING:
    from bintally.signatures import Signed


def sign(
    called: Called,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Private key of `bintally models keygen`.")],
    is_bundle: BundleFlag = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="The files were changed on purpose: earlier signatures go.")
    ] = False,
    registry: RegistryOption = None,
    by: By = None,
    json_output: Json = False,
) -> None:
    """Sign all files of a bundle: signature.dsse.json is put beside them. Signatures of others stay.

    Example: `bintally models sign bundle --key ~/keys/release`

    Example: `bintally models sign bintally/3 --key ~/keys/release --as mara`
    """
    from bintally import signatures
    from bintally.records import to_plain

    folder = bundle_called(called, is_bundle=is_bundle)
    if folder is not None:
        found = signatures.sign(folder, key, renew=renew)
    else:
        found = _sign_version(called, key, registry, acting(by), renew=renew)
    if json_output:
        emit_json(to_plain(found))
        return
    count = len(found.signers)
    others = f", beside {count - 1} other(s)" if count > 1 else ""
    console().print(f"Signed: {len(found.files)} files, SHA-256 over them {found.sha256}{others}.", soft_wrap=True)


def _sign_version(called: str, key: Path, place: Path | None, by: str, *, renew: bool) -> "Signed":
    from bintally.registry.signing import sign_version

    with opened(place) as registry:
        return sign_version(registry, called, key, by=by, renew=renew)
