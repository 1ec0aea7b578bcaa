"""Facts go in, one at a time: products, bins, records, movements, photos.

All of it happens in the caller's transaction. A fact that is delivered twice stands once: it is known by its sender's
key, or where it has none by its content. Whatever is new, or told anew, gets a line in the audit log.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, insert, select, text

from bintally.database import audit
from bintally.database.inserts import add_if_new
from bintally.database.types import now
from bintally.errors import DataError
from bintally.inventory import schema
from bintally.inventory.known import bin_id as known_bin
from bintally.inventory.known import bin_of, products_of
from bintally.inventory.ledger import Site
from bintally.inventory.people import SYSTEM
from bintally.inventory.products import take_product
from bintally.inventory.taken import Taken, conflict
from bintally.inventory.values import MOST, moment_of, movement_key, name_of, quantity_of, record_key

__all__ = [
    "Taken",
    "Version",
    "lines_of",
    "record_as_of",
    "take_bin",
    "take_movement",
    "take_photo",
    "take_product",
    "take_record",
]

_HEX: Final = frozenset("0123456789abcdef")


class Version(msgspec.Struct, frozen=True):
    """A version of a bin's stock record."""

    id: int
    bin_id: int
    key: str
    quantity: int
    effective_at: datetime
    received_at: datetime
    source: str


def take_bin(connection: Connection, site: Site, code: str, *, by: str = SYSTEM) -> Taken:
    """A bin of the site, added if it is not there.

    Raises:
        DataError: no name for a bin.
    """
    code = name_of("bin", code)
    held = known_bin(connection, site, code)
    if held is not None:
        return Taken(held, is_new=False)
    added = add_if_new(connection, schema.Bin, {"site_id": site.id, "code": code}, unique=("site_id", "code"))
    if added is None:
        return Taken(bin_of(connection, site, code), is_new=False)
    audit.append(connection, actor=by, action="bin.add", subject=f"bin:{site.code}/{code}", body={})
    return Taken(added, is_new=True)


def take_record(
    connection: Connection,
    site: Site,
    *,
    bin: str,  # noqa: A002 - the field's word
    quantity: int | None = None,
    lines: Mapping[str, int] | None = None,
    effective_at: datetime,
    key: str | None = None,
    source: str,
    received_at: datetime | None = None,
    create_bins: bool = False,
    by: str = SYSTEM,
) -> Taken:
    """A version of a bin's stock record: its total `quantity`, or how much of each product (SKU), or both.

    To say again what was said before and since corrected, give it a `key` of its own.

    Raises:
        DataError: unknown bin or product, a quantity that can't be, or a total that is not the sum of its lines.
        ConflictError: the key stands for another content.
    """
    effective_at = moment_of(effective_at, of=f"bin {bin}")
    told = {name_of("product", sku): quantity_of(each, of=sku) for sku, each in (lines or {}).items()}
    total = _total(bin, quantity, told)
    bin_id = _bin(connection, site, bin, create=create_bins, by=by)
    products = products_of(connection, site, list(told))
    key = record_key(effective_at, total, told) if key is None else name_of("record key", key)
    values = {
        "bin_id": bin_id,
        "key": key,
        "quantity": total,
        "effective_at": effective_at,
        "received_at": moment_of(received_at or now(), of=f"bin {bin}"),
        "source": name_of("source", source),
    }
    added = add_if_new(connection, schema.StockRecord, values, unique=("bin_id", "key"))
    if added is None:
        return _held_record(connection, bin, values, told)
    if told:
        rows = [{"record_id": added, "product_id": products[sku], "quantity": each} for sku, each in told.items()]
        connection.execute(insert(schema.StockLine), rows)
    body = {"key": key, "quantity": total, "lines": told, "effective_at": effective_at, "source": source}
    audit.append(connection, actor=by, action="record.take", subject=f"bin:{site.code}/{bin.strip()}", body=body)
    return Taken(added, is_new=True)


