"""Files of events: what they may hold, and how a mistake in them is told."""

import json
from pathlib import Path

import msgspec
import pytest

from bintally.counting.event_lines import event_of, follow_file, read_events, settings_of
from bintally.counting.events import Counted, Photo, Picked, Replaced, Transaction
from bintally.counting.follow_settings import FollowSettings, TransactionErrors
from bintally.errors import ConfigError, DataError, UsageError
from bintally.records import CountEstimate

LINES = """
{"event": "picked", "time": 2, "quantity": 1, "bin": "A-7"}
{"event": "counted", "time": 1, "count": 4, "bin": "A-7"}

{"event": "photo", "time": 3, "id": "b", "bin": "A-7", "probabilities": {"3": 0.8, "4": 0.2}, "prior": {"3": 1, "4": 1}}
{"event": "photo", "time": "2026-11-20T08:30:00Z", "bin": "B-1", "probabilities": {"6+": 1}, "prior": {"1": 1, "6+": 1}}
"""


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text(LINES)
    return path


def test_lines_become_events_and_lines_again() -> None:
    read = read_events(LINES)
    assert read[0] == Picked(time=2.0, quantity=1, bin="A-7")
    assert read[1] == Counted(time=1.0, count=4, bin="A-7")
    assert [event_of(msgspec.json.encode(event)) for event in read] == read


def test_every_bin_is_followed_by_itself_in_order_of_time(events: Path) -> None:
    report = follow_file(events=events)
    first, second = report.bins
    assert (first.bin, second.bin) == ("A-7", "B-1")
    counted, picked, photo = first.events
    assert [each.event for each in first.events] == ["counted", "picked", "photo"]
    assert (counted.count, picked.count, photo.count) == (4, 3, 3)
    assert (counted.recorded, picked.recorded, photo.recorded) == (4, -1, None)
    assert counted.as_recorded is None
    assert picked.as_recorded is not None
    assert picked.as_recorded > 0.95
    assert picked.moved is not None
    assert picked.moved["-1"] == picked.as_recorded
    assert photo.used == "photo"
    assert photo.count_set == (3,)
    assert sum(photo.probabilities.values()) == pytest.approx(1.0, abs=0.01)
    told = second.events[0].probabilities
    assert told["1"] < 0.001 < told["0"] == told["5"]  # 0 and 5 were not asked about
    assert told["6"] > told["7"] > told["8"]


def test_looking_back_knows_what_came_later(events: Path) -> None:
    then, now = (follow_file(events=events, looking_back=back).bins[0].events for back in (False, True))
    assert now[1].probability > then[1].probability
    assert now[2].probabilities == then[2].probabilities


