"""What the service answers: a `CountEstimate`, and what the ledger adds."""

from datetime import datetime
from typing import Any

import msgspec

from bintally.inventory.verdict import Verdict
from bintally.records import CountEstimate


class BinState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a bin after the photo: its posterior over time, from every photo, movement and count before.

    `probabilities` has a key for each count ("0", "1", ...); those below 0.00005 are left out.
    """

    bin_id: str
    site: str
    count: int | None  # the most probable; None: nothing is known
    expected_count: float | None
    probabilities: dict[str, float]
    evidence: str  # "none", "photo", "change" or "followed"
    recorded_count: int | None
    confirmed_count: int | None  # the last one that a person counted
    confirmed_at: datetime | None
    previous_photo_at: datetime | None
    photos: int  # of this bin, this one among them
    photo_is_new: bool  # False: these very bytes were taken in before
    review_id: int | None  # the bin's open review


class CountAnswer(CountEstimate, frozen=True, kw_only=True):
    """The one answer of every door. `model_version`: where a registry says which version answers, such as "bintally/3".

    `verdict`: where a record was given or the bin is known. `degraded`: what could not be done, in words; the count
    stands all the same.
    """

    request_id: str = ""
    verdict: Verdict | None = None
    bin: BinState | None = None
    degraded: tuple[str, ...] = ()
    model_version: str | None = None
    replayed: bool = False
    """Whether it was given before, to the same Idempotency-Key; doors say so beside the JSON, which stays the same."""

    @classmethod
    def of(cls, estimate: CountEstimate, **more: Any) -> "CountAnswer":
        """`estimate` with `more` fields."""
        return cls(**{name: getattr(estimate, name) for name in estimate.__struct_fields__}, **more)

    def to_plain(self) -> dict[str, Any]:
        """Dicts, lists and scalars as `to_json` writes them; what is added to a count only where there is any."""
        record: dict[str, Any] = msgspec.json.decode(CountEstimate.to_json(self))
        del record["replayed"]
        for name in ("verdict", "bin", "degraded", "model_version"):
            if not record[name]:
                del record[name]
        if self.verdict is not None:
            record["verdict"] = msgspec.json.decode(self.verdict.to_json())
        if self.bin is not None:
            record["bin"]["probabilities"] = {key: round(p, 4) for key, p in self.bin.probabilities.items()}
            if self.bin.expected_count is not None:
                record["bin"]["expected_count"] = round(self.bin.expected_count, 3)
        return record

    def to_json(self) -> str:
        """One line of JSON."""
        return msgspec.json.encode(self.to_plain()).decode()
