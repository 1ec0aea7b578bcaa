"""Who may do what."""

import pytest

from bintally.database import audit
from bintally.errors import AccessError, UsageError
from bintally.inventory.ledger import Ledger, add_site
from bintally.inventory.people import ROLES, Person, Role, add_person, person_of


@pytest.mark.parametrize("held", ROLES)
@pytest.mark.parametrize("needed", ROLES)
def test_a_role_may_all_that_those_before_it_may(held: Role, needed: Role) -> None:
    person = Person(1, "ann", held)
    if ROLES.index(held) >= ROLES.index(needed):
        person.need(needed)
    else:
        with pytest.raises(AccessError, match=rf"ann is an? {held}; this needs an? {needed}"):
            person.need(needed)


def test_a_person_of_one_site_has_no_say_at_another() -> None:
    person = Person(1, "ann", "admin", site_id=2)
    person.need("admin", site_id=2)
    with pytest.raises(AccessError, match="another site"):
        person.need("viewer", site_id=3)


def test_somebody_added_again_has_the_new_role_and_both_are_on_record(ledger: Ledger) -> None:
    with ledger.write() as connection:
        site = add_site(connection, code="STR1")
        first = add_person(connection, name="ann", role="reviewer", by="root")
        again = add_person(connection, name="ann", role="approver", site_id=site.id, by="root")
    with ledger.read() as connection:
        assert person_of(connection, "ann") == again == Person(first.id, "ann", "approver", site.id)
        told = [entry.body for entry in audit.entries(connection, subject="person:ann")]
    assert told == [{"role": "reviewer", "site": None}, {"role": "approver", "site": site.id}]


def test_an_unknown_name_is_an_error_that_knows_a_near_one(ledger: Ledger) -> None:
    with ledger.write() as connection:
        with pytest.raises(UsageError, match="ledger person NAME --role admin"):
            person_of(connection, "ann")
        add_person(connection, name="annette", role="viewer", by="root")
        with pytest.raises(UsageError, match="Did you mean 'annette'"):
            person_of(connection, "anette")