def test_settings_come_from_a_file_and_from_options(events: Path, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('max_count = 12\ncoverage = 0.5\nstart = {"3" = 1}\n[transactions]\nnothing = 0.3\n')
    report = follow_file(events=events, settings=path, coverage=0.99)
    assert report.coverage == 0.99
    assert len(report.bins[0].events[2].count_set) > 1
    judged = report.bins[0].events[1].as_recorded
    sober = follow_file(events=events).bins[0].events[1].as_recorded
    assert judged is not None
    assert sober is not None
    assert judged < sober


@pytest.mark.parametrize(
    ("line", "told", "hint"),
    [
        ("{", "This is no JSON", "one JSON object a line"),
        ("[1]", "no object", "photo"),
        ("{}", "'event' is missing", "picked"),
        ('{"event": "pickd", "time": 1}', "There is no event 'pickd'", "Did you mean 'picked'"),
        ('{"event": 3, "time": 1}', "There is no event 3", "Known"),
        ('{"event": "picked", "time": 1, "quantitiy": 1}', "A picked has no 'quantitiy'", "Did you mean 'quantity'"),
        ('{"event": "picked", "time": 1}', "missing required field `quantity`", "--help"),
        ('{"event": "picked", "time": 1, "quantity": "one"}', "Expected `int`, got `str` - at `$.quantity`", ""),
        ('{"event": "picked", "time": 1, "quantity": -1}', "'quantity' is -1", "signed"),
        ('{"event": "counted", "time": 1, "count": -1}', "no fewer than 0", "Correct"),
        ('{"event": "counted", "time": "yesterday", "count": 1}', "'yesterday' is no time", "ISO 8601"),
        ('{"event": "photo", "time": 1, "probabilities": {"many": 1}}', "'many', which is no count", "6+"),
        ('{"event": "photo", "time": 1, "probabilities": {"1": -1, "2": 2}}', "a number below 0", "0 to 1"),
        ('{"event": "photo", "time": 1, "probabilities": {"1": 0}}', "gives no count any probability", "Leave it out"),
        (
            '{"event": "photo", "time": 1, "probabilities": {"1": 0.5, "2": 0.5}, "prior": {"1": 1, "3": 1}}',
            "'prior' gives 2 no probability",
            "mix of counts",
        ),
        ('{"event": "photo", "time": 1, "probabilities": {"6+": 1}}', "leaves one count only", "all counts"),
        ('{"event": "photo", "time": 1, "change": {"1": {"1": 1}}}', "'change' needs 'previous'", "id"),
        (
            '{"event": "photo", "time": 1, "previous": "a", "change": {"1": {"1": 1}}}',
            "'change_prior[1]' gives no count any probability",
            "",
        ),
        (
            '{"event": "photo", "time": 1, "previous": "a", "change": {"1": {}}, "change_prior": {"1": {"1": 1}}}',
            "'change[1]' gives no count any probability",
            "",
        ),
        ('{"event": "replaced", "time": 1, "start": {"2": 0}}', "'start' gives no count", "Leave it out"),
    ],
)
def test_a_line_that_is_no_event_is_named_with_what_is_wrong(line: str, told: str, hint: str) -> None:
    good = '{"event": "emptied", "time": 0}\n\n'
    with pytest.raises(DataError) as caught:
        read_events(good + line, name="events.jsonl")
    assert caught.value.message.startswith("events.jsonl, line 3: ")
    assert told in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("values", "told", "hint"),
    [
        ({"max_cuont": 3}, "There is no setting 'max_cuont'", "Did you mean 'max_count'"),
        ({"max_count": 0}, "'max_count' is 0", "30"),
        ({"max_count": "all"}, "Expected `int`", ""),
        ({"coverage": 1.5}, "'coverage' is 1.5, not from 0 to 1", "share"),
        ({"drift_size": 0.0}, "'drift_size' is 0.0", ""),
        ({"drift_per_day": -1.0}, "'drift_per_day' is -1.0", ""),
        ({"start": {"lots": 1.0}}, "'start' is no mix of counts", "6+"),
        ({"start": {"1": 0.0}}, "'start' gives no count any probability", ""),
        ({"transactions": {"nothin": 0.1}}, "[transactions] has no 'nothin'", "Did you mean 'nothing'"),
        ({"transactions": {"nothing": -0.1}}, "'transactions.nothing' is -0.1", ""),
        ({"transactions": {"nothing": 0.6, "twice": 0.6}}, "sum to more than 1", "Lower"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], told: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(values, where="site.toml: ")
    assert caught.value.message.startswith("site.toml: ")
    assert told in caught.value.message
    assert hint in caught.value.hint


def test_settings_as_records_are_checked_alike() -> None:
    assert settings_of({"transactions": {"nothing": 0.1}}) == FollowSettings(
        transactions=TransactionErrors(nothing=0.1)
    )
    with pytest.raises(ConfigError, match="tail"):
        FollowSettings(tail=2.0)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    empty, torn = tmp_path / "empty.jsonl", tmp_path / "site.toml"
    empty.write_text("\n")
    torn.write_text("max_count =")
    with pytest.raises(DataError, match="There is no event in"):
        follow_file(events=empty)
    with pytest.raises(UsageError, match="can't be read"):
        follow_file(events=tmp_path / "nowhere.jsonl")
    with pytest.raises(ConfigError, match="can't be read as TOML"):
        follow_file(events=empty, settings=torn)


def test_a_contradiction_names_the_bin(tmp_path: Path) -> None:
    events, site = tmp_path / "events.jsonl", tmp_path / "site.toml"
    events.write_text(
        "".join(json.dumps({"event": "counted", "time": n, "count": n, "bin": "C"}) + "\n" for n in (1, 2))
    )
    site.write_text("count_error = 0\ndrift_per_event = 0\n")
    with pytest.raises(DataError, match=r"Bin C: counted at 2\.0: it contradicts everything before it"):
        follow_file(events=events, settings=site)


def test_a_counted_photo_becomes_an_event() -> None:
    estimate = CountEstimate(path="bins/1.jpg", count=3, probabilities={"3": 0.7, "4": 0.3})
    event = Photo.of(estimate, time=5, prior={"3": 0.5, "4": 0.5}, bin="A-7")
    assert event == Photo(
        time=5, id="bins/1.jpg", bin="A-7", probabilities={"3": 0.7, "4": 0.3}, prior={"3": 0.5, "4": 0.5}
    )
    restricted = Photo.of(estimate, time=5, prior={"2": 0.5, "3": 0.25, "4": 0.25})
    assert restricted.prior == {"3": 0.25, "4": 0.25}
    dark = Photo.of(msgspec.structs.replace(estimate, abstain="black frame"), time=5, prior={"3": 0.5, "4": 0.5})
    assert dark == Photo(time=5, id="bins/1.jpg")


def test_kinds_of_transactions_have_one_sign() -> None:
    assert Picked(time=0, quantity=2).signed == -2
    assert Transaction(time=0, quantity=-2).signed == -2
    assert str(Replaced(time=3)) == "replaced at 3"
