"""The arm of the whole system: the real ledger, judgements and reviews, and corrections posted by the real outbox.

Only three things are simulated: the stock system is in memory (`erp`), the photos come from the bank (what the model
saw on them is kept as `judging.looking` keeps it), and what time it is.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
from sqlalchemy import Connection, event, func, insert, select

from bintally.database import audit
from bintally.inventory import schema
from bintally.inventory.erp.connections import ErpConnection, connection_of
from bintally.inventory.erp.relay import post
from bintally.inventory.intake import take_bin, take_movement, take_photo, take_product, take_record
from bintally.inventory.judging.how import How
from bintally.inventory.judging.looking import keep_comparison, keep_estimate
from bintally.inventory.judging.reconcile import reconcile_site
from bintally.inventory.ledger import Ledger, add_site, site_of
from bintally.inventory.people import SYSTEM, add_person
from bintally.inventory.policy.decide import Policy
from bintally.inventory.review.case import DISAGREED
from bintally.inventory.review.desk import Desk
from bintally.inventory.review.leases import Leased
from bintally.inventory.review.listing import Waiting, waiting
from bintally.simulation.arms import Yard, counted_at
from bintally.simulation.bank import PhotoBank
from bintally.simulation.camera import Camera, Shown
from bintally.simulation.erp import KIND, bin_code, bin_number, sku
from bintally.simulation.tally import capacity
from bintally.simulation.world import BEFORE, FIRST_DAY, Touch

SITE: Final = "SIM"
REVIEWERS: Final = ("rita", "rolf")
APPROVER: Final = "anna"

_PHOTO_AFTER: Final = timedelta(milliseconds=400)
_ROUND: Final = timedelta(hours=20)
_JUDGED: Final = timedelta(hours=22)
_SOURCE: Final = "erp"
_FACT = tuple[datetime, int, Touch | None, Shown | None]  # when, the bin, what was booked, what was photographed


class WithLedger:
    """bintally, as it is installed at a site."""

    def __init__(self, yard: Yard, how: How, bank: PhotoBank, ledger: Ledger) -> None:
        self._yard, self._how, self._bank, self._ledger = yard, how, bank, ledger
        self._camera = Camera(bank, yard.draws, yard.world, yard.settings)
        self._facts: list[_FACT] = []
        self._photo_ids: dict[int, int] = {}  # of the last photo, by bin
        self._verdict_id = 0  # the last one that was told of
        self._clock = BEFORE
        self._to = _set_up(ledger, yard)
        with ledger.read() as connection:
            self._site = site_of(connection)
            self._bins = {row.id: bin_number(row.code) for row in connection.execute(select(schema.Bin.__table__))}
        self._desks = [Desk(ledger, person=name, clock=lambda: self._clock) for name in (*REVIEWERS, APPROVER)]

    def begin(self) -> None:
        """Each bin is photographed, and stock is taken: by reviews of all bins, since no record is accepted yet."""
        if not self._yard.settings.stock.counted_at_start:
            return
        with self._ledger.write() as connection:
            for number in range(self._yard.draws.site.bins):
                self._keep_photo(connection, bin_code(number), BEFORE + _PHOTO_AFTER, self._camera.shoot(0, number))
            self._yard.erp.changed()
        self._camera.end()
        nothing = How(self._how.bundle, Policy(self._how.policy.settings, None), self._how.follow)
        reconcile_site(self._ledger, nothing, self._site, at=BEFORE + timedelta(hours=1))
        self._clock = BEFORE + timedelta(hours=2)
        with self._yard.tally.pausing():
            while (taken := self._desks[0].next()) is not None:
                self._decide(self._desks[0], taken, 0)
            self._post()

    def morning(self, day: int) -> None:
        """People take the worthiest reviews, count at the bins, and their corrections are posted."""
        self._clock = counted_at(day, 0)
        many, place = capacity(day, self._yard.settings.counts_per_day), 0
        for review in self._worthwhile():
            if place == many:
                break
            self._clock = counted_at(day, place)
            place += self._look(review, day, place)
        self._clock += timedelta(minutes=10)
        with self._yard.tally.counting():
            self._post()

    def touched(self, day: int, touch: Touch) -> None:
        """A transaction, and a photo of the bin."""
        shown = self._camera.shoot(day, touch.bin) if self._camera.passes(day, touch.bin) else None
        self._facts.append((touch.at, touch.bin, touch, shown))

    def evening(self, day: int) -> None:
        """What happened goes into the ledger; records are judged, reviews opened."""
        for place, number in enumerate(self._camera.round(day)):
            at = FIRST_DAY + timedelta(days=day, seconds=10 * place) + _ROUND
            self._facts.append((at, number, None, self._camera.shoot(day, number)))
        self._yard.tally.photographed(self._camera.end())
        with self._ledger.write() as connection:
            for fact in self._facts:
                self._take(connection, *fact)
            self._pull(connection)
        self._facts.clear()
        reconcile_site(self._ledger, self._how, self._site, at=FIRST_DAY + timedelta(days=day) + _JUDGED)
        self._tell_accepted()

    def told(self) -> dict[str, int]:
        """What ledger, outbox and stock system say at the end."""
        with self._ledger.read() as connection:
            verified = audit.verify(connection)
            posting = schema.Posting
            query = select(posting.state, func.count().label("many")).group_by(posting.state).order_by(posting.state)
            states = {row.state: row.many for row in connection.execute(query)}
        commits = self._yard.erp.commits
        return {
            **self._camera.told(),
            **{f"postings, {state}": many for state, many in states.items()},
            "postings carried out": len(commits),
            "postings carried out twice": sum(times > 1 for times in commits.values()),
            "lines of the audit log": verified.lines,
            "audit logs that are broken": int(not verified.is_whole),
        }

    def _post(self) -> None:
        self._yard.erp.tell_time(self._clock)
        post(self._ledger, self._to, self._yard.erp, clock=lambda: self._clock)

    def _worthwhile(self) -> list[Waiting]:
        """Open reviews that save more than they cost, the worthiest first, and all blind ones, which do not tell."""
        with self._ledger.read() as connection:
            queue = waiting(connection, self._site, limit=self._yard.draws.site.bins)
        return [each for each in queue if each.worth > 0.0 or each.blind or each.reason == DISAGREED]

    def _look(self, review: Waiting, day: int, place: int) -> bool:
        """Whether somebody could look: where blind counts are asked for, only who has not counted there yet."""
        turn = place % len(REVIEWERS)
        people = [*self._desks[turn:-1], *self._desks[:turn], self._desks[-1]]
        for desk in people[-1:] if review.reason == DISAGREED else people:
            taken = desk.next(review_id=review.review_id)
            if taken is not None:
                self._decide(desk, taken, day)
                return True
        return False

    def _decide(self, desk: Desk, taken: Leased, day: int) -> None:
        yard = self._yard
        number = bin_number(taken.review.bin)
        counted = yard.count(number, day)
        if taken.review.reason == DISAGREED:  # whoever settles it, counts until it is sure
            counted = {slot: int(yard.world.truth_s[slot]) for slot in counted}
        desk.decide(taken, "correct", lines={sku(slot): many for slot, many in counted.items()}, at_the_bin=True)

    def _take(
        self, connection: Connection, at: datetime, number: int, touch: Touch | None, shown: Shown | None
    ) -> None:
        code = bin_code(number)
        if touch is not None and touch.booked:
            take_movement(
                connection,
                self._site,
                bin=code,
                quantity=touch.booked,
                product=sku(touch.slot),
                moved_at=at,
                received_at=at,
            )
        if shown is not None:
            self._keep_photo(connection, code, at + _PHOTO_AFTER, shown)

    def _keep_photo(self, connection: Connection, code: str, at: datetime, shown: Shown) -> None:
        """As if the photo had arrived and been looked at."""
        drawn, card = shown.drawn, self._how.card
        photo_id = take_photo(
            connection,
            self._site,
            bin=code,
            sha256=hashlib.sha256(f"{code} {at.isoformat()} {drawn.photo}".encode()).hexdigest(),
            taken_at=at,
            place=f"bank/{drawn.photo}",
            size_bytes=0,
            received_at=at,
        ).id
        keep_estimate(connection, self._site, card, photo_id, self._bank.estimate(drawn.photo, card))
        number = bin_number(code)
        before_id = self._photo_ids.get(number)
        if before_id is not None:
            nothing_d = np.zeros(self._bank.evidence_nd.shape[1], np.float32)
            keep_comparison(
                connection,
                self._site,
                card,
                (before_id, photo_id),
                nothing_d if drawn.evidence_d is None else drawn.evidence_d,
                self._bank.probabilities_nk[drawn.photo],
                max_count=self._how.follow.max_count,
            )
        self._photo_ids[number] = photo_id

    def _pull(self, connection: Connection) -> None:
        """Records that have changed in the stock system."""
        if changed := self._yard.erp.changed():
            for stock in self._yard.erp.read(changed):
                take_record(
                    connection,
                    self._site,
                    bin=stock.bin,
                    lines=stock.lines,
                    effective_at=stock.as_of,
                    received_at=max(stock.as_of, self._clock),
                    source=_SOURCE,
                )

    def _tell_accepted(self) -> None:
        """New acceptances, right or wrong."""
        verdict = schema.Verdict
        query = select(verdict.id, verdict.bin_id, verdict.outcome).where(verdict.id > self._verdict_id)
        with self._ledger.read() as connection:
            for row in connection.execute(query.order_by(verdict.id)):
                self._verdict_id = row.id
                if row.outcome == "match":
                    self._yard.tally.accepted(is_right=self._yard.is_right(self._bins[row.bin_id]))


@contextmanager
def opened(folder: Path, yard: Yard, how: How, bank: PhotoBank) -> Iterator[WithLedger]:
    """The arm on a new ledger in `folder`, which need not outlive a power cut: nothing is synced."""
    with Ledger.open(folder / "ledger.sqlite", create=True) as ledger:
        event.listen(ledger.database.engine, "connect", _unsynced)
        ledger.database.engine.dispose()
        yield WithLedger(yard, how, bank, ledger)


def _unsynced(connection: sqlite3.Connection, _entry: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def _set_up(ledger: Ledger, yard: Yard) -> ErpConnection:
    """The site, its people, its products, bins and records of day one, and the stock system that is told."""
    site_told, money = yard.draws.site, yard.settings.money
    with ledger.write() as connection:
        site = add_site(connection, code=SITE, name="Simulated site", currency=money.currency)
        for name in REVIEWERS:
            add_person(connection, name=name, role="reviewer", by=SYSTEM)
        add_person(connection, name=APPROVER, role="approver", by=SYSTEM)
        for slot in range(site_told.slots):
            take_product(
                connection,
                site,
                sku=sku(slot),
                abc=site_told.abc_of(slot),
                unit_value=Decimal(str(site_told.value_s[slot])),
            )
        for stock in yard.erp.read():
            take_bin(connection, site, stock.bin)
            take_record(
                connection,
                site,
                bin=stock.bin,
                lines=stock.lines,
                effective_at=BEFORE,
                received_at=BEFORE,
                source=_SOURCE,
            )
        values = {
            "site_id": site.id,
            "name": "stock-system",
            "kind": KIND,
            "settings": "{}",
            "since": BEFORE,
            "made_at": BEFORE,
        }
        connection.execute(insert(schema.ErpConnection).values(**values))
        return connection_of(connection)
