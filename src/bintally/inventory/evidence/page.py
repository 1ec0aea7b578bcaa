"""A correction as a page for people, and the list of several; both need no other file, and are part of the bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

from bintally.errors import PhotoError
from bintally.inventory.evidence.facts import Comparison, Correction, Photo
from bintally.inventory.evidence.layout import Contents
from bintally.inventory.evidence.words import story
from bintally.pages import data_uri, render
from bintally.photos import open_image
from bintally.records import COUNT_KEYS, key_of

_PHOTO_PX: Final = 480  # longest side: some 25 kB each
_LEAST: Final = 0.0005  # shares of a change below it are not told


@dataclass(frozen=True)
class Bar:
    """The probability of a count."""

    key: str
    share: float
    kind: str  # "counted", "recorded" or ""


@dataclass(frozen=True)
class Bars:
    """A distribution over counts."""

    title: str
    says: str
    bars: list[Bar]

    @property
    def largest(self) -> float:
        """The probability that the highest bar stands for."""
        return max((bar.share for bar in self.bars), default=1.0) or 1.0


@dataclass(frozen=True)
class Shown:
    """A photo on the page. `uri` "": it can't be shown, since `why`."""

    photo: Photo
    title: str
    uri: str
    why: str


def correction_page(told: Correction, previews: Mapping[int, bytes], head: str, *, up: int) -> str:
    """The page of a correction. `previews`: photos' bytes by number; `up`: folders from the page to the bundle's."""
    return render(
        "evidence.html",
        told=told,
        decision=told.deciding,
        undone=next((each for each in told.decisions if each.undoes == told.decision), None),
        photos=[_shown(photo, previews.get(photo.id), told) for photo in told.photos],
        distributions=_distributions(told),
        changes=[(each, _changes(each)) for each in told.comparisons],
        events=story(told),
        head=head,
        root="../" * up,
        money=money,
        moment=moment,
        pretty=pretty,
    )


def list_page(contents: Contents) -> str:
    """The list of a bundle's corrections."""
    return render("evidence_list.html", contents=contents, money=money, moment=moment)


def money(value: str | None, currency: str) -> str:
    """An amount to the hundredth; a dash where no value is known."""
    return "-" if value is None else f"{Decimal(value):,.2f} {currency}"


def moment(at: Any) -> str:
    """A moment, to the second."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def pretty(value: Any) -> str:
    """JSON over several lines."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2).decode()


def _shown(photo: Photo, data: bytes | None, told: Correction) -> Shown:
    title = "The photo that was judged by" if photo.id == told.belief.photo else "The photo before"
    why = {
        "removed": f"removed on {photo.removed_at:%Y-%m-%d} by retention" if photo.removed_at else "",
        "missing": "its file was not there at the export",
        "damaged": "its file had other bytes at the export",
        "included": "can't be shown",
    }[photo.state]
    uri = ""
    if data is not None:
        try:
            image = open_image(data, draft_px=(_PHOTO_PX, _PHOTO_PX))
            uri = data_uri(image, longest_px=_PHOTO_PX, quality=72)
        except PhotoError as error:
            why = error.message
    return Shown(photo, title, uri, why)


def _distributions(told: Correction) -> list[Bars]:
    found = []
    for photo in told.photos:
        for each in photo.estimates if photo.id == told.belief.photo else ():
            shares = each.estimate.get("probabilities") or {}
            if shares:
                bars = _bars(list(shares), list(shares.values()), told)
                found.append(Bars("What the model sees on the photo", each.model, bars))
    counts = list(range(len(told.belief.probabilities)))
    last = max((count for count, share in enumerate(told.belief.probabilities) if share >= _LEAST), default=0)
    shown = counts[: max(last, _most(told), len(COUNT_KEYS) - 1) + 1]
    keys, shares_c = [str(count) for count in shown], [told.belief.probabilities[count] for count in shown]
    says = f"by all that was known ({told.belief.kind})"
    return [*found, Bars("What was believed of the bin", says, _bars(keys, shares_c, told))]


def _most(told: Correction) -> int:
    """The highest count that is marked, as far as the belief goes."""
    marked = max(told.deciding.count or 0, int(told.verdict.verdict.get("recorded_count") or 0))
    return min(marked, len(told.belief.probabilities) - 1)


def _bars(keys: Sequence[str], shares: Sequence[float], told: Correction) -> list[Bar]:
    recorded = _key(told.verdict.verdict.get("recorded_count"), keys)
    counted = _key(told.deciding.count, keys)
    kinds = {recorded: "recorded", counted: "counted"}
    return [Bar(key, share, kinds.get(key, "")) for key, share in zip(keys, shares, strict=True)]


def _key(count: int | None, keys: Sequence[str]) -> str | None:
    return None if count is None else key_of(count, keys)


def _changes(each: Comparison) -> list[tuple[str, str, float]]:
    """For each count before, the most probable one now, and its probability."""
    rows = []
    for before, shares in each.change.items():
        now = max(shares, key=lambda key: shares[key], default=None)
        if now is not None:
            rows.append((before, now, shares[now]))
    return rows
