"""What a service and its shadow's process say to each other: JSON, and a photo's bytes after each question."""

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from bintally.registry.shadow.pairs import Told


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of two versions, and where its bundle is."""

    version_id: int
    name: str  # MODEL/NUMBER
    bundle_sha256: str
    folder: str

    @property
    def bundle(self) -> Path:
        """The folder of its bundle."""
        return Path(self.folder)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Who counts in the shadow, and where pairs are kept. `most_bytes`: of one challenger beside one champion."""

    challenger: Side
    place: str  # the registry's folder
    service: str  # a name for its file that no other process has
    most_bytes: int
    trust: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A photo that the champion has counted. Fields as in `registry.shadow.pairs.Pair`."""

    request_id: str
    at: datetime
    champion: Side
    told: Told
    counts: str | None = None
    site: str | None = None
    bin: str | None = None
    bin_image_id: str | None = None
    recorded_count: int | None = None
    verdict: str | None = None
    dropped: int = 0


class Word(msgspec.Struct, frozen=True):
    """From the shadow's process: it is ready to count, or can't be; a pair is kept, or is not; the place is full."""

    said: Literal["ready", "failed", "kept", "not_kept", "full"]
    why: str = ""


ENCODER: Final = msgspec.json.Encoder()
QUESTION: Final = msgspec.json.Decoder(Question)
WORD: Final = msgspec.json.Decoder(Word)
