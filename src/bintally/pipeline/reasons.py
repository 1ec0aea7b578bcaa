"""Why a stage runs or is skipped, in words: what changed since it last finished."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bintally.artifacts import provenance_path, sha256_of
from bintally.pipeline.job import State
from bintally.pipeline.words import moment

FIRST: Final = "for the first time"

INPUT: Final = "input"
"""How a reason begins that is another stage's doing."""

MISSING: Final = "output missing:"

_SHOWN: Final = 3
_LONGEST: Final = 40  # characters of a value
_DIGEST: Final = 64


def finished_at(workspace: Path, stage: str) -> str:
    """When a stage last finished here."""
    return moment(datetime.fromtimestamp(provenance_path(workspace, stage).stat().st_mtime, UTC))


def why_it_runs(workspace: Path, stage: str, state: State) -> str:
    """What changed since a stage that is not current last finished."""
    path = provenance_path(workspace, stage)
    if not path.is_file():
        return FIRST
    try:
        seen = json.loads(path.read_text())
        found = list(_changes(workspace, seen, state))
        # An input that changed took the outputs of later stages with it: what is stale is not left lying about.
        found = [each for each in found if not each.startswith(MISSING)] or found
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return "what is known of the last time can't be read"
    return "; ".join(found) or "something changed"


def _changes(workspace: Path, seen: Mapping[str, Any], state: State) -> Iterator[str]:
    yield from _changed_inputs(seen["inputs"], state.inputs)
    yield from _changed_settings(seen["settings"], json.loads(json.dumps(state.settings, default=str)))
    if seen["code"] != state.code:
        changed = sorted(_unequal(seen.get("code_files", {}), state.files)) if seen.get("code_files") else []
        yield f"code changed: {_few(changed)}" if changed else "code changed"
    for name, digest in seen["outputs"].items():
        if not (workspace / name).is_file():
            yield f"{MISSING} {name}"
        elif sha256_of(workspace / name) != digest:
            yield f"output {name} was changed since"


def _changed_settings(before: Any, now: Any) -> Iterator[str]:
    told = list(_differences(before, now))
    if "source.files" in told:
        told.remove("source.files")
        yield f"files in {now['source']['name']} changed"
    if told:
        yield f"settings changed: {_few(told)}"


def _changed_inputs(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(_unequal(before, now)):
        what = "is new" if name not in before else "changed" if name in now else "is gone"
        yield f"{INPUT} {name} {what}"


def _unequal(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    return {name for name in {*before, *now} if before.get(name) != now.get(name)}


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Each leaf of two trees that differs: `loop.epochs 4 -> 6`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
    elif before != now:
        is_digest = all(isinstance(value, str) and len(value) == _DIGEST for value in (before, now))
        yield name if is_digest else f"{name} {_told(before)} -> {_told(now)}"


def _told(value: Any) -> str:
    text = value if isinstance(value, str) and value else "none" if value is None else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _few(found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
