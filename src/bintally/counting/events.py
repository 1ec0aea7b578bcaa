"""CONTRACT everything seen of a bin -> `following`: small frozen records, one JSON object a line in a file.

```
{"event": "photo", "time": 1, "id": "a", "probabilities": {"2": 0.3, "3": 0.7}, "prior": {"2": 0.5, "3": 0.5}}
{"event": "photo", "time": 3, "id": "b", "previous": "a", "change": {"3": {...}}, "change_prior": {"3": {...}}}
{"event": "picked", "time": 2, "quantity": 1}        {"event": "stowed", "time": 2, "quantity": 2}
{"event": "transaction", "time": 2, "quantity": -1}  {"event": "counted", "time": 4, "count": 3}
{"event": "emptied", "time": 5}                      {"event": "replaced", "time": 6}
```

Keys of probabilities are counts, an open top such as "6+" among them. Events may come in any order: `time` puts them
where they belong, and at one time what moves items stands before what looks at them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.errors import DataError
from bintally.records import CountEstimate

Shares: TypeAlias = dict[str, float]
"""Probability of each count key; scaled to sum to 1 where it is used."""

ChangeShares: TypeAlias = dict[str, dict[str, float]]
"""For each earlier count key, the probability of each new one."""

COUNT_KEY: Final = re.compile(r"(0|[1-9]\d*)\+?")


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="event", dict=True):
    """Something seen or recorded of a bin.

    `time` is seconds (or any order number), or ISO 8601 (without an offset: UTC). An event with the `id` of an earlier,
    equal one is the same event delivered twice; `bin` tells bins in one file apart.
    """

    time: float | str
    id: str | None = None
    bin: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.seconds):
            raise DataError(f"{self.time!r} is no time.", hint=_TIME_HINT)

    @cached_property
    def seconds(self) -> float:
        """`time` as a number."""
        if not isinstance(self.time, str):
            return float(self.time)
        try:
            moment = datetime.fromisoformat(self.time)
        except ValueError:
            raise DataError(f"{self.time!r} is no time.", hint=_TIME_HINT) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    @property
    def kind(self) -> str:
        """The word that `event` has in JSON."""
        return str(self.__struct_config__.tag)

    @cached_property
    def order(self) -> tuple[float, int, str, bytes]:
        """Sorts events of a bin the same way in whatever order they arrived."""
        return (self.seconds, _RANK[self.kind], self.id or "", msgspec.json.encode(self, order="deterministic"))

    def __str__(self) -> str:
        return f"{self.kind} at {self.time}"


class Photo(Event, frozen=True, tag="photo"):
    """A photo of the bin: what it shows alone, and what it shows beside the photo before.

    `probabilities` are P(count | this photo) in a world where counts are mixed as `prior` says, which names all counts
    that were asked about (empty: those of `probabilities`, evenly mixed). A bundle's answers are for its card's
    `target_prior`. No probabilities: the photo tells nothing by itself.

    `change[i][j]` is P(new count j | earlier count i, photo `previous`, this photo), and `change_prior[i][j]` the table
    P(new count j | earlier count i) of the world that this answer is for: what a model blind to both photos would say.
    Their ratio is the evidence. Earlier counts may be left out: for them the photo's own probabilities stand.
    """

    probabilities: Shares = {}
    prior: Shares = {}
    previous: str | None = None
    change: ChangeShares = {}
    change_prior: ChangeShares = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares(self.probabilities, "probabilities")
        _check_shares(self.prior, "prior")
        if self.probabilities:
            _check_prior(self.probabilities, self.prior or self.probabilities, "prior")
        _check_keys(self.change, "change")
        if self.change and self.previous is None:
            raise DataError("'change' needs 'previous'.", hint="Say the id of the photo it was compared with.")
        for earlier, row in self.change.items():
            _check_shares(row, f"change[{earlier}]", empty=False)
            _check_shares(self.change_prior.get(earlier, {}), f"change_prior[{earlier}]", empty=False)
            _check_prior(row, self.change_prior[earlier], f"change_prior[{earlier}]")

    @classmethod
    def of(
        cls,
        estimate: CountEstimate,
        *,
        time: float | str,
        prior: Mapping[str, float],
        previous: str | None = None,
        change: ChangeShares | None = None,
        change_prior: ChangeShares | None = None,
        bin: str | None = None,  # noqa: A002 - the field's name
    ) -> Self:
        """The event of a counted photo; one that was abstained from or could not be read tells nothing.

        `prior` is the mix the model answers for: its card's `target_prior`.
        """
        seen = estimate.abstain is None and estimate.error is None and len(estimate.probabilities) > 1
        return cls(
            time=time,
            id=estimate.path or estimate.bin_image_id,
            bin=bin,
            probabilities=dict(estimate.probabilities) if seen else {},
            prior={key: prior[key] for key in estimate.probabilities} if seen else {},
            previous=previous,
            change=(change or {}) if seen else {},
            change_prior=(change_prior or {}) if seen else {},
        )


class _Transaction(Event, frozen=True):
    quantity: int

    @property
    def signed(self) -> int:
        """Items that the record says came in; below 0: went out."""
        return self.quantity


class Transaction(_Transaction, frozen=True, tag="transaction"):
    """A recorded transaction: `quantity` items came in; below 0: went out."""


class Picked(_Transaction, frozen=True, tag="picked"):
    """Recorded: `quantity` items were taken out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self.quantity)

    @property
    def signed(self) -> int:
        """Items that the record says came in; below 0: went out."""
        return -self.quantity


