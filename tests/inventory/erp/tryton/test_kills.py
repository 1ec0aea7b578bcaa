"""Ledger, decisions, relay and a real Tryton that is killed: each correction is posted once."""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from bintally.errors import ErpUnavailableError
from bintally.inventory.erp.protocol import Answer, Draft, Posting
from bintally.inventory.erp.relay import post
from bintally.inventory.erp.tryton import TrytonConnector
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.desks import EVENING, SKU, connected, corrected, states
from tests.inventory.erp.tryton_server import PASSWORD, Tryton
from tests.inventory.worlds import HOUR, World


class Dying(TrytonConnector):
    """Tryton is killed at the call that `moment` names: before it, after it, or while it is under way."""

    def __init__(self, server: Tryton, moment: tuple[str, str], after_s: float) -> None:
        super().__init__(server.settings(), PASSWORD)
        self._server, self._moment, self._after_s = server, moment, after_s

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        with self._dying("prepare"):
            return super().prepare(postings)

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        with self._dying("commit"):
            return super().commit(drafts)

    @contextmanager
    def _dying(self, call: str) -> Iterator[None]:
        when = self._moment[1] if self._moment[0] == call else None
        if when == "before":
            self._server.kill()
        killer = threading.Timer(self._after_s, self._server.kill)
        if when == "during":
            killer.start()
        try:
            yield
        finally:
            if when == "during":
                killer.join()
        if when == "after":
            self._server.kill()
            raise ErpUnavailableError("The answer was lost.")


def posted_through_a_kill(
    ledger: Ledger, tryton: Tryton, moments: Sequence[tuple[str, str]], *, bins: int, seed: int = 0
) -> None:
    """Corrections are posted while Tryton is killed at each of `moments`, and checked."""
    rng = random.Random(seed)
    if not tryton.select("SELECT id FROM product_product WHERE code = ?", SKU):
        tryton.product(SKU)
    with ledger.write() as connection:
        world = World.new(connection)
        to = connected(ledger, world)
    told_before, codes = len(tryton.posted()), []
    for number, moment in enumerate(moments):
        some = [f"K-{seed}-{number}-{each}" for each in range(bins)]
        tryton.location(*some)
        for code in some:
            tryton.put(code, SKU, 4)
        with ledger.write() as connection:
            for code in some:
                corrected(replace(world, connection=connection), code)
        codes += some
        for hour, dies in enumerate((True, False)):
            erp = Dying(tryton, moment, rng.uniform(0, 0.2)) if dies else tryton.connector()
            clock = partial(EVENING.__add__, (2 * number + hour) * HOUR)
            report = post(ledger, to, erp, clock=clock, lease_s=5.0)
            erp.close()
            if dies:
                tryton.kill()
                tryton.start()
        assert report.why == ""
    assert sorted(tryton.posted()[told_before:]) == sorted((code, SKU, -1.0) for code in codes)
    assert set(states(ledger)) == {("adjust", "posted")}
    erp = tryton.connector()
    assert {stock.bin: dict(stock.lines) for stock in erp.read(codes)} == {code: tryton.held(code) for code in codes}
    erp.close()


def test_each_correction_is_posted_once_though_tryton_is_killed(file_ledger: Ledger, tryton: Tryton) -> None:
    moments = [("prepare", "during"), ("commit", "during"), ("commit", "after")]
    posted_through_a_kill(file_ledger, tryton, moments, bins=2)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 6))
def test_each_correction_is_posted_once_through_many_kills(file_ledger: Ledger, tryton: Tryton, seed: int) -> None:
    rng = random.Random(seed)
    moments = [(rng.choice(("prepare", "commit")), rng.choice(("before", "during", "after"))) for _ in range(8)]
    posted_through_a_kill(file_ledger, tryton, moments, bins=6, seed=seed)