def take_movement(
    connection: Connection,
    site: Site,
    *,
    bin: str,  # noqa: A002 - the field's word
    quantity: int,
    product: str | None = None,
    moved_at: datetime,
    key: str | None = None,
    received_at: datetime | None = None,
    create_bins: bool = False,
    by: str = SYSTEM,
) -> Taken:
    """A recorded transaction: `quantity` items came into the bin (below 0: went out).

    Two equal ones at the same moment need keys, else they are taken for one that was delivered twice.

    Raises:
        DataError: unknown bin or product, or a quantity that can't be.
        ConflictError: the key stands for another content.
    """
    moved_at = moment_of(moved_at, of=f"bin {bin}")
    quantity_of(quantity, of=f"bin {bin}", lowest=-MOST)
    sku = None if product is None else name_of("product", product)
    bin_id = _bin(connection, site, bin, create=create_bins, by=by)
    values = {
        "bin_id": bin_id,
        "key": movement_key(moved_at, quantity, sku) if key is None else name_of("movement key", key),
        "product_id": None if sku is None else products_of(connection, site, [sku])[sku],
        "quantity": quantity,
        "moved_at": moved_at,
        "received_at": moment_of(received_at or now(), of=f"bin {bin}"),
    }
    added = add_if_new(connection, schema.Movement, values, unique=("bin_id", "key"))
    if added is None:
        return _held_movement(connection, bin, values)
    body = {"key": values["key"], "quantity": quantity, "product": sku, "moved_at": moved_at}
    audit.append(connection, actor=by, action="movement.take", subject=f"bin:{site.code}/{bin.strip()}", body=body)
    return Taken(added, is_new=True)


def take_photo(
    connection: Connection,
    site: Site,
    *,
    bin: str,  # noqa: A002 - the field's word
    sha256: str,
    taken_at: datetime | None,
    place: str,
    size_bytes: int,
    received_at: datetime | None = None,
    create_bins: bool = False,
    by: str = SYSTEM,
) -> Taken:
    """A photo of a bin, known by the SHA-256 of its bytes. One that retention has removed stays removed.

    `taken_at` None: nobody said. Then it is when the photo was first received.

    Raises:
        DataError: unknown bin, or the site has these very bytes as a photo of another bin.
        ConflictError: the bin has this photo with another time.
    """
    sha256 = sha256.lower()
    if len(sha256) != 64 or not set(sha256) <= _HEX:
        raise DataError(f"{sha256!r} is no SHA-256.", hint="It has 64 hexadecimal digits.")
    received_at = moment_of(received_at or now(), of=f"a photo of bin {bin}")
    values = {
        "sha256": sha256,
        "taken_at": received_at if taken_at is None else moment_of(taken_at, of=f"a photo of bin {bin}"),
        "received_at": received_at,
        "size_bytes": quantity_of(size_bytes, of="bytes"),
        "place": place,
    }
    values["bin_id"] = bin_id = _bin(connection, site, bin, create=create_bins, by=by)
    _one_at_a_time(connection, sha256)
    _not_elsewhere(connection, site, bin, bin_id, sha256)
    added = add_if_new(connection, schema.Photo, values, unique=("bin_id", "sha256"))
    if added is None:
        return _held_photo(connection, bin, values, is_timed=taken_at is not None)
    body = {"sha256": sha256, "taken_at": values["taken_at"], "size_bytes": size_bytes}
    audit.append(connection, actor=by, action="photo.take", subject=f"bin:{site.code}/{bin.strip()}", body=body)
    return Taken(added, is_new=True)


