"""`bintally models keygen`: a pair of keys to sign bundles with."""

from pathlib import Path
from typing import Annotated

import typer

from bintally.cli.common import Json, console, emit_json


def keygen(
    key: Annotated[Path, typer.Argument(metavar="KEYFILE", help="The private key's new file; KEYFILE.pub beside it.")],
    json_output: Json = False,
) -> None:
    """Make a pair of keys (Ed25519, PEM): sign with KEYFILE, which stays with you; give KEYFILE.pub to who serves.

    Example: `bintally models keygen ~/keys/release`
    """
    from bintally.signatures.envelope import SHOWN
    from bintally.signatures.extra import signatures_extra

    with signatures_extra():
        from bintally.signatures.keys import PUBLIC, generate
    made = generate(key)
    public = key.with_name(key.name + PUBLIC)
    if json_output:
        emit_json({"private": str(key), "public": str(public), "id": made.id})
        return
    out = console()
    out.print(f"[bold]{key}[/] signs; keep it to yourself: only you can read it, and it has no password.")
    out.print(f"[bold]{public}[/] ({made.id[:SHOWN]}) checks: `bintally serve --trust {public}`", soft_wrap=True)
