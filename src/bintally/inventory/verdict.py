"""What is decided about a stock record: `Verdict`, one JSON everywhere."""

from typing import Literal, TypeAlias

import msgspec

Outcome: TypeAlias = Literal["match", "mismatch", "uncertain", "stale"]
"""match: accepted without a person. mismatch: surely wrong, a person corrects it. uncertain: a person looks.
stale: not judged, because stock moved after the photo."""

OUTCOMES: tuple[Outcome, ...] = ("match", "mismatch", "uncertain", "stale")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A decision about one record, and the numbers that led to it.

    `right` is P(record right | everything known), `prior_right` the same before any photo was looked at. `score` is how
    much more all that is known of the bin (of a record that follows from its history: the photos alone) speaks for the
    record than for what else the bin may hold, in nats; a record is accepted from
    `threshold` on (None: no promise can be made for such evidence, so that nothing is accepted).
    """

    outcome: Outcome
    recorded_count: int
    count: int | None  # the most probable count; None: nothing was seen
    right: float | None
    prior_right: float | None
    score: float | None
    threshold: float | None
    promised: float  # the share of wrong records among the accepted that is not exceeded
    kind: str  # what the evidence is: "photo", "change", "followed" or "none"
    reasons: tuple[str, ...]  # in words, the weightiest first
    second_approval: bool = False  # a correction needs two people
    blind_recount: bool = False  # accepted, but drawn for a check by a person who does not see the record

    def to_json(self) -> str:
        """One line of JSON; probabilities and scores with 4 digits."""
        plain = msgspec.to_builtins(self)
        for name in ("right", "prior_right", "score", "threshold"):
            plain[name] = None if plain[name] is None else round(plain[name], 4)
        return msgspec.json.encode(plain).decode()
