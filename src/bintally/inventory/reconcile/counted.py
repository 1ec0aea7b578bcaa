"""Photos counted before their records are judged: into a file where a killed run goes on.

`OUT.counts.jsonl` is what `bintally count` writes. Beside it stands which photos it was made from, with their size and
time of change: a photo that was overwritten since is no longer what was counted, and all is counted anew.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from bintally.artifacts import sha256_of, write_bytes
from bintally.counting.batch import count
from bintally.counting.inputs import expand
from bintally.counting.output import shown
from bintally.counting.pair_lines import count_pairs_file
from bintally.inventory.reconcile.settings import ReconcileConfig
from bintally.progress import Progress

_BESIDE: Final = (".settings.json", ".photos.json")


class Counted(NamedTuple):
    """A file of counts, and which of its photos are asked about (None: all)."""

    path: Path
    only: frozenset[str] | None = None


def counted(config: ReconcileConfig, scratch: Path, progress: Progress) -> Counted:
    """The counts that were given, or those of the photos that were.

    Without an output they go to the folder `scratch`.

    Raises:
        UsageError, DataError, ModelError: as `count` and `count_pairs_file`.
    """
    if config.counts is not None:
        return Counted(config.counts)
    out = config.out[0].with_suffix(".counts.jsonl") if config.out else scratch / "counts.jsonl"
    if config.pairs is not None:
        _keep_if(out, {"pairs": sha256_of(config.pairs)})
        count_pairs_file(pairs=config.pairs, bundle=config.bundle, out=out, progress=progress)
        return Counted(out)
    photos = expand(config.photos)
    _keep_if(out, {shown(photo): _stamp(Path(photo)) for photo in photos})
    count(photos=photos, bundle=config.bundle, out=out, progress=progress)
    return Counted(out, frozenset(map(shown, photos)))


def _stamp(photo: Path) -> list[int]:
    """A file's size and time of change; nothing for what is no file."""
    try:
        told = photo.stat()
    except OSError:
        return []
    return [told.st_size, told.st_mtime_ns]


def _keep_if(out: Path, stamps: Mapping[str, Any]) -> None:
    """Keeps the counts made so far if they are of the same photos, besides new ones."""
    beside = out.with_name(f"{out.name}{_BESIDE[1]}")
    try:
        before = msgspec.json.decode(beside.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        before = None
    if before is None or any(stamps.get(name, stamp) != stamp for name, stamp in before.items()):
        for path in (out, *(out.with_name(f"{out.name}{suffix}") for suffix in _BESIDE)):
            path.unlink(missing_ok=True)
        before = {}
    write_bytes(beside, msgspec.json.encode({**before, **stamps}))
