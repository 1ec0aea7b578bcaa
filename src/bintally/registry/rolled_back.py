"""Versions that somebody rolled back from: no machine makes them, or the same under another name, champion again."""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from bintally.registry.aliases import Change, history
from bintally.registry.versions import Version, by_id

_DAY: Final = "%Y-%m-%d %H:%M"


def rolled_back(changes: list[Change]) -> dict[int, Change]:
    """Of a champion's history: the versions that were rolled back from, or past, and not made champion again since."""
    marked: dict[int, Change] = {}
    for place, change in enumerate(changes):
        if change.kind == "rollback":
            marked = dict.fromkeys(_since(changes[:place], change.version_id), change) | marked
        if change.version_id is not None:
            marked.pop(change.version_id, None)
    return marked


def how(change: Change, version_id: int) -> str:
    """What somebody did to a version with a rollback, in words."""
    return f"{change.by} rolled back {'from' if change.before_id == version_id else 'past'}"


def _since(changes: list[Change], version_id: int | None) -> list[int]:
    """The champions since `version_id` was it last."""
    found: list[int] = []
    for change in reversed(changes):
        if change.version_id == version_id:
            break
        if change.version_id is not None:
            found.append(change.version_id)
    return found


def same_as_rolled_back(connection: Connection, version: Version) -> str | None:
    """Why a version may not be promoted without a person's word: in a sentence; None: nobody rolled back from it.

    The same is: that version, another with the same network (exported again, it has another card and another digest),
    or one of the same training, done again.
    """
    for version_id, change in rolled_back(history(connection, version.model)).items():
        before = by_id(connection, version_id)
        what = _sameness(version, before)
        if what is not None:
            told = f"{how(change, before.id)} {before.name} on {_day(change.at)} ({change.reason}){what}"
            return f"{told}; --force overrules that."
    return None


def _sameness(version: Version, before: Version) -> str | None:
    if version.id == before.id:
        return ""
    if version.card.model_sha256 == before.card.model_sha256:
        return f", and {version.name} has the same network"
    told, held = _training(version), _training(before)
    return f", and {version.name} is the same training" if told is not None and told == held else None


def _training(version: Version) -> str | None:
    """What decided a version's weights, where that is known."""
    told = (version.lineage.get("code") or {}).get("identity")
    return str(told) if told else None


def _day(moment: datetime) -> str:
    return f"{moment:{_DAY}} UTC"
