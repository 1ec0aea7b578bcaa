"""One version's case: all that the gates look at, brought together once.

Shapes: N photos judged, K counts asked about.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.bundle import Figure
from bintally.counting import metrics
from bintally.counting.compare import common
from bintally.counting.predictions import Predictions
from bintally.records import parse_counts
from bintally.registry.gates.cost import Times
from bintally.registry.gates.frozen import Answers, Frozen
from bintally.registry.gates.outcome import GateResult
from bintally.registry.gates.settings import PromoteSettings

if TYPE_CHECKING:
    from bintally.registry.shadow.figures import ShadowFigures
    from bintally.registry.versions import Version


@dataclass(frozen=True)
class Pair:
    """What the candidate and the other said of the same photos, row by row; the other: the champion, or the blind."""

    candidate: Predictions
    other: Predictions
    other_name: str
    table: pl.DataFrame
    """The manifest's rows."""
    values_k: NDArray[np.float64]

    @property
    def groups_n(self) -> NDArray[Any]:
        """The bin of each photo."""
        return self.candidate.groups_n

    def gains(self, metric: str) -> NDArray[np.float64]:
        """How much better the candidate is on each photo, [N]: nats of log loss, or 1, 0, -1 of being right."""
        terms = metrics.log_loss_terms if metric == "log_loss" else metrics.correct_terms
        mine_n, others_n = (terms(told.probabilities_nk, told.labels_n) for told in (self.candidate, self.other))
        gains_n: NDArray[np.float64] = others_n - mine_n if metric == "log_loss" else mine_n - others_n
        return gains_n


@dataclass(frozen=True)
class Case:
    """A version, the champion it stands against (None: there is none), and what is known of both."""

    settings: PromoteSettings
    version: "Version"
    against: "Version | None"
    everything: Frozen
    """All photos of the split."""
    frozen: Frozen
    """Those of bins that neither learnt from."""
    unknown: tuple[str, ...]
    """What nobody knows of what the candidate learnt from."""
    unknown_of_champion: tuple[str, ...]
    answers: Answers
    answers_of_champion: Answers | None
    measure: Callable[[], Times]
    shadow: "Callable[[], ShadowFigures | None]" = lambda: None
    """What live photos told, where the candidate was in the champion's shadow."""

    @cached_property
    def times(self) -> Times:
        """What a photo takes; measured when it is asked for."""
        return self.measure()

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The counts that are asked about: those both know."""
        told = [self.answers.told, *([self.answers_of_champion.told] if self.answers_of_champion else [])]
        known = tuple(key for key in told[0].keys if all(key in one.keys for one in told))
        return parse_counts(self.settings.counts, known) if self.settings.counts else known

    @cached_property
    def obstacle(self) -> str | None:
        """Why the models can't be judged on these photos; None: they can."""
        left, least = self.frozen.table.height, self.settings.unseen.min_photos
        if len(self.keys) < 2:
            return "both know fewer than two counts in common"
        if left < least:
            return f"{left:,} photos of bins that neither learnt from are too few (at least {least:,})"
        if not self.answers.are_numbers:
            return "its answers are no distributions of counts"
        return None

    @cached_property
    def pair(self) -> Pair:
        """Candidate and champion on the same photos; without a champion, one who never looks and knows the mix."""
        mine, other_name = self.answers.told.asked(self.keys), "the blind answer"
        if self.answers_of_champion is None or self.against is None:
            [mine] = common([mine], [self.version.name])
            other = blind(mine)
        else:
            other_name = self.against.name
            theirs = self.answers_of_champion.told.asked(self.keys)
            mine, other = common([mine, theirs], [self.version.name, other_name])
        rows = pl.DataFrame({"bin_image_id": mine.ids_n.tolist()}).join(
            self.frozen.table, on="bin_image_id", how="left", maintain_order="left"
        )
        values_k = np.array([self.version.card.count_values[key] for key in self.keys])
        return Pair(mine, other, other_name, rows, values_k)

    def figures(self) -> dict[str, dict[str, Figure]]:
        """Accuracy, log loss ... of all that take part."""
        pair = self.pair
        entrants = {"candidate": pair.candidate, "blind": blind(pair.candidate)}
        if self.against is not None:
            entrants["champion"] = pair.other
        return {
            name: metrics.headline(
                told.probabilities_nk, told.labels_n, pair.values_k, groups_n=told.groups_n, seed=self.settings.seed
            )
            for name, told in entrants.items()
        }

    def not_judged(self, gate: str) -> GateResult:
        """What a gate says that needs photos, where there is an obstacle."""
        return GateResult(gate=gate, passed=False, reason=f"Not judged: {self.obstacle}.")


Gate: TypeAlias = Callable[[Case], GateResult]


def blind(told: Predictions) -> Predictions:
    """What one would say of the same photos who knows in which mix counts come, and looks at none."""
    mix_k = metrics.prior(told.labels_n, len(told.keys))
    return dataclasses.replace(told, probabilities_nk=np.tile(mix_k, (len(told), 1)))
