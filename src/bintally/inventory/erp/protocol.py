"""`Connector`: what bintally asks of a stock system, small enough to be written in an evening.

A correction goes through two doors, so that nothing is ever posted twice:

```
find(keys)          what became of them, if they were sent before
prepare(postings)   drafts that carry the keys; no stock changes
commit(drafts)      the drafts are carried out, each at most once
cancel(drafts)      the drafts are thrown away
```

Whatever dies in between, and whatever answer is lost on the way, is asked for again with the same key: a draft too many
changes no stock, and a draft that was carried out is not carried out again.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec

KEY: Final = 40
"""Characters of a key at most; they are letters, digits and hyphens."""

Kind: TypeAlias = Literal["adjust", "reverse"]
Fate: TypeAlias = Literal["draft", "done", "refused"]
Outcome: TypeAlias = Literal["done", "stale", "refused"]


class About(msgspec.Struct, frozen=True):
    """The stock system that answers: its product's name and version, and what it is to us."""

    product: str
    version: str = ""
    database: str = ""
    reads: bool = True  # whether it tells what it holds
    finds: bool = True  # whether `find` knows what was sent


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """What the stock system says is in a bin: how many of each product (SKU); `version` changes whenever that does.

    `why_not`: why that can't be told in whole items; `lines` are empty then.
    """

    bin: str
    lines: Mapping[str, int]
    as_of: datetime
    version: str | None = None
    why_not: str | None = None

    @property
    def quantity(self) -> int:
        """All products together."""
        return sum(self.lines.values())


class Line(msgspec.Struct, frozen=True):
    """A product of a bin: what its record says before, and after. `product` None: all that is in the bin together."""

    product: str | None
    before: int
    after: int

    @property
    def change(self) -> int:
        """Items; below 0: stock was lost."""
        return self.after - self.before


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """A correction of one bin, under a key of its own that never changes.

    `reverses`: the key of the posting that is taken back. `by`, `approved_by`: people, by their names in the ledger.
    """

    key: str
    kind: Kind
    site: str
    bin: str
    lines: tuple[Line, ...]
    counted_at: datetime
    by: str
    approved_by: str | None = None
    note: str = ""
    reverses: str | None = None


class Draft(msgspec.Struct, frozen=True):
    """A posting's document in the stock system, under its number there.

    `done`: its stock has changed. `refused`: it made none, for a `reason`; it is never carried out.
    """

    key: str
    reference: str
    fate: Fate = "draft"
    answer: Mapping[str, Any] = {}
    reason: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What became of a draft. `stale`: stock has moved since the draft was made; `refused`: for another `reason`.

    `answer`: what the stock system said, as evidence.
    """

    key: str
    outcome: Outcome
    reference: str
    reason: str = ""
    answer: Mapping[str, Any] = {}


class Connector(Protocol):
    """A stock system, whose calls may all be repeated.

    Raises:
        ErpUnavailableError: it can't be reached, is busy or failed; the same call may succeed later.
        ErpRefusedError: it will not do that, however often it is asked: a person has to mend something.
    """

    def about(self) -> About:
        """Reaches it, logs in, and looks whether we may do there what we have to."""

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        """What is in `bins` (None: in all); of one that it does not know, nothing."""

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        """What has become of postings, by their keys; nothing of those that it does not know."""

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        """Drafts of the postings, by their keys: new ones where there are none. No stock changes.

        One that it refuses is missing, or says why.
        """

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        """Carries the drafts out, by their keys. One that was carried out before answers as it did then."""

    def cancel(self, drafts: Sequence[Draft]) -> None:
        """Throws drafts away that were not carried out."""

    def close(self) -> None:
        """Ends connections."""
