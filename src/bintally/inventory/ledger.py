"""The ledger: one database of everything known and decided about a site's bins."""

from pathlib import Path
from typing import Final, Self

import msgspec
from sqlalchemy import Connection, insert, select

from bintally.database import Database, audit
from bintally.database.opened import Opened
from bintally.errors import UsageError, did_you_mean
from bintally.inventory import schema
from bintally.inventory.people import SYSTEM

LEDGER: Final = "ledger.sqlite"


class Site(msgspec.Struct, frozen=True):
    """A warehouse."""

    id: int
    code: str
    name: str
    currency: str


class Ledger(Opened):
    """A database with the ledger's tables, opened."""

    @classmethod
    def open(cls, place: str | Path, *, create: bool = False, wait_s: float | None = None) -> Self:
        """Opens the ledger at a file, in a folder, or at a database's URL; `create`, `wait_s` as in `Database.open`.

        Raises:
            UsageError, StorageError, MissingExtraError: as `Database.open`.
        """
        if "://" not in str(place) and Path(place).is_dir():
            place = Path(place) / LEDGER
        return cls(Database.open(place, create=create, wait_s=wait_s))


def site_of(connection: Connection, code: str | None = None) -> Site:
    """The site called `code`; None: the only one.

    Raises:
        UsageError: there is none of that name, or several and none was named.
    """
    rows = connection.execute(select(schema.Site.__table__).order_by(schema.Site.code)).all()
    codes = [row.code for row in rows]
    if code is None and len(rows) == 1:
        code = codes[0]
    row = next((row for row in rows if row.code == code), None)
    if row is None:
        if not rows:
            raise UsageError("The ledger has no site yet.", hint="`bintally ledger init PLACE --site CODE` adds one.")
        if code is None:
            raise UsageError("The ledger has several sites.", hint=f"Say --site: {', '.join(codes)}.")
        raise UsageError(f"The ledger has no site {code!r}.", hint=did_you_mean(code, codes))
    return Site(row.id, row.code, row.name, row.currency)


def add_site(connection: Connection, *, code: str, name: str = "", currency: str = "USD", by: str = SYSTEM) -> Site:
    """Adds a site; one that is there already stays as it is."""
    held = connection.execute(select(schema.Site.__table__).where(schema.Site.code == code)).one_or_none()
    if held is not None:
        return Site(held.id, held.code, held.name, held.currency)
    values = {"code": code, "name": name or code, "currency": currency}
    key = connection.execute(insert(schema.Site).values(**values).returning(schema.Site.id)).scalar_one()
    audit.append(connection, actor=by, action="site.add", subject=f"site:{code}", body=values)
    return Site(key, **values)
