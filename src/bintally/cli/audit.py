"""`bintally audit`: who did what, and whether the log of it is whole."""

from typing import Annotated

import typer

from bintally.cli.common import Json, LedgerOption, console, emit_json

app = typer.Typer(help="The audit log: who did what, and whether it is whole.", no_args_is_help=True)


@app.command()
def verify(
    expect: Annotated[
        str | None, typer.Option(help="A head that was noted down earlier, NUMBER:HASH; it must be in the log.")
    ] = None,
    ledger: LedgerOption = None,
    json_output: Json = False,
) -> None:
    """Look through the whole log; exit code 1 where a line was changed, removed, inserted or cut off.

    Example: `bintally audit verify --expect 1204:9f86d081884c7d65...`
    """
    from bintally.database import audit
    from bintally.inventory.ledger import Ledger
    from bintally.settings import ledger_place

    noted = None if expect is None else audit.Head.of(expect)
    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        found = audit.verify(connection, expect=noted)
    if json_output:
        from bintally.records import to_plain

        emit_json({**to_plain(found), "is_whole": found.is_whole})
    elif found.is_whole:
        console().print(f"{found.lines:,} lines, every one as it was written. Head: {found.head}")
    else:
        console().print(f"[bold red]Broken:[/] {found.reason}. {found.lines:,} line(s) before it are whole.")
    if not found.is_whole:
        raise typer.Exit(1)


@app.command()
def head(ledger: LedgerOption = None, json_output: Json = False) -> None:
    """Print the log's last line as NUMBER:HASH: note it down where nobody can change both.

    Example: `bintally audit head >> /mnt/elsewhere/heads.txt`
    """
    from bintally.database import audit
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        last = audit.head(connection)
    if json_output:
        emit_json(to_plain(last))
    else:
        typer.echo(str(last))


@app.command()
def show(
    subject: Annotated[str | None, typer.Option(help="Only of this, such as bin:STR1/A-12.")] = None,
    after: Annotated[int, typer.Option(help="Only lines after this number.")] = 0,
    ledger: LedgerOption = None,
    json_output: Json = False,
) -> None:
    """Show the log, a line each; with --json as JSON lines.

    Example: `bintally audit show --subject bin:STR1/A-12`
    """
    from bintally.database import audit
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        for line in audit.entries(connection, subject=subject, after=after):
            if json_output:
                emit_json(to_plain(line))
            else:
                body = ", ".join(f"{name} {value}" for name, value in line.body.items())
                moment = f"{line.at:%Y-%m-%d %H:%M:%S}"
                typer.echo(f"{line.number:>6}  {moment}  {line.actor}  {line.action}  {line.subject}  {body}")
