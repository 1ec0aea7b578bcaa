"""The cards of a registry: written when a version is registered, and again when something is known better.

```
PLACE/cards/MODEL/NUMBER.json   all a card says (`told.ModelCard`); it remembers the evaluation
PLACE/cards/MODEL/NUMBER.md     the same to read
PLACE/cards/MODEL/NUMBER.html   and to look at
```
"""

from pathlib import Path
from typing import Final

import msgspec

from bintally.artifacts import write_bytes
from bintally.registry.card.gather import of_version
from bintally.registry.card.judged import read_evaluation
from bintally.registry.card.settings import CardSettings
from bintally.registry.card.told import ModelCard
from bintally.registry.card.written import written
from bintally.registry.place import CARDS, Registry
from bintally.registry.versions import Version

KINDS: Final = (".md", ".html", ".json")  # the last one says that all are there


def card_of(
    registry: Registry, version: Version, *, report: Path | None = None, settings: CardSettings | None = None
) -> ModelCard:
    """The card of a version, as things are now. `report`: of an evaluation; None: the one that was told before.

    Raises:
        UsageError: the report is none, or of another model.
        BundleError: the signature can't be read.
    """
    before = _read(place_of(registry, version).with_suffix(".json"))
    told = None if before is None else before.evaluation
    return of_version(
        version,
        registry.bundle_of(version.bundle_sha256),
        evaluation=told if report is None else read_evaluation(report, version.card),
        settings=settings or registry.settings.card,
    )


def keep_card(registry: Registry, version: Version, *, report: Path | None = None) -> Path:
    """Writes the card of a version into the registry; returns the Markdown's path.

    Raises:
        UsageError: the report is none, or of another model.
        StorageError: it can't be written.
    """
    card, place = card_of(registry, version, report=report), place_of(registry, version)
    for suffix in KINDS:
        write_bytes(place.with_suffix(suffix), written(card, suffix))
    return place


def place_of(registry: Registry, version: Version) -> Path:
    """Where the Markdown of a version's card is."""
    return registry.place / CARDS / version.model / f"{version.number}.md"


def _read(path: Path) -> ModelCard | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelCard)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
