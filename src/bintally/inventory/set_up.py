"""init_ledger, set_person, show_ledger: a ledger made ready, its people, and what is in it."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, select

from bintally.database import audit
from bintally.errors import UsageError, did_you_mean
from bintally.inventory import schema
from bintally.inventory.erp.status import not_posted
from bintally.inventory.ledger import Ledger, add_site, site_of
from bintally.inventory.people import ROLES, SYSTEM, Person, add_person, person_of
from bintally.inventory.values import name_of

_SHOWN: Final[dict[str, tuple[type[Any], str | None]]] = {
    "sites": (schema.Site, None),
    "people": (schema.Person, None),
    "products": (schema.Product, None),
    "bins": (schema.Bin, None),
    "records": (schema.StockRecord, "received_at"),
    "movements": (schema.Movement, "received_at"),
    "photos": (schema.Photo, "received_at"),
    "estimates": (schema.Estimate, "made_at"),
    "comparisons": (schema.Comparison, "made_at"),
    "beliefs": (schema.Belief, "made_at"),
    "verdicts": (schema.Verdict, "made_at"),
    "reviews": (schema.Review, "opened_at"),
    "decisions": (schema.Decision, "made_at"),
    "adjustments": (schema.Adjustment, "made_at"),
    "labels": (schema.Label, "made_at"),
    "postings": (schema.Posting, "made_at"),
    "files taken in": (schema.Intake, "done_at"),
    "audit log": (audit.AuditLine, "at"),
}


class InitReport(msgspec.Struct, frozen=True):
    """A ledger that is ready. `admins`: how many people may do everything."""

    place: str
    site: str
    currency: str
    admins: int


class Content(msgspec.Struct, frozen=True):
    """A table's rows, and when the last was added (None: it has none, or no time)."""

    rows: int
    last: datetime | None


class Shown(msgspec.Struct, frozen=True):
    """What a ledger holds. `head`: the audit log's; `not_posted`: corrections that stock systems do not know of."""

    place: str
    sites: tuple[str, ...]
    tables: dict[str, Content]
    head: str
    not_posted: dict[str, int] = {}


def init_ledger(
    *, place: str | Path, site: str, name: str = "", currency: str | None = None, admin: str | None = None
) -> InitReport:
    """Makes a ledger with a site, or adds the site to one that is there.

    `admin`: the first person, who may add others. `currency` None: a new site's is USD.

    Raises:
        UsageError, StorageError, MissingExtraError: as `Ledger.open`; no currency, or the site has another; or others
            are admins already.
    """
    if currency is not None and not _is_currency(currency):
        raise UsageError(f"{currency!r} is no currency.", hint="Three capital letters are, such as USD (ISO 4217).")
    site = name_of("site", site)
    with Ledger.open(place, create=True) as ledger, ledger.write() as connection:
        made = add_site(connection, code=site, name=name, currency=currency or "USD")
        if currency not in (None, made.currency):
            raise UsageError(
                f"The site {made.code} keeps its money in {made.currency}.", hint="That stays: leave out the currency."
            )
        people = schema.Person
        admins = set(connection.execute(select(people.name).where(people.role == "admin", people.active)).scalars())
        if admin is not None and admin not in admins:
            if admins:
                raise UsageError(
                    f"The ledger has admins already: {', '.join(sorted(admins))}.",
                    hint=f"One of them can do it: `bintally ledger person {admin} --role admin --as NAME`.",
                )
            add_person(connection, name=name_of("person", admin), role="admin", by=SYSTEM)
            admins.add(admin)
        return InitReport(ledger.database.name, made.code, made.currency, len(admins))


def set_person(*, ledger: Ledger, name: str, role: str, by: str, site: str | None = None) -> Person:
    """Adds somebody, or gives them another role, as the admin `by`.

    Raises:
        UsageError, AccessError: no such role or site; nobody called `by`, or no admin; or nobody would be one any more.
    """
    known = next((each for each in ROLES if each == role), None)
    if known is None:
        raise UsageError(f"There is no role {role!r}.", hint=did_you_mean(role, ROLES))
    name = name_of("person", name)
    with ledger.write() as connection:
        site_id = None if site is None else site_of(connection, site).id
        person_of(connection, by).need("admin", site_id=site_id)
        if known != "admin" or site_id is not None:
            _leave_an_admin(connection, name)
        return add_person(connection, name=name, role=known, by=by, site_id=site_id)


def _is_currency(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()


def _leave_an_admin(connection: Connection, name: str) -> None:
    """Raises UsageError where `name` is the only admin of all sites. Two who end each other's role take turns."""
    people = schema.Person
    of_all = select(people.name).where(people.role == "admin", people.active, people.site_id.is_(None))
    if list(connection.execute(of_all.order_by(people.id).with_for_update()).scalars()) == [name]:
        raise UsageError(
            f"{name} is the only admin of all sites.", hint="Make somebody else one first, so that somebody is left."
        )


def show_ledger(*, ledger: Ledger) -> Shown:
    """What is in a ledger."""
    with ledger.read() as connection:
        tables = {}
        for name, (table, moment) in _SHOWN.items():
            columns = [func.count(), *([func.max(getattr(table, moment))] if moment else [])]
            rows, *last = connection.execute(select(*columns).select_from(table)).one()
            tables[name] = Content(rows, last[0] if last else None)
        sites = tuple(connection.execute(select(schema.Site.code).order_by(schema.Site.code)).scalars())
        head, waiting = str(audit.head(connection)), not_posted(connection)
        return Shown(ledger.database.name, sites, tables, head, waiting)
