"""Who may do what.

| role | may |
|---|---|
| viewer | look |
| reviewer | and decide about bins |
| approver | and be the second person, undo others' decisions |
| admin | and add people, take files in, set policies, restore |
"""

from typing import Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, insert, select, update

from bintally.database import audit
from bintally.errors import AccessError, UsageError, did_you_mean
from bintally.inventory import schema

Role: TypeAlias = Literal["viewer", "reviewer", "approver", "admin"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "reviewer", "approver", "admin")
"""Each may all that those before it may."""

_ARTICLES: Final = {"viewer": "a viewer", "reviewer": "a reviewer", "approver": "an approver", "admin": "an admin"}


class Person(msgspec.Struct, frozen=True):
    """Somebody known to the ledger. `site_id` None: may act at all sites."""

    id: int
    name: str
    role: Role
    site_id: int | None = None

    def need(self, role: Role, *, site_id: int | None = None) -> None:
        """Raises AccessError unless this person has at least `role` (at the site)."""
        if ROLES.index(self.role) < ROLES.index(role):
            told = f"{self.name} is {_ARTICLES[self.role]}; this needs {_ARTICLES[role]}."
            raise AccessError(told, hint="Ask one to do it.")
        if site_id is not None and self.site_id not in (None, site_id):
            raise AccessError(f"{self.name} belongs to another site.", hint="Ask somebody of this one.")


SYSTEM: Final = "bintally"
"""The actor of what no person did: estimates, verdicts."""


def person_of(connection: Connection, name: str) -> Person:
    """The person called `name`.

    Raises:
        UsageError: there is nobody of that name, or not any more.
    """
    row = connection.execute(select(schema.Person.__table__).where(schema.Person.name == name)).one_or_none()
    if row is None or not row.active:
        known = connection.execute(select(schema.Person.name).where(schema.Person.active)).scalars().all()
        raise UsageError(
            f"Nobody in the ledger is called {name!r}.",
            hint=did_you_mean(name, known) if known else "`bintally ledger person NAME --role admin` adds somebody.",
        )
    return Person(row.id, row.name, row.role, row.site_id)


def add_person(connection: Connection, *, name: str, role: Role, by: str, site_id: int | None = None) -> Person:
    """Adds somebody, or gives them another role."""
    people = schema.Person
    held = connection.execute(select(people.id).where(people.name == name)).scalar_one_or_none()
    values = {"role": role, "site_id": site_id, "active": True}
    if held is None:
        added = insert(people).values(name=name, **values).returning(people.id)
        held = connection.execute(added).scalar_one()
    else:
        connection.execute(update(people).where(people.id == held).values(**values))
    told = {"role": role, "site": site_id}
    audit.append(connection, actor=by, action="person.set", subject=f"person:{name}", body=told)
    return Person(held, name, role, site_id)
