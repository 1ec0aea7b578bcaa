"""What an evaluation found: frozen records that are `metrics.json`, and their compact form for a bundle's card."""

from typing import Final

import msgspec

from bintally.bundle import Figure, SplitMetrics

FORMAT: Final = 1


class PerCount(msgspec.Struct, frozen=True):
    """How one count fares; None where there is nothing to measure."""

    key: str
    photos: int  # recorded as this count
    counted: int  # counted as this count
    recall: Figure | None  # of those recorded so, counted so; Wilson interval
    precision: Figure | None  # of those counted so, recorded so; Wilson interval
    mean_expected_count: float | None  # over those recorded so: how far the expected count shrinks to the middle


class Bin(msgspec.Struct, frozen=True):
    """One point of the reliability plot."""

    confidence: float  # mean probability of the most probable count
    right: Figure  # share where it was the recorded one; Wilson interval
    photos: int


class Calibration(msgspec.Struct, frozen=True):
    """Whether a probability means what it says."""

    ece: float
    ece_if_calibrated: float  # a perfectly calibrated model with the same confidences stays below it in 95 of 100 draws
    bins: tuple[Bin, ...]


class CurvePoint(msgspec.Struct, frozen=True):
    """Accept photos at least this sure: how many that are, and how many of them are wrong."""

    threshold: float
    coverage: float
    risk: float


class Selective(msgspec.Struct, frozen=True):
    """What accepting only the surest photos buys. Thresholds here are chosen in hindsight."""

    aurc: Figure
    coverage_at: dict[str, Figure]  # error tolerated, such as "0.05" -> share of photos that can be accepted
    curve: tuple[CurvePoint, ...]  # thinned to what a plot can show


class Sets(msgspec.Struct, frozen=True):
    """Whether the sets of counts keep the coverage the card promises."""

    promised: float
    coverage: Figure
    mean_size: Figure


class Blind(msgspec.Struct, frozen=True):
    """The best an answer does that never looks at the photo."""

    source: str  # what it was fitted on
    count: str  # its constant answer
    figures: dict[str, float]


class Slice(msgspec.Struct, frozen=True):
    """The figures of the photos that have something in common; None where there are too few."""

    by: str
    value: str
    photos: int
    accuracy: Figure | None
    rmse: Figure | None
    blind_accuracy: float | None  # of always the slice's own commonest count: an easy slice is no good model


class Shown(msgspec.Struct, frozen=True):
    """One photo of the gallery."""

    bin_image_id: str
    path: str
    recorded_count: int
    count: int
    expected_count: float
    probabilities: dict[str, float]
    abstain: str | None


class Unreadable(msgspec.Struct, frozen=True):
    """A photo without a figure, and why."""

    bin_image_id: str
    path: str
    error: str


class Subject(msgspec.Struct, frozen=True):
    """What was judged, on what, and how: enough to repeat it."""

    model: str
    bundle: str
    model_sha256: str
    licence: str
    data: str
    table: str  # which of the data folder's tables
    table_sha256: str
    split: str
    counts: str  # as asked, or all the model's
    keys: tuple[str, ...]
    seed: int
    resamples: int
    code_version: str


class Population(msgspec.Struct, frozen=True):
    """Where the photos of the split went: judged, unreadable, other counts, set aside and without count make up all."""

    judged: int
    groups: int  # bins among those judged: intervals are resampled by bin
    abstained: int  # judged all the same; the model did not take them for bins
    unreadable: int
    other_counts: int  # recorded counts that were not asked about
    set_aside: int  # quarantined by check
    without_count: int


class EvaluationReport(msgspec.Struct, frozen=True):
    """Everything an evaluation found; `metrics.json` is its JSON."""

    format: int
    subject: Subject
    population: Population
    abstained: dict[str, int]  # reason -> photos
    figures: dict[str, Figure]
    blind: tuple[Blind, Blind]  # the first is fitted on train, the second in hindsight on the judged photos themselves
    per_count: tuple[PerCount, ...]
    confusion: tuple[tuple[int, ...], ...]  # recorded (rows) x counted (columns), in the order of `subject.keys`
    calibration: Calibration
    selective: Selective
    sets: Sets
    slices: tuple[Slice, ...]
    not_sliced: dict[str, str]  # what could not be sliced by -> why
    worst: tuple[Shown, ...]
    surest: tuple[Shown, ...]
    unreadable: tuple[Unreadable, ...]
    photos_per_second: float
    report: str = ""
    predictions: str = ""

    def to_json(self) -> bytes:
        """Indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def from_json(cls, text: bytes | str) -> "EvaluationReport":
        """The report that `to_json` wrote.

        Raises:
            msgspec.DecodeError: no such report.
        """
        return msgspec.json.decode(text, type=cls)


def summary(report: EvaluationReport) -> SplitMetrics:
    """The compact form of a report for a bundle's card.

    `blind` holds the figures of the blind answer fitted on train, and as `accuracy_in_hindsight` the share of the
    commonest count among the judged photos, which no blind answer can beat.
    """
    train, hindsight = report.blind
    return SplitMetrics(
        photos=report.population.judged,
        counts=report.subject.counts,
        figures=report.figures | {"aurc": report.selective.aurc, "set_coverage": report.sets.coverage},
        blind=train.figures | {"accuracy_in_hindsight": hindsight.figures["accuracy"]},
    )
