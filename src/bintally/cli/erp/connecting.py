"""`bintally erp connect`, `list`, `pause` and `resume`."""

import tomllib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.cli.common import AsOption, Json, LedgerOption, SiteOption, console, emit_json, moment_of
from bintally.cli.erp.common import Name, shown
from bintally.errors import UsageError

if TYPE_CHECKING:
    from bintally.inventory.erp.run import Connected


def connect(
    name: Annotated[str, typer.Argument(help="What you call it, such as erp.")],
    kind: Annotated[str, typer.Argument(help="tryton, odoo, erpnext, folder, webhook, or one that you installed.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of that kind; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Corrections from then on (ISO 8601); default: from now on.")
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Reach it first, and look what we may do.")] = True,
    site: SiteOption = None,
    ledger: LedgerOption = None,
    person: AsOption = None,
    json_output: Json = False,
) -> None:
    """Connect a stock system, or change its settings: the site's corrections are told to it from now on.

    Its secret (a password, a key) is no setting: it is read from $BINTALLY_ERP_NAME_SECRET, or from the file that
    $BINTALLY_ERP_NAME_SECRET_FILE names, whenever it is needed.

    Example: `bintally erp connect erp odoo --set url=https://odoo.example --set database=stock --as mara`
    """
    from bintally.inventory.erp.run import connect_erp
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        made = connect_erp(
            ledger=opened,
            name=name,
            kind=kind,
            settings=_settings(setting or []),
            by=acting_person(person),
            site=site,
            since=moment_of(since),
            check=check,
        )
    if json_output:
        emit_json(to_plain(made))
    else:
        _show(made)


def list_(ledger: LedgerOption = None, site: SiteOption = None, json_output: Json = False) -> None:
    """List the stock systems that are connected, with their settings.

    Example: `bintally erp list`
    """
    from bintally.inventory.erp.connections import connections
    from bintally.inventory.ledger import Ledger, site_of
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.read() as connection:
        found = connections(connection, None if site is None else site_of(connection, site))
    if json_output:
        emit_json(to_plain(found))
        return
    out = console()
    if not found:
        out.print("No stock system is connected: [cyan]bintally erp connect NAME KIND[/]")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "kind", "corrections since", "", "settings", box=None)
    for each in found:
        settings = ", ".join(f"{key}={value}" for key, value in each.settings.items() if value not in (None, "", {}))
        state = "[yellow]paused[/]" if each.paused_at else "[red]away[/]" if each.away_since else ""
        table.add_row(each.name, each.kind, shown(each.since or each.made_at), state, Text(settings))
    out.print(table)


def pause(name: Name = None, ledger: LedgerOption = None, person: AsOption = None, json_output: Json = False) -> None:
    """Post nothing for now: corrections wait in the outbox. What is just being sent is ended.

    Example: `bintally erp pause erp --as mara`
    """
    _pause(name, ledger, person, json_output, paused=True)


def resume(name: Name = None, ledger: LedgerOption = None, person: AsOption = None, json_output: Json = False) -> None:
    """Go on posting.

    Example: `bintally erp resume erp --as mara`
    """
    _pause(name, ledger, person, json_output, paused=False)


def _pause(name: str | None, ledger: str | None, person: str | None, json_output: bool, *, paused: bool) -> None:
    from bintally.database.types import now
    from bintally.inventory.erp import connections
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.people import person_of
    from bintally.records import to_plain
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened, opened.write() as connection:
        by = person_of(connection, acting_person(person))
        held = connections.connection_of(connection, name)
        held = connections.pause(connection, held.name, paused=paused, by=by, at=now())
    if json_output:
        emit_json(to_plain(held))
    else:
        console().print(f"{held.name} is {'paused: corrections wait' if paused else 'told corrections again'}.")


def _settings(told: list[str]) -> dict[str, Any]:
    """KEY=VALUE pairs; a key with dots is a section's, a value in brackets or braces TOML."""
    settings: dict[str, Any] = {}
    for pair in told:
        key, equals, value = pair.partition("=")
        if not (equals and key):
            raise UsageError(f"--set {pair!r} sets nothing.", hint="Write it as --set KEY=VALUE.")
        *sections, last = key.split(".")
        at = settings
        for section in sections:
            at = at.setdefault(section, {})
            if not isinstance(at, dict):
                raise UsageError(f"--set {pair!r}: {section} is set to a value already.", hint="Say one of the two.")
        at[last] = _value(value, pair)
    return settings


def _value(text: str, pair: str) -> Any:
    if text[:1] not in ("[", "{"):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--set {pair!r} can't be read as TOML: {error}.", hint="Mend its value.") from None


def _show(made: "Connected") -> None:
    from rich.markup import escape

    from bintally.inventory.erp.connections import secret_of, secret_variable
    from bintally.inventory.erp.kinds import kind_of

    out, held = console(), made.connection
    if made.about is not None:
        about = made.about
        answers = f"{about.product} {about.version}".strip()
        where = f" ({about.database})" if about.database else ""
        out.print(f"[bold]{held.name}[/] answers: {escape(answers + where)}.")
        if not about.reads:
            out.print("It does not tell what it holds: corrections are posted without a look at its stock.")
    since = shown(held.since or held.made_at)
    out.print(f"Corrections that stand since {since} UTC are told to it by [cyan]bintally erp post[/].")
    if kind_of(held.kind).takes_secret and secret_of(held.name) is None:
        out.print(
            f"If it needs a secret: ${secret_variable(held.name)}, or the file in ${secret_variable(held.name)}_FILE."
        )
