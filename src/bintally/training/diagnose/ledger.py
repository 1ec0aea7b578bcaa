"""What has been told already: an illness is said once, and again only after it was gone."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bintally.training.diagnose.finding import Finding

PER_LOOK: Final = 10
"""Findings of one rule at one look; where a whole network is ill, more of them tell no more."""
PER_RULE: Final = 100
"""And in all: what comes and goes at every look is noise."""


class Ledger:
    """Of one rule and one way of asking it."""

    def __init__(self, in_a_row: int) -> None:
        self._in_a_row = in_a_row
        self._looks: dict[str, int] = {}  # at how many looks in a row each tensor has been ill
        self._written = 0

    def news(self, ill: Sequence[Finding]) -> list[Finding]:
        """Of all that is ill now, what is to be said."""
        self._looks = {finding.tensor: self._looks.get(finding.tensor, 0) + 1 for finding in ill}
        due = [finding for finding in ill if self._looks[finding.tensor] == self._in_a_row]
        told = due[: min(PER_LOOK, PER_RULE - self._written)]
        self._written += len(told)
        if told and len(told) < len(due):
            more = f"{told[-1].message} (And of {len(due) - len(told)} more.)"
            told[-1] = msgspec.structs.replace(told[-1], message=more)
        return told
