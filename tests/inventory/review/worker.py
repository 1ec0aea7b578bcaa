"""A process that works at a queue until nothing is left: `python -m tests.inventory.review.worker PLACE PERSON`."""

import sys
from datetime import timedelta

from bintally.database.types import now
from bintally.inventory.ledger import Ledger, site_of
from bintally.inventory.people import person_of
from bintally.inventory.review.decisions import decide
from bintally.inventory.review.leases import take


def work(place: str, name: str) -> None:
    """Takes and decides, each in a transaction of its own, and prints each review it has decided."""
    with Ledger.open(place) as ledger:
        with ledger.read() as connection:
            site, person = site_of(connection), person_of(connection, name)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        while True:
            with ledger.write() as connection:
                taken = take(connection, person, site, at=now())
            if taken is None:
                return
            with ledger.write() as connection:
                told = decide(
                    connection,
                    review_id=taken.review.review_id,
                    person=person,
                    token=taken.token,
                    kind="correct" if taken.review.review_id % 2 else "accept",
                    count=2 if taken.review.review_id % 2 else None,
                    at=now() + timedelta(seconds=1),
                )
            assert told.is_new
            sys.stdout.write(f"{told.review_id}\n")


if __name__ == "__main__":
    work(*sys.argv[1:])
