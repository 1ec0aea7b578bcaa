"""What must be true of a ledger and a stock system, whatever has happened to both."""

from collections import Counter, defaultdict

from sqlalchemy import func, select

from bintally.database import audit
from bintally.inventory import schema
from bintally.inventory.erp.connections import connections
from bintally.inventory.erp.filling import is_behind
from bintally.inventory.ledger import Ledger
from tests.inventory.erp.notebook import Notebook


def told_once(ledger: Ledger, erp: Notebook) -> None:
    """Each posting that stands as posted was carried out once, no other was, and in order for each bin."""
    carried_out = erp.carried_out()
    with ledger.read() as connection:
        posting = schema.Posting
        rows = connection.execute(select(posting.__table__).order_by(posting.id)).all()
    assert all(many == 1 for many in Counter(key for _, key in carried_out).values()), "posted twice"
    known = {row.key: row for row in rows}
    order = defaultdict(list)
    for code, key in carried_out:
        assert known[key].state in ("posted", "waiting"), f"{known[key].state}, and carried out"
        order[code].append(known[key].id)
    for code, ids in order.items():
        assert ids == sorted(ids), f"{code} was told in another order"
    referred = {row.key for row in rows if row.state == "posted" and row.reference is not None}
    assert referred <= {key for _, key in carried_out}, "said to be posted, and was not"


def all_told(ledger: Ledger, erp: Notebook) -> None:
    """And nothing is left: the stock system says what was counted, and what happened there since."""
    told_once(ledger, erp)
    with ledger.read() as connection:
        assert audit.verify(connection).is_whole
        assert not any(is_behind(connection, to) for to in connections(connection))
        adjustment, bins, product = schema.Adjustment, schema.Bin, schema.Product
        decision, movement = schema.Decision, schema.Movement
        earlier = (  # all records are older than all movements here
            select(func.coalesce(func.sum(movement.quantity), 0))
            .where(movement.bin_id == adjustment.bin_id, movement.product_id == adjustment.product_id)
            .where(movement.moved_at <= decision.counted_at)
            .scalar_subquery()
        )
        standing = connection.execute(
            select(bins.code, product.sku, adjustment.before, adjustment.after, earlier.label("earlier"))
            .join(bins, bins.id == adjustment.bin_id)
            .join(product, product.id == adjustment.product_id)
            .join(decision, decision.id == adjustment.decision_id)
            .where(adjustment.state == "approved")
        ).all()
        states = set(connection.execute(select(schema.Posting.state)).scalars())
    assert states <= {"posted", "cancelled"}, states
    should: Counter[tuple[str, str]] = Counter()
    for row in standing:
        should[row.code, row.sku] += row.after - (row.before + row.earlier)
    changed: Counter[tuple[str, str]] = Counter()
    for code, sku, change in erp.moves():
        changed[code, sku] += change
    assert {key: change for key, change in changed.items() if change} == {
        key: change for key, change in should.items() if change
    }
