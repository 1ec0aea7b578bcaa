"""`bintally models verify`: whether a bundle's files are the ones that were signed."""

from typing import TYPE_CHECKING

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.cli.models.named import BundleFlag, Called, RegistryOption, Trust, bundle_called, opened

if TYPE_CHECKING:
    from bintally.signatures import Signed


def verify(
    called: Called,
    trust: Trust = None,
    is_bundle: BundleFlag = False,
    registry: RegistryOption = None,
    json_output: Json = False,
) -> None:
    """Look whether a bundle's files are the ones that were signed, and by whom; exit code 1 where they are not.

    With --trust one of these keys must have signed. Without, a signature only tells damage. Of a version, the files
    must also be the ones that were registered.

    Example: `bintally models verify bundle --trust release.pub`
    """
    from bintally.records import to_plain
    from bintally.registry.signing import inspect_version
    from bintally.signatures import inspect

    folder = bundle_called(called, is_bundle=is_bundle)
    if folder is not None:
        found = inspect(folder, trust or ())
    else:
        with opened(registry) as place:
            found = inspect_version(place, called, trust or ())
    is_right = found.problem is None and (found.is_signed or folder is None)
    if json_output:
        emit_json({**to_plain(found), "is_right": is_right})
    else:
        _show(found, is_right=is_right)
    if not is_right:
        raise typer.Exit(1)


def _show(found: "Signed", *, is_right: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from bintally.signatures.envelope import SHOWN

    out = console()
    if is_right:
        signed = "signed" if found.trusted else "as they were signed" if found.is_signed else "as they were registered"
        out.print(f"[green]{len(found.files)} files, {signed}.[/] SHA-256 over them {found.sha256}", soft_wrap=True)
    else:
        said = found.problem or f"{found.folder} is not signed: there is nothing to compare its files with."
        out.print(f"[bold red]No:[/] {escape(said)} {escape(found.hint)}", soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for word, names in (("changed", found.changed), ("missing", found.missing), ("not signed", found.extra)):
        for name in names:
            table.add_row(f"[red]{word}[/]", escape(name))
    for signer in found.signers:
        trusted = "not trusted here" if signer.trusted_as is None else f"[green]{escape(signer.trusted_as)}[/]"
        table.add_row("signed by", f"{escape(signer.id[:SHOWN]) or 'a key without a name'}  {trusted}")
    if table.row_count:
        out.print(table)
