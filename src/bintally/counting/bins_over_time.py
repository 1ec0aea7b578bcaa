"""One posterior per bin over time, judged: what is known of a bin after one, two and three of its photos.

Nothing is recorded of what moved between the photos, so the filter (`following`) is told what the card's table of
changes says: how often a count changes from a photo to the next, and by how much.

Shapes: C counts 0..max_count, K count keys a model knows, D the largest change it tells apart; B bins.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bintally.bundle import Card
from bintally.counting import metrics
from bintally.counting.bins_report import AfterPhotos, Beside, BinsOverTime
from bintally.counting.change import Floats, change_tables, moved_counts, prior_of
from bintally.counting.events import AnyEvent, Counted, Photo
from bintally.counting.follow_settings import FollowSettings
from bintally.counting.following import History
from bintally.counting.intervals import bootstrap_mean
from bintally.counting.pair_figures import beside, normalised
from bintally.counting.ranked import Resampling, ranked_counts
from bintally.counting.sets import count_sets
from bintally.records import key_of

LONGEST: Final = 3
"""Photos after which is told what is known."""

_DAY_S: Final = 86_400.0  # photos are taken to be a day apart: any two times would do
_FURTHER: Final = (0.05, 0.95)


@dataclass(frozen=True)
class BinPhotos:
    """A bin's photos, in order: what each shows alone, and the evidence of it and the one before."""

    group: str
    ids: tuple[str, ...]
    recorded: tuple[int, ...]
    raw: tuple[NDArray[np.floating], ...]  # [K] of each
    evidence: tuple[NDArray[np.floating] | None, ...]  # [2D+1] of each with the one before; None: not compared


@dataclass(frozen=True)
class Known:
    """What is known of one bin after a photo: an answer over the K keys, and one that sees no photo."""

    how: str
    photos: int
    bin: BinPhotos
    told_k: NDArray[np.float64]
    blind_k: NDArray[np.float64]


def over_time(bins: Sequence[BinPhotos], card: Card, asked: Sequence[str], how: Resampling) -> BinsOverTime:
    """The filter's posteriors on all of `bins`, and their figures: of all counts, and of those `asked` about."""
    settings = settings_of(card)
    known = [each for one in bins for each in known_of(one, card, settings)]
    return BinsOverTime(
        bins=len(bins),
        photos=sum(len(one.ids) for one in bins),
        moved=1.0 - math.exp(-settings.drift_per_day),
        further=settings.drift_size,
        coverage=settings.coverage,
        steps=tuple(_steps(known, card, asked, how)),
    )


def settings_of(card: Card) -> FollowSettings:
    """The filter's settings of a world where counts are mixed and change as the card says.

    Its moves have one share and fall off geometrically, either way alike: these are fitted to the table's own share of
    changes and their mean size.
    """
    assert card.change is not None  # noqa: S101 - only bundles that compare photos come here
    reach = np.abs(np.arange(2 * card.change.max_change + 1) - card.change.max_change)
    moved = distance = 0.0
    for key, share in card.target_prior.items():
        prior_d = prior_of(card.change, round(card.count_values[key]))
        moved += share * float(prior_d[reach > 0].sum())
        distance += share * float(prior_d @ reach)
    further = 1.0 - moved / distance if distance else 0.0
    return FollowSettings(
        start=dict(card.target_prior),
        coverage=card.set_coverage,
        drift_per_event=0.0,
        drift_per_day=-math.log(max(1.0 - moved, 1e-3)),
        drift_size=min(max(further, _FURTHER[0]), _FURTHER[1]),
    )


def known_of(one: BinPhotos, card: Card, settings: FollowSettings) -> Iterator[Known]:
    """What is known of a bin after each of its first photos: by that photo alone, followed, and from a known count."""
    keys = card.count_keys
    prior_k = normalised(np.array([[card.target_prior[key] for key in keys]])).ravel()
    photos = [_photo(one, place, card, settings.max_count) for place in range(len(one.ids[:LONGEST]))]
    for number, raw_k in enumerate(one.raw[:LONGEST], 1):
        yield Known("alone", number, one, np.asarray(raw_k, np.float64) / raw_k.sum(), prior_k)
    for number, told_c in enumerate(_posteriors(photos, settings), 1):
        yield Known("followed", number, one, _by_key(told_c, keys), prior_k)
    first = min(one.recorded[0], settings.max_count)
    counted = Counted(time=photos[0].time, count=first)
    ahead_c = np.eye(settings.max_count + 1)[first]
    for number, told_c in enumerate(_posteriors([counted, *photos], settings), 1):
        if number > 1:  # after the first photo it is what was confirmed
            ahead_c = ahead_c @ _table(card, settings.max_count)
            yield Known("confirmed", number, one, _by_key(told_c, keys), _by_key(ahead_c, keys))


