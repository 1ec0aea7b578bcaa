"""`bintally follow`: files of events, one JSON object a line, and what is known of each bin after each of them."""

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bintally.counting.events import KINDS, AnyEvent, AnyTransaction, Counted
from bintally.counting.follow_settings import FollowSettings, TransactionErrors
from bintally.counting.following import History, Judgement, Posterior
from bintally.errors import ConfigError, DataError, UsageError, did_you_mean

STDIN: Final = "-"


class FollowedEvent(msgspec.Struct, frozen=True):
    """What is known of a bin's count right after an event, and of the event itself."""

    event: str
    time: float | str
    id: str | None
    used: str | None  # of a photo: "change" (with the photo before), "photo" (alone) or None
    count: int  # the most probable
    probability: float
    expected_count: float
    count_set: tuple[int, ...]
    probabilities: dict[str, float]  # counts that round to 0 left out
    recorded: int | None = None  # of a transaction: items in, below 0 out; of a count: the items counted
    as_recorded: float | None = None  # P(exactly so many moved | all events)
    moved: dict[str, float] | None = None  # P(so many moved | all events)


class FollowedBin(msgspec.Struct, frozen=True):
    """The events of one bin, in order of time."""

    bin: str | None
    events: tuple[FollowedEvent, ...]
    log_evidence: float  # larger with settings that fit the site better


class FollowReport(msgspec.Struct, frozen=True):
    """What `bintally follow` found."""

    looking_back: bool  # whether a posterior knows the events after its own, too
    coverage: float  # of the sets of counts
    bins: tuple[FollowedBin, ...]


def follow_file(
    *,
    events: Path | str,
    settings: Path | None = None,
    max_count: int | None = None,
    coverage: float | None = None,
    looking_back: bool = False,
) -> FollowReport:
    """Follows every bin of a file of events ("-": stdin); `max_count` and `coverage` go before the settings file's.

    Raises:
        UsageError: the file can't be read.
        ConfigError: the settings are wrong.
        DataError: a line is no event (with its number), or an event contradicts those before it.
    """
    values = _toml(settings) if settings is not None else {}
    values |= {name: value for name, value in (("max_count", max_count), ("coverage", coverage)) if value is not None}
    chosen = settings_of(values, where=f"{settings}: " if settings is not None else "")
    bins: dict[str | None, list[AnyEvent]] = {}
    for event in read_events(_text(events), name=str(events)):
        bins.setdefault(event.bin, []).append(event)
    if not bins:
        raise DataError(f"There is no event in {events}.", hint="Write one JSON object a line.")
    return FollowReport(
        looking_back=looking_back,
        coverage=chosen.coverage,
        bins=tuple(_followed(name, events, chosen, looking_back=looking_back) for name, events in bins.items()),
    )


def read_events(text: str, *, name: str = "events") -> list[AnyEvent]:
    """The events of `text`, one JSON object a line; empty lines are skipped, `name` stands in errors.

    Raises:
        DataError: a line is no event; it names the line and what is wrong there.
    """
    events = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                events.append(event_of(line))
            except DataError as error:
                raise DataError(f"{name}, line {number}: {error.message}", hint=error.hint) from None
    return events


def event_of(line: str | bytes) -> AnyEvent:
    """The event one JSON object describes.

    Raises:
        DataError: it describes none.
    """
    try:
        values = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"This is no JSON: {error}.", hint="Write one JSON object a line.") from None
    if not isinstance(values, dict):
        raise DataError("This is JSON, but no object.", hint='Write {"event": "photo", ...}.')
    kind = values.get("event")
    if kind is None:
        raise DataError("'event' is missing.", hint=f"Known: {', '.join(sorted(KINDS))}.")
    if kind not in KINDS:
        raise DataError(f"There is no event {kind!r}.", hint=did_you_mean(str(kind), KINDS))
    _check_names(values, ("event", *KINDS[kind].__struct_fields__), DataError, f"A {kind} has no ")
    event: AnyEvent = _converted(values, AnyEvent, DataError)
    return event


def settings_of(values: Mapping[str, Any], *, where: str = "") -> FollowSettings:
    """The settings `values` describe, as a TOML file has them; `where` stands before errors.

    Raises:
        ConfigError: an unknown key (with the nearest known ones), or a value out of range.
    """
    try:
        _check_names(values, FollowSettings.__struct_fields__, ConfigError, "There is no setting ")
        shares = values.get("transactions")
        if isinstance(shares, dict):
            _check_names(shares, TransactionErrors.__struct_fields__, ConfigError, "[transactions] has no ")
        settings: FollowSettings = _converted(dict(values), FollowSettings, ConfigError)
    except ConfigError as error:
        raise ConfigError(f"{where}{error.message}", hint=error.hint) from None
    return settings


def _followed(name: str | None, events: list[AnyEvent], settings: FollowSettings, *, looking_back: bool) -> FollowedBin:
    try:
        history = History(events, settings)
    except DataError as error:
        raise DataError(f"Bin {name}: {error.message}" if name else error.message, hint=error.hint) from None
    posteriors = history.looking_back() if looking_back else history.posteriors()
    judged = iter(history.judgements())
    return FollowedBin(
        bin=name,
        events=tuple(
            _line(event, posterior, next(judged) if isinstance(event, AnyTransaction) else None)
            for event, posterior in zip(history.events, posteriors, strict=True)
        ),
        log_evidence=round(history.log_evidence, 4),
    )


def _line(event: AnyEvent, known: Posterior, judgement: Judgement | None) -> FollowedEvent:
    return FollowedEvent(
        event=known.event,
        time=known.time,
        id=known.id,
        used=known.used,
        count=known.count,
        probability=round(known.probability, 4),
        expected_count=round(known.expected_count, 3),
        count_set=known.count_set,
        probabilities=_shown(dict(enumerate(known.probabilities))),
        recorded=event.count if isinstance(event, Counted) else None if judgement is None else judgement.recorded,
        as_recorded=None if judgement is None else round(judgement.as_recorded, 4),
        moved=None if judgement is None else _shown(judgement.moved),
    )


def _shown(shares: Mapping[int, float]) -> dict[str, float]:
    return {str(count): round(share, 4) for count, share in shares.items() if round(share, 4)}


def _check_names(values: Mapping[str, Any], known: tuple[str, ...], error: type[Any], sentence: str) -> None:
    for name in values:
        if name not in known:
            raise error(f"{sentence}{name!r}.", hint=did_you_mean(name, known))


def _converted(values: dict[str, Any], to: Any, error: type[Any]) -> Any:
    try:
        return msgspec.convert(values, to)
    except msgspec.ValidationError as problem:
        raise error(f"{problem}.", hint="`bintally follow --help` has an example; docs/guide.md lists all.") from None


def _text(events: Path | str) -> str:
    try:
        return sys.stdin.read() if str(events) == STDIN else Path(events).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{events} can't be read: {error}.", hint="Name a text file with an event a line.") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} can't be read as TOML: {error}.", hint="Look at that path and line.") from None
