"""Which photos a model learnt from, or was chosen and calibrated by: nothing may be judged on those.

A model learnt from train and val of its own split, and of the splits of the models that it started from or that taught
it. Each split's list is kept once, by the digest of its table:

```
PLACE/learnt/SHA256.parquet   of each photo: sha256, bin_image_id, group, split, dhash
```

Of a version whose lineage names a split without a list, it is not known which photos it saw.
"""

import io
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from bintally.artifacts import sha256_of, sync_folder, write_bytes
from bintally.bundle import CARD, Card
from bintally.errors import UsageError
from bintally.manifest import SCHEMA, SPLIT, Manifest
from bintally.registry.place import Registry
from bintally.registry.registration.run_files import RECIPE, REPORT, RunFiles
from bintally.registry.versions import Version

COLUMNS: Final = ("sha256", "bin_image_id", "group", "split", "dhash")

_DEEPEST: Final = 10  # models that started from each other


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """The splits that a model learnt from, by their tables' SHA-256s; `unknown`: what can't be found out, in words."""

    splits: tuple[str, ...]
    unknown: tuple[str, ...]


class Seen(msgspec.Struct, frozen=True):
    """The photos that a version learnt from (`COLUMNS`), as far as they are known; `unknown` says what is not."""

    photos: pl.DataFrame
    unknown: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether these are all."""
        return not self.unknown


def keep_learnt(
    registry: Registry, card: Card, *, run: Path | None, files: RunFiles | None, data: Path | None
) -> Learnt:
    """Finds out which photos a model learnt from, and keeps the list of its own split, if it is not kept yet.

    `data`: the data folder it was trained on (None: looked for beside the run, where the pipeline has it).

    Raises:
        UsageError: `data` holds another split.
        StorageError: a list can't be written.
    """
    own = files.dataset if files is not None else card.dataset.get("fingerprint")
    _keep(registry, own, run, data)
    before = _before(card.recipe if files is None else files.recipe)
    found, unknown = _splits_of(own, before, "the model", can_look=files is not None)
    return Learnt(splits=tuple(sorted(found)), unknown=tuple(unknown))


def seen(registry: Registry, version: Version) -> Seen:
    """The photos that a version learnt from."""
    lists = [pl.DataFrame(schema={name: SCHEMA[name] for name in COLUMNS})]
    if not version.lineage.get("learnt"):
        return Seen(lists[0], ("what it learnt from",))
    learnt = msgspec.convert(version.lineage["learnt"], Learnt)
    unknown = list(learnt.unknown)
    for split in learnt.splits:
        try:
            lists.append(pl.read_parquet(_list_of(registry, split)))
        except (OSError, pl.exceptions.PolarsError):
            unknown.append(f"which photos are in the split {split[:12]}")
    return Seen(pl.concat(lists).unique(maintain_order=True), tuple(unknown))


def _keep(registry: Registry, split: str | None, run: Path | None, data: Path | None) -> None:
    """Keeps the list of a model's own split, if its data folder is known."""
    folder = data if data is not None else run.parent / "data" if run is not None else None
    if folder is None or split is None:
        return
    table = folder / SPLIT
    if not table.is_file() or sha256_of(table) != split:
        if data is not None:
            raise UsageError(
                f"{data} holds another split than the model was trained on.", hint="Name the data folder of its run."
            )
        return
    target = _list_of(registry, split)
    if target.is_file():
        return
    photos = Manifest.read(folder, SPLIT).table.filter(pl.col("split").is_in(["train", "val"])).select(COLUMNS)
    buffer = io.BytesIO()
    photos.write_parquet(buffer, compression="zstd")
    write_bytes(target, buffer.getvalue())
    sync_folder(target.parent)


def _splits_of(
    own: Any, before: list[str], called: str, *, can_look: bool, depth: int = 0
) -> tuple[set[str], list[str]]:
    """The splits behind a model and behind the models `before` it, and what can't be told.

    `can_look`: whether the places in `before` can be followed; a card has only their last parts.
    """
    found = {own} if isinstance(own, str) and own else set()
    unknown = [] if found else [f"what {called} was trained on"]
    for place in before:
        try:
            if not can_look or depth >= _DEEPEST:
                raise FileNotFoundError(place)
            split, earlier, is_run = _told_by(Path(place))
        except (OSError, msgspec.MsgspecError):
            unknown.append(f"what {place} was trained on, which {called} learnt from")
            continue
        more, less = _splits_of(split, earlier, place, can_look=is_run, depth=depth + 1)
        found, unknown = found | more, unknown + less
    return found, unknown


def _before(recipe: dict[str, Any]) -> list[str]:
    """The runs and bundles that a training starts from or is taught by. Those that export joins saw the same split."""
    start = (recipe.get("network") or {}).get("start")
    teachers = (recipe.get("teacher") or {}).get("runs") or ()
    return [str(place) for place in (start, *teachers) if place]


def _told_by(place: Path) -> tuple[Any, list[str], bool]:
    """The split that a run or a bundle was trained on, what was before it, and whether it is a run."""
    if (place / REPORT).is_file():
        report = msgspec.json.decode((place / REPORT).read_bytes(), type=dict[str, Any])
        recipe = msgspec.json.decode((place / RECIPE).read_bytes(), type=dict[str, Any])
        return report.get("dataset"), _before(recipe), True
    card = msgspec.json.decode((place / CARD).read_bytes(), type=Card)
    return card.dataset.get("fingerprint"), _before(card.recipe), False


def _list_of(registry: Registry, split: str) -> Path:
    return registry.learnt / f"{split}.parquet"