def _photo(one: BinPhotos, place: int, card: Card, max_count: int) -> Photo:
    shares = dict(zip(card.count_keys, map(float, one.raw[place]), strict=True))
    evidence_d = one.evidence[place]
    pair = {}
    if evidence_d is not None:
        change, change_prior = change_tables(card, evidence_d, one.raw[place], max_count)
        pair = {"previous": one.ids[place - 1], "change": change, "change_prior": change_prior}
    return Photo(
        time=place * _DAY_S,
        id=one.ids[place],
        probabilities=shares,
        prior=dict(card.target_prior),
        **pair,  # type: ignore[arg-type]
    )


def _posteriors(events: Sequence[AnyEvent], settings: FollowSettings) -> list[NDArray[np.float64]]:
    """Probabilities [C] after each photo."""
    found = History(events, settings).posteriors()
    return [np.array(each.probabilities) for each in found if each.event == "photo"]


def _table(card: Card, max_count: int) -> Floats:
    """P(new | earlier) without any photo, [C, C]."""
    assert card.change is not None  # noqa: S101
    counts = range(max_count + 1)
    rows = [moved_counts(prior_of(card.change, earlier), earlier, max_count) for earlier in counts]
    return np.array([[row.get(str(count), 0.0) for count in counts] for row in rows])


def _by_key(told_c: Floats, keys: Sequence[str]) -> Floats:
    """Probabilities of counts as those of keys; what no key names is left out."""
    place = {key: index for index, key in enumerate(keys)}
    told_k = np.zeros(len(keys))
    for count, share in enumerate(told_c):
        if (index := place.get(key_of(count, keys))) is not None:
            told_k[index] += share
    return normalised(told_k[None]).ravel()


def _steps(known: Sequence[Known], card: Card, asked: Sequence[str], how: Resampling) -> Iterator[AfterPhotos]:
    choices: Mapping[str, Sequence[str]] = {"all": card.count_keys, _named(asked): asked}
    for counts, keys in choices.items():
        for of_bins in range(1, LONGEST + 1):
            for photos in range(1, of_bins + 1):
                for name in ("alone", "followed", "confirmed"):
                    rows = [
                        each
                        for each in known
                        if (each.how, each.photos) == (name, photos)
                        and len(each.bin.ids) >= of_bins
                        and key_of(each.bin.recorded[photos - 1], card.count_keys) in keys
                    ]
                    if rows:
                        told = _figures(rows, card, keys, how)
                        yield AfterPhotos(name, counts, of_bins, photos, len(rows), told)


def _named(asked: Sequence[str]) -> str:
    return f"{asked[0]}-{asked[-1]}" if len(asked) > 1 else asked[0]


def _figures(rows: Sequence[Known], card: Card, keys: Sequence[str], how: Resampling) -> dict[str, Beside]:
    columns = [card.count_keys.index(key) for key in keys]
    labels_n = np.array([keys.index(key_of(row.bin.recorded[row.photos - 1], card.count_keys)) for row in rows])
    groups_n = np.array([row.bin.group for row in rows])
    answers = []
    for part in ("told_k", "blind_k"):
        shares_nk = normalised(np.array([getattr(row, part) for row in rows])[:, columns])
        sets = count_sets(shares_nk, keys, card.set_coverage)
        terms = {
            "accuracy": metrics.correct_terms(shares_nk, labels_n),
            "log_loss": metrics.log_loss_terms(shares_nk, labels_n),
            "set_size": np.array([len(chosen) for chosen in sets]),
            "set_coverage": np.array([keys[label] in chosen for label, chosen in zip(labels_n, sets, strict=True)]),
        }
        means = {name: bootstrap_mean(term, **how.of(groups_n)) for name, term in terms.items()}
        answers.append(means | ranked_counts(shares_nk, labels_n, groups_n, how))
    return beside(*answers)
