"""What the stock system believes is in a bin, and how it comes to be wrong."""

from collections import Counter
from dataclasses import dataclass

from bintally.data.rendered.scene import Moment, Rng, rng_of
from bintally.data.rendered.settings import RenderSettings
from bintally.data.rendered.wares import Ware, make_ware
from bintally.records import BinRecord, Product

_STOCK = 4  # this file's part of the random numbers


@dataclass(frozen=True, slots=True)
class Stock:
    """A record and what is wrong with it: "" (nothing), "quantity", "missing_product" or "extra_product"."""

    record: BinRecord
    error: str


def take_stock(moment: Moment, bin_image_id: str, *, seed: int, settings: RenderSettings) -> Stock:
    """The record that goes with a photo of `moment`; wrong, now and then, and then its total is wrong too."""
    rng = rng_of(seed, moment.index, _STOCK, moment.time)
    quantities = Counter(moment.wares[place.item.ware] for place in moment.placed)
    error = ""
    if rng.random() < settings.wrong_record_rate:
        error = _err(quantities, rng, settings)
    products = tuple(
        _product(ware, quantity, settings)
        for ware, quantity in sorted(quantities.items(), key=lambda entry: entry[0].asin)
    )
    return Stock(BinRecord(bin_image_id, sum(product.quantity for product in products), products), error)


def _err(quantities: Counter[Ware], rng: Rng, settings: RenderSettings) -> str:
    """Makes `quantities` wrong and names the mistake."""
    if not quantities or rng.random() < 0.2:
        quantities[make_ware(rng, cell_inches=(12, 9), size=settings.item_size)] = int(rng.integers(1, 3))
        return "extra_product"
    wares = sorted(quantities, key=lambda ware: ware.asin)
    ware = wares[int(rng.integers(len(wares)))]
    if len(quantities) > 1 and rng.random() < 0.25:
        del quantities[ware]
        return "missing_product"
    steps = [step for step in (-2, -1, -1, 1, 1, 2) if quantities[ware] + step > 0]
    quantities[ware] += int(rng.choice(steps))
    return "quantity"


def _product(ware: Ware, quantity: int, settings: RenderSettings) -> Product:
    if rng_of(ware.look, _STOCK).random() < settings.missing_size_rate:
        return Product(ware.asin, ware.name, quantity)
    wide, high = ware.face_inches
    return Product(
        ware.asin,
        ware.name,
        quantity,
        height_in=round(
            min(wide, high, ware.thick_inches), 2
        ),  # ABID lies things flat: the shortest side is the height
        length_in=round(max(wide, high, ware.thick_inches), 2),
        width_in=round(sorted((wide, high, ware.thick_inches))[1], 2),
        weight_lb=ware.weight_lb,
    )
