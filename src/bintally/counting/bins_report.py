"""What judging a bundle on bins and records found: frozen records that are `bins.json`.

Whatever is measured stands beside what an answer reaches that never sees a photo.
"""

from typing import Final

import msgspec

from bintally.bundle import Figure
from bintally.counting.report import Subject, Unreadable

FORMAT: Final = 1


class Beside(msgspec.Struct, frozen=True):
    """A figure beside the blind ones."""

    model: Figure
    blind: Figure  # knows the earlier count and the card's table of changes, and sees no photo
    harder: Figure | None = None  # the same, told besides that no bin was left untouched


class OfChange(msgspec.Struct, frozen=True):
    """How the pairs of one change fare."""

    change: str  # "-2", "+1", "+3 and more"
    pairs: int
    accuracy: Beside
    log_loss: Beside


class Unchanged(msgspec.Struct, frozen=True):
    """Pairs made of one photo: taken again with another exposure, shift, blur and compression, nothing moved."""

    pairs: int
    recognised: Beside  # the most probable count, of all the model knows, is the earlier one
    probability: Figure  # P(nothing changed), mean
    auroc: Beside  # P(nothing changed) of these against that of the split's pairs whose count changed


class ShownPair(msgspec.Struct, frozen=True):
    """Two photos of the gallery."""

    earlier_id: str
    earlier_path: str
    later_id: str
    later_path: str
    earlier_count: int
    new_count: int  # recorded
    told_count: str  # the most probable of those asked about
    probabilities: dict[str, float]
    blind: dict[str, float]


class PairReport(msgspec.Struct, frozen=True):
    """The new count of two photos of a bin, told with the earlier one's recorded count.

    `figures` has accuracy, rmse, log_loss, and for the question whether a recorded new count is right (right: the
    recorded one; wrong: each other count asked about) auroc and accepted, the share of right records accepted while 10%
    of the wrong ones escape.
    """

    pairs: int
    bins: int
    other_counts: int  # pairs whose new count was not asked about
    out_of_reach: int  # pairs judged though the change is larger than the model tells apart from its largest
    figures: dict[str, Beside]
    by_change: tuple[OfChange, ...]
    promised: float  # share of sets that hold the recorded count
    set_coverage: Figure
    set_size: Figure
    unchanged: Unchanged | None  # None: no photo to make such pairs of
    worst: tuple[ShownPair, ...]
    surest: tuple[ShownPair, ...]


class AfterPhotos(msgspec.Struct, frozen=True):
    """What is known of bins after so many of their photos.

    `figures` has accuracy, log_loss, set_size, set_coverage, auroc and accepted, as for pairs.
    """

    how: str  # "alone": that photo only; "followed": all up to it; "confirmed": and the first one's count was known
    counts: str  # "all", or those asked about: bins whose count is another one are left out, as it is from the answer
    of_bins: int  # bins with at least so many photos: the same bins in each row with the same number
    photos: int
    bins: int
    figures: dict[str, Beside]


class BinsOverTime(msgspec.Struct, frozen=True):
    """One posterior per bin over time. Nothing is recorded of what moved in between."""

    bins: int
    photos: int
    moved: float  # chance that the count changes from a photo to the next ...
    further: float  # ... and each further item is this times as probable: the table's own, as the filter takes it
    coverage: float  # total probability of a set
    steps: tuple[AfterPhotos, ...]


class CurvePoint(msgspec.Struct, frozen=True):
    """Accept records that score at least so much: these shares of the wrong and the right ones are accepted."""

    threshold: float
    escaped: float
    accepted: float


class AtThreshold(msgspec.Struct, frozen=True):
    """What a threshold fixed beforehand does."""

    threshold: float
    escaped: Figure
    accepted: Figure


class OfError(msgspec.Struct, frozen=True):
    """Wrong records of one kind against all right ones."""

    error: str
    records: int
    auroc: Figure
    escaped: Figure  # at the threshold, chosen in hindsight, at which 10% of all wrong ones escape
    escaped_at_card: Figure | None


class RecordFigures(msgspec.Struct, frozen=True):
    """How well right records are told from wrong ones."""

    auroc: Figure
    accepted: Figure  # share of right ones, while 10% of the wrong ones escape; the threshold chosen in hindsight
    at_card: AtThreshold | None  # at the card's threshold, which val fixed; None: this score has none
    by_error: tuple[OfError, ...]
    curve: tuple[CurvePoint, ...]  # thinned to what a plot can show


class RecordReport(msgspec.Struct, frozen=True):
    """Records judged by one photo each."""

    source: str
    records: int
    right: int
    photos: int
    without_photo: int  # records of the split left out: the data folder has no such photo, or it can't be read
    measured: int  # records whose products' measures were all found
    with_measures: RecordFigures
    quantities_alone: RecordFigures
    blind: RecordFigures  # sees no photo: how usual the record's number of items and products is in train
    blind_source: str


class BinsReport(msgspec.Struct, frozen=True):
    """Everything that judging on bins and records found; `bins.json` is its JSON."""

    format: int
    subject: Subject
    pairs: PairReport | None
    over_time: BinsOverTime | None
    records: RecordReport | None
    left_out: tuple[str, ...]  # what was not judged, and why
    unreadable: tuple[Unreadable, ...]
    report: str = ""
    table: str = ""  # pairs.parquet; empty: no pairs were judged

    def to_json(self) -> bytes:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> "BinsReport":
        """The report that `to_json` wrote.

        Raises:
            msgspec.DecodeError: no such report.
        """
        return msgspec.json.decode(text, type=cls)
