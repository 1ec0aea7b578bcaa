"""The words the rooms speak to each other: frozen records, and how they look as JSON.

msgspec rather than pydantic, because a count must start fast: importing msgspec costs about 30 ms, building the same
classes with pydantic 110-230 ms (measured side by side on 2 cores).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec

COUNT_KEYS: tuple[str, ...] = ("0", "1", "2", "3", "4", "5", "6+")
"""Keys of a count distribution: exact up to 5, everything above in one."""

TOP_KEY = "6+"


def key_of(count: int, keys: Sequence[str] = COUNT_KEYS) -> str:
    """The key that `count` items fall under: `4 -> "4"`, `17 -> "6+"` (if `keys` has an open top)."""
    top = keys[-1]
    if top.endswith("+") and count >= int(top[:-1]):
        return top
    return str(count)


def parse_counts(text: str, keys: Sequence[str] = COUNT_KEYS) -> tuple[str, ...]:
    """`"1-5"`, `"0,2,6+"` or `"3-6+"` as keys, in order.

    Raises:
        ValueError: nothing selected, or a part that is neither a key nor a range of keys.
    """
    chosen: set[str] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        if first not in keys or (dash and last not in keys) or (dash and keys.index(first) > keys.index(last)):
            raise ValueError(f"{part!r} is no count or range of counts of {', '.join(keys)}")
        chosen.update(keys[keys.index(first) : keys.index(last or first) + 1])
    if not chosen:
        raise ValueError(f"no counts in {text!r}")
    return tuple(key for key in keys if key in chosen)


class Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One product of a bin's stock record. Lengths in inches, weight in pounds, as ABID has them; None: missing."""

    asin: str
    name: str
    quantity: int
    height_in: float | None = None
    length_in: float | None = None
    width_in: float | None = None
    weight_lb: float | None = None


class BinRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the stock system believes is in a bin. `recorded_count` is ABID's EXPECTED_QUANTITY: sometimes wrong."""

    bin_image_id: str
    recorded_count: int
    products: tuple[Product, ...] = ()


class Timings(msgspec.Struct, frozen=True):
    """Where the time of one count went, in milliseconds; inference is a batch's time shared by its photos."""

    decode_ms: float
    inference_ms: float


class CountEstimate(msgspec.Struct, frozen=True, omit_defaults=False):
    """One distribution, several readings of it. The one JSON of CLI, service, ledger and capture.

    `count` is the most probable count (best for exact accuracy; 6 stands for the open top "6+"), `expected_count` the
    mean (best for RMSE), `probabilities` has a key of `COUNT_KEYS` for each count the model was asked for,
    `count_set` the smallest set of counts with the coverage its model promises. `abstain` says why the photo is not
    taken for a bin (then the numbers are not to be trusted), `error` why it could not be read (then there are none).

    Where the photo was compared with an earlier one of its bin, `previous` names that, `previous_count` is the count it
    was known to show (None: only what it looks like), and `unchanged` the probability that the count is still the same.
    """

    path: str | None = None
    bin_image_id: str | None = None
    count: int | None = None
    expected_count: float | None = None
    probabilities: dict[str, float] = {}
    count_set: tuple[str, ...] = ()
    abstain: str | None = None
    error: str | None = None
    model: str | None = None
    timings: Timings | None = None
    previous: str | None = None
    previous_count: int | None = None
    unchanged: float | None = None

    @property
    def probability(self) -> float:
        """Probability of `count`, the most probable count; 0 when there is none."""
        return max(self.probabilities.values(), default=0.0)

    def probability_of(self, recorded_count: int) -> float:
        """P(count == recorded), with everything from the open top on as one."""
        return self.probabilities.get(key_of(recorded_count, tuple(self.probabilities) or COUNT_KEYS), 0.0)

    def to_json(self) -> str:
        """One line of JSON; probabilities with 4 digits, times with 2: a figure nobody can read is noise."""
        record = msgspec.to_builtins(self)
        record["probabilities"] = {key: round(p, 4) for key, p in self.probabilities.items()}
        if self.expected_count is not None:
            record["expected_count"] = round(self.expected_count, 3)
        if self.timings is not None:
            record["timings"] = {key: round(ms, 2) for key, ms in record["timings"].items()}
        if self.unchanged is not None:
            record["unchanged"] = round(self.unchanged, 4)
        return msgspec.json.encode(record).decode()

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """The estimate a line of `to_json` describes.

        Raises:
            msgspec.ValidationError: the line is JSON, but no estimate.
            msgspec.DecodeError: the line is torn.
        """
        return msgspec.json.decode(line, type=cls)


def to_plain(record: Any) -> Any:
    """Any record as dicts, lists and scalars, ready for `json`."""
    return msgspec.to_builtins(record)


def expectation(probabilities: Mapping[str, float], values: Mapping[str, float]) -> float:
    """Mean count of a distribution; `values` says what the open top counts as."""
    return sum(p * values[key] for key, p in probabilities.items())
