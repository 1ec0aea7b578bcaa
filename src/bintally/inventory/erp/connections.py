"""Which stock systems a site's corrections are told to, and how they are reached.

Settings are kept in the ledger, secrets never are: `$BINTALLY_ERP_NAME_SECRET` holds a connection's, or the file that
`$BINTALLY_ERP_NAME_SECRET_FILE` names (NAME in capitals, with _ for what is no letter or digit).
"""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from bintally.config import Config
from bintally.database import audit
from bintally.errors import ConfigError, ConflictError, ErpError, ErpGoneError, UsageError, did_you_mean
from bintally.inventory import schema
from bintally.inventory.erp.kinds import ConnectorKind, kind_of
from bintally.inventory.erp.protocol import Connector
from bintally.inventory.ledger import Site, site_of
from bintally.inventory.people import SYSTEM, Person
from bintally.inventory.values import name_of


class ErpConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A stock system that a site's corrections are told to, from those on that stood at `since`.

    `since` None: when it was connected (`made_at`), by the audit log's order and nobody's clock. `reached_at`: when it
    last answered; `away_since`: since when it can't be reached, or does not let us in.
    """

    id: int
    site_id: int
    name: str
    kind: str
    settings: Mapping[str, Any]
    since: datetime | None
    made_at: datetime
    paused_at: datetime | None = None
    reached_at: datetime | None = None
    away_since: datetime | None = None
    away_why: str = ""


def connect(
    connection: Connection,
    site: Site,
    *,
    name: str,
    kind: str,
    settings: Mapping[str, Any],
    since: datetime | None,
    by: Person,
    at: datetime,
) -> ErpConnection:
    """Adds a stock system, or changes the settings of one of the same kind.

    `since` counts only when it is added; None: from now on.

    Raises:
        UsageError: no such kind.
        ConfigError: settings that are wrong.
        AccessError: not an admin of the site.
        ConflictError: the name is another kind's or another site's.
    """
    by.need("admin", site_id=site.id)
    name = name_of("connection", name)
    checked = kind_of(kind).settings.of(settings, where=f"settings of {name}").model_dump(mode="json")
    known = connections(connection)
    held = next((each for each in known if each.name == name), None)
    same = next(
        (each for each in known if each is not held and secret_variable(each.name) == secret_variable(name)), None
    )
    if same is not None:
        raise ConflictError(f"{name} and {same.name} would share a secret.", hint="Choose another name.")
    if held is not None and (held.kind, held.site_id) != (kind, site.id):
        raise ConflictError(f"{name} is a {held.kind} connection already.", hint="Choose another name.")
    body, table = msgspec.json.encode(checked, order="sorted").decode(), schema.ErpConnection
    if held is None:
        heard = audit.head(connection).number if since is None else 0
        values = {"site_id": site.id, "name": name, "kind": kind, "settings": body, "since": since, "made_at": at}
        connection.execute(insert(table).values(**values, heard=heard))
    else:
        connection.execute(update(table).where(table.id == held.id).values(settings=body))
    told = {"kind": kind, "settings": checked}
    audit.append(connection, actor=by.name, action="erp.connect", subject=f"erp:{name}", body=told, at=at)
    return connection_of(connection, name)


def pause(connection: Connection, name: str, *, paused: bool, by: Person, at: datetime) -> ErpConnection:
    """Stops postings for now, or goes on with them.

    Raises:
        UsageError: there is no such connection.
        AccessError: not an admin of the site.
    """
    held = connection_of(connection, name)
    by.need("admin", site_id=held.site_id)
    table = schema.ErpConnection
    connection.execute(update(table).where(table.id == held.id).values(paused_at=at if paused else None))
    action = "erp.pause" if paused else "erp.resume"
    audit.append(connection, actor=by.name, action=action, subject=f"erp:{held.name}", body={}, at=at)
    return connection_of(connection, name)


def connections(connection: Connection, site: Site | None = None) -> list[ErpConnection]:
    """All stock systems (of a site), by name."""
    table = schema.ErpConnection.__table__
    query = select(table).order_by(table.c.name)
    if site is not None:
        query = query.where(table.c.site_id == site.id)
    return [
        ErpConnection(
            id=row.id,
            site_id=row.site_id,
            name=row.name,
            kind=row.kind,
            settings=msgspec.json.decode(row.settings),
            since=row.since,
            made_at=row.made_at,
            paused_at=row.paused_at,
            reached_at=row.reached_at,
            away_since=row.away_since,
            away_why=row.away_why,
        )
        for row in connection.execute(query)
    ]


def connection_of(connection: Connection, name: str | None = None) -> ErpConnection:
    """The stock system called `name`; None: the only one.

    Raises:
        UsageError: there is none of that name, or several and none was named.
    """
    known = {each.name: each for each in connections(connection)}
    if not known:
        raise UsageError("No stock system is connected.", hint="`bintally erp connect NAME KIND` connects one.")
    if name is None:
        if len(known) > 1:
            raise UsageError("Several stock systems are connected.", hint=f"Name one: {', '.join(known)}.")
        return next(iter(known.values()))
    if name not in known:
        raise UsageError(f"No stock system is called {name!r}.", hint=did_you_mean(name, known))
    return known[name]


def site_told(connection: Connection, to: ErpConnection) -> Site:
    """The site whose corrections a stock system is told."""
    code = connection.execute(select(schema.Site.code).where(schema.Site.id == to.site_id)).scalar_one()
    return site_of(connection, code)


def note_reached(connection: Connection, to: ErpConnection, *, at: datetime) -> None:
    """Writes down that the stock system answers."""
    table = schema.ErpConnection
    values = {"reached_at": at, "away_since": None, "away_why": ""}
    connection.execute(update(table).where(table.id == to.id).values(**values))


def note_away(connection: Connection, to: ErpConnection, *, error: ErpError, at: datetime) -> None:
    """Writes down that it does not; it is away since it first did not. One that is gone for good is paused."""
    table = schema.ErpConnection
    values = {"away_since": func.coalesce(table.away_since, at), "away_why": str(error)}
    connection.execute(update(table).where(table.id == to.id).values(**values))
    if isinstance(error, ErpGoneError):
        connection.execute(update(table).where(table.id == to.id).values(paused_at=at))
        told = {"reason": str(error)}
        audit.append(connection, actor=SYSTEM, action="erp.pause", subject=f"erp:{to.name}", body=told, at=at)


def open_connector(to: ErpConnection) -> Connector:
    """A connector to a stock system, with its secret.

    Raises:
        UsageError, ConfigError: no such kind, or its settings are wrong (a newer version's), or no secret is to be had.
    """
    kind = kind_of(to.kind)
    return connector_of(kind, kind.settings.of(to.settings, where=f"settings of {to.name}"), to.name)


def connector_of(kind: ConnectorKind, settings: Config, name: str) -> Connector:
    """A connector of a kind, with the secret of the connection `name`, which hints tell where to put.

    Raises:
        ConfigError: no secret is to be had, or it is none.
    """
    try:
        return kind.open(settings, secret_of(name))
    except ConfigError as error:
        hint = error.hint.replace(secret_variable("NAME"), secret_variable(name))
        raise ConfigError(error.message, hint=hint) from None


def secret_of(name: str) -> str | None:
    """A connection's secret, from the environment or the file that it names.

    Raises:
        ConfigError: the file can't be read.
    """
    variable = secret_variable(name)
    file = os.environ.get(f"{variable}_FILE")
    if file is None:
        secret = os.environ.get(variable)
        return None if secret is None else secret.strip()
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The secret of {name} can't be read: {error}.", hint=f"Look at ${variable}_FILE.") from None


def secret_variable(name: str) -> str:
    """The environment variable that holds a connection's secret."""
    return f"BINTALLY_ERP_{re.sub('[^A-Z0-9]', '_', name.upper())}_SECRET"