class Stowed(_Transaction, frozen=True, tag="stowed"):
    """Recorded: `quantity` items were put in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self.quantity)


class Counted(Event, frozen=True, tag="counted"):
    """A person counted the items."""

    count: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 0:
            raise DataError(f"'count' is {self.count}: there are no fewer than 0 items.", hint="Correct the count.")


class Emptied(Event, frozen=True, tag="emptied"):
    """All items were taken out. Earlier photos show none of what comes after."""


class Replaced(Event, frozen=True, tag="replaced"):
    """Another bin stands here now: nothing known of the one before holds. `start`: what is known of its counts."""

    start: Shares = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_shares(self.start, "start")


AnyTransaction: TypeAlias = Transaction | Picked | Stowed
AnyEvent: TypeAlias = Photo | AnyTransaction | Counted | Emptied | Replaced

KINDS: Final[dict[str, type[Event]]] = {
    str(each.__struct_config__.tag): each
    for each in (Replaced, Emptied, Transaction, Picked, Stowed, Counted, Photo)  # order at one and the same time
}
_RANK: Final = {kind: rank for rank, kind in enumerate(KINDS)}
_TIME_HINT: Final = "Give seconds or an order number, or ISO 8601 such as 2026-11-20T08:30:00Z."


def change_shares(probabilities_kk: NDArray[np.floating[Any]], keys: Sequence[str]) -> ChangeShares:
    """A model's P(new | earlier) [K earlier, K new] as `Photo.change` and `Photo.change_prior` have it."""
    return {key: dict(zip(keys, row, strict=True)) for key, row in zip(keys, probabilities_kk.tolist(), strict=True)}


def _check_positive(quantity: int) -> None:
    if quantity < 1:
        raise DataError(f"'quantity' is {quantity}, but it is the number of items, at least 1.", hint=_SIGN_HINT)


_SIGN_HINT: Final = "Say picked or stowed, or `transaction` with a signed quantity."


def _check_keys(keys: Mapping[str, object], name: str) -> None:
    for key in keys:
        if not COUNT_KEY.fullmatch(key):
            raise DataError(
                f"'{name}' has {key!r}, which is no count.", hint="Counts look like 3, or 6+ for an open top."
            )


def _check_shares(shares: Mapping[str, float], name: str, *, empty: bool = True) -> None:
    _check_keys(shares, name)
    if not all(0.0 <= share < math.inf for share in shares.values()):
        raise DataError(f"'{name}' holds a number below 0, or none.", hint="Probabilities are from 0 to 1.")
    if (shares or not empty) and not sum(shares.values()) > 0.0:
        raise DataError(f"'{name}' gives no count any probability.", hint="Leave it out if nothing is known.")


def _check_prior(shares: Mapping[str, float], prior: Mapping[str, float], name: str) -> None:
    if len(prior) < 2:
        raise DataError(
            f"'{name}' leaves one count only: nothing speaks for or against it.",
            hint="Give the probabilities of all counts that were asked about.",
        )
    for key, share in shares.items():
        if share > 0.0 and not prior.get(key, 0.0) > 0.0:
            raise DataError(
                f"'{name}' gives {key} no probability, but the photo does: their ratio is the evidence.",
                hint="Give the mix of counts that the probabilities were made for.",
            )
