"""`bintally keys`: who may ask the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, console, emit_json
from bintally.records import to_plain

if TYPE_CHECKING:
    from bintally.serving.keys.file import KeyFile
    from bintally.serving.keys.key import Key

app = typer.Typer(help="The service's API keys: made, listed, renewed and taken away.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The key's name: who has it.")]
File = Annotated[
    Path | None,
    typer.Option("--keys", help="File of keys; default: $BINTALLY_SERVE_KEYS, else keys.json in the service's state."),
]


@app.command()
def create(
    name: Name,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="count, read or admin; repeatable or with commas; default: count,read."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Photos a second for this key, in place of the service's; 0: no limit.")
    ] = None,
    expires: Annotated[float | None, typer.Option(metavar="DAYS", help="Days after which it is taken no more.")] = None,
    keys: File = None,
    json_output: Json = False,
) -> None:
    """Makes a key and shows it, once: only its hash is kept.

    Example: `bintally keys create robot-7 --scope count --rate 5`
    """
    scopes = [part.strip() for given in scope or ["count,read"] for part in given.split(",") if part.strip()]
    file = _file(keys)
    key, text = file.create(name, scopes=scopes, rate=rate, expires_days=expires)
    _show_secret(file, key, text, json_output=json_output)


@app.command("list")
def list_keys(keys: File = None, json_output: Json = False) -> None:
    """Lists the keys: never their secrets, which nobody knows here.

    Example: `bintally keys list`
    """
    file = _file(keys)
    found = file.read()
    if json_output:
        emit_json([_told(key) for key in found])
        return
    from rich.table import Table

    table = Table(title=str(file.path), box=None)
    for name in ("name", "id", "scopes", "rate", *_MOMENTS):
        table.add_column(name, overflow="fold")  # an id that ends in "..." is of no use
    for key in found:
        days = (str(_told(key)[name] or "")[:_DAY] for name in _MOMENTS)
        table.add_row(key.name, key.id, ", ".join(key.scopes), "" if key.rate is None else f"{key.rate:g}", *days)
    console().print(table)


_MOMENTS = ("created", "expires", "rotated")
_DAY = len("2026-01-31")


@app.command()
def rotate(
    name: Name,
    grace: Annotated[
        float, typer.Option(min=0, max=8760, metavar="HOURS", help="The secret before is taken so long.")
    ] = 24.0,
    keys: File = None,
    json_output: Json = False,
) -> None:
    """Gives a key a new secret and shows it, once; the one before is taken a while longer.

    Example: `bintally keys rotate robot-7 --grace 2`
    """
    file = _file(keys)
    key, text = file.rotate(name, grace_hours=grace)
    _show_secret(file, key, text, json_output=json_output)


@app.command()
def revoke(name: Name, keys: File = None, json_output: Json = False) -> None:
    """Takes a key away; running services refuse it within two seconds.

    Example: `bintally keys revoke robot-7`
    """
    file = _file(keys)
    key = file.revoke(name)
    if json_output:
        emit_json(_told(key))
        return
    console().print(f"The key [bold]{key.name}[/] ({key.id}) is revoked.")


def _file(named: Path | None) -> "KeyFile":
    from bintally.serving.keys.file import KeyFile
    from bintally.serving.settings import ServeConfig

    return KeyFile(ServeConfig.from_environment({} if named is None else {"keys": named}).keys_file)


def _show_secret(file: "KeyFile", key: "Key", text: str, *, json_output: bool) -> None:
    if json_output:
        emit_json({**_told(key), "key": text})
        return
    typer.echo(text)
    console().print(
        f"The key of [bold]{key.name}[/] ({', '.join(key.scopes)}), kept as a hash in {file.path}. Save it now: it is "
        "shown this once."
    )


def _told(key: "Key") -> dict[str, object]:
    plain = to_plain(key)
    return {name: value for name, value in plain.items() if "sha256" not in name}