def record_as_of(
    connection: Connection, bin_id: int, moment: datetime, *, known_at: datetime | None = None
) -> Version | None:
    """The version of a bin's record in force at `moment`, as the ledger knew it at `known_at` (None: as it knows now).

    Of several for one moment, the last that was taken in counts.
    """
    record = schema.StockRecord.__table__
    query = select(record).where(record.c.bin_id == bin_id, record.c.effective_at <= moment)
    if known_at is not None:
        query = query.where(record.c.received_at <= known_at)
    newest = query.order_by(record.c.effective_at.desc(), record.c.id.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return None if row is None else Version(**row._asdict())


def lines_of(connection: Connection, record_id: int) -> dict[str, int]:
    """How much of each product (SKU) a version of a record says; empty where it told only its total."""
    line, product = schema.StockLine, schema.Product
    query = select(product.sku, line.quantity).join(line, line.product_id == product.id)
    rows = connection.execute(query.where(line.record_id == record_id).order_by(product.sku))
    return {row.sku: row.quantity for row in rows}


def _bin(connection: Connection, site: Site, code: str, *, create: bool, by: str) -> int:
    return take_bin(connection, site, code, by=by).id if create else bin_of(connection, site, code)


def _total(code: str, quantity: int | None, lines: Mapping[str, int]) -> int:
    if quantity is None:
        if not lines:
            raise DataError(
                f"The record of bin {code} says no quantity.", hint="Give a total, or products' quantities."
            )
        return quantity_of(sum(lines.values()), of=f"bin {code}")
    if lines and sum(lines.values()) != quantity:
        raise DataError(
            f"The record of bin {code} says {quantity}, but its products sum to {sum(lines.values())}.",
            hint="Leave out the total, or mend it.",
        )
    return quantity_of(quantity, of=f"bin {code}")


def _one_at_a_time(connection: Connection, sha256: str) -> None:
    """The same bytes for two bins at once: the second waits, and then sees the first."""
    if connection.dialect.name == "postgresql":
        lock = int.from_bytes(bytes.fromhex(sha256[:16]), signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _not_elsewhere(connection: Connection, site: Site, code: str, bin_id: int, sha256: str) -> None:
    photo, bins = schema.Photo, schema.Bin
    others = select(bins.code).join(photo, photo.bin_id == bins.id).where(photo.sha256 == sha256)
    other = connection.execute(others.where(bins.site_id == site.id, bins.id != bin_id).limit(1)).scalar()
    if other is not None:
        raise DataError(
            f"The photo {sha256[:12]} of bin {code} is the very one that was taken in for bin {other}.",
            hint="A camera sent it under the wrong bin: take a new photo.",
        )


def _held_record(connection: Connection, code: str, values: Mapping[str, Any], lines: Mapping[str, int]) -> Taken:
    record = schema.StockRecord
    held = connection.execute(
        select(record.id, record.quantity, record.effective_at).where(
            record.bin_id == values["bin_id"], record.key == values["key"]
        )
    ).one()
    before = lines_of(connection, held.id)
    if (held.quantity, held.effective_at, before) != (values["quantity"], values["effective_at"], dict(lines)):
        raise conflict(
            f"record {values['key']!r} of bin {code}",
            before=_record_words(held.quantity, held.effective_at, before),
            now=_record_words(values["quantity"], values["effective_at"], lines),
        )
    return Taken(held.id, is_new=False)


def _record_words(quantity: int, effective_at: datetime, lines: Mapping[str, int]) -> str:
    products = ", ".join(f"{each} x {sku}" for sku, each in sorted(lines.items()))
    return f"{quantity} items from {effective_at:%Y-%m-%d %H:%M:%S} on" + (f" ({products})" if products else "")


def _held_movement(connection: Connection, code: str, values: Mapping[str, Any]) -> Taken:
    movement = schema.Movement
    held = connection.execute(
        select(movement.id, movement.quantity, movement.moved_at, movement.product_id).where(
            movement.bin_id == values["bin_id"], movement.key == values["key"]
        )
    ).one()
    if tuple(held[1:]) != (values["quantity"], values["moved_at"], values["product_id"]):
        raise conflict(
            f"movement {values['key']!r} of bin {code}",
            before=f"{held.quantity:+} items at {held.moved_at:%Y-%m-%d %H:%M:%S}",
            now=f"{values['quantity']:+} items at {values['moved_at']:%Y-%m-%d %H:%M:%S}",
        )
    return Taken(held.id, is_new=False)


def _held_photo(connection: Connection, code: str, values: Mapping[str, Any], *, is_timed: bool) -> Taken:
    photo = schema.Photo
    held = connection.execute(
        select(photo.id, photo.taken_at).where(photo.bin_id == values["bin_id"], photo.sha256 == values["sha256"])
    ).one()
    if is_timed and held.taken_at != values["taken_at"]:
        raise conflict(
            f"photo {values['sha256'][:12]} of bin {code}",
            before=f"taken at {held.taken_at.isoformat()}",
            now=f"taken at {values['taken_at'].isoformat()}",
        )
    return Taken(held.id, is_new=False)
