"""Why each bin was judged so, in words: those of the policy, and those for what no policy judges."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.inventory.policy.cases import Bar, Decisions
from bintally.inventory.policy.words import reasons_of

NO_PROMISE: Final = "nothing can be promised of a count without probabilities"
NOT_CONFIRMED: Final = "the earlier photo's count was not confirmed, so nothing is promised"
NO_PHOTO: Final = "there is no photo or count of this bin"
NO_RECORD: Final = "there is no record of this bin"
RECORD_REJECTED: Final = "this bin's record was rejected"


class Reasons:
    """The sentences of each row of the judged table, made when they are asked for.

    `both` are the rows that were decided, `known_n` whether they have probabilities; then come `unseen` records without
    a photo, and photos without a record, of which `rejected` says whether there is one that can't be used.
    """

    def __init__(
        self,
        decisions: Decisions,
        both: pl.DataFrame,
        known_n: NDArray[np.bool_],
        *,
        unseen: int,
        rejected: Sequence[bool],
    ) -> None:
        self._decisions, self._both, self._known_n = decisions, both, known_n
        self._rest = [NO_PHOTO] * unseen + [RECORD_REJECTED if each else NO_RECORD for each in rejected]

    def of(self, start: int, stop: int) -> list[list[str]]:
        """The sentences of some rows."""
        decided = len(self._decisions)
        said = [list(reasons) for reasons in reasons_of(self._decisions, slice(start, min(stop, decided)))]
        free_n = self._decisions.cases.bar_n == Bar.NONE
        for row in np.flatnonzero((free_n & (self._decisions.cases.kind_n == 0))[start:stop]).tolist():
            said[row] = list(self._unjudged(start + row))
        return said + [[words] for words in self._rest[max(start - decided, 0) : max(stop - decided, 0)]]

    def _unjudged(self, row: int) -> tuple[str, str]:
        """A count without probabilities, or a pair that nothing is promised for."""
        recorded = self._both["recorded"][row]
        if self._known_n[row]:
            key = self._decisions.cases.keys[int(self._decisions.cases.probabilities_nk[row].argmax())]
            return f"the two photos show {key}; {recorded} recorded", NOT_CONFIRMED
        count = self._both["count"][row]
        return ("nothing was counted" if count is None else f"{count} counted; {recorded} recorded"), NO_PROMISE
