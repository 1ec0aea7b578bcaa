"""Every error bintally raises on purpose, and the exit code each one ends a command with.

```
BintallyError                 1   carries a sentence and a hint: what to do next
├── UsageError                2   what was asked for makes no sense
│   ├── ConfigError               a recipe or setting is wrong; unknown names say "did you mean"
│   ├── AccessError               the person may not do that
│   ├── ConflictError             somebody else did something first: look again
│   └── RequestError              a request to the service is refused, with the HTTP status that says so
├── DataError                 3   photos or records cannot be used
│   ├── SourceError               a source cannot be reached or is not laid out as promised
│   ├── ManifestError             the table of photos is missing, edited or contradicts its folder
│   └── PhotoError                one photo cannot be read (the rest of a batch goes on)
├── ModelError                4   a model file cannot be used
│   ├── BundleError               model.onnx + card.json are missing, truncated or disagree
│   ├── BackboneError             unknown architecture, missing or unfitting weights
│   └── CheckpointError           a checkpoint is truncated or belongs to another recipe
├── TrainingError             5   training cannot start or went wrong (no photo of a class, NaN loss ...)
├── StorageError              6   disk full, no permission
├── MissingExtraError         7   an optional part is not installed
└── ErpError                  8   a stock system does not do what it was asked for
    ├── ErpUnavailableError       it can't be reached or failed: the same may succeed later
    └── ErpRefusedError           it will not, however often it is asked
        ├── ErpAccessError            it does not let us in, or is no such system
        └── ErpGoneError              it wants to be told nothing any more
```

Ctrl-C ends a command with 130, as shells expect. Foreign errors are mapped once, at the boundary where they appear.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


class BintallyError(Exception):
    """Base of all: `str(error)` is one clear sentence, `error.hint` the next step."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(BintallyError):
    """What was asked for makes no sense."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe or setting is wrong."""


class AccessError(UsageError):
    """The person may not do that."""


class ConflictError(UsageError):
    """Somebody else did something first; what was asked for no longer fits."""


class RequestError(UsageError):
    """A request to the service is refused: `status` is HTTP's number for it, `code` a word for programs.

    `retry_after_s`: seconds after which the same request may be taken; None: never, as it is.
    """

    def __init__(
        self, message: str, *, status: int, code: str, hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class DataError(BintallyError):
    """Photos or records cannot be used."""

    exit_code = 3


class SourceError(DataError):
    """A source cannot be reached or is not laid out as promised."""


class ManifestError(DataError):
    """The table of photos is missing, edited or contradicts its folder."""


class PhotoError(DataError):
    """One photo cannot be read; `reason`, for tables: empty, not_a_photo, too_large, truncated or undecodable."""

    def __init__(self, message: str, *, hint: str = "", reason: str = "undecodable") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class ModelError(BintallyError):
    """A model file cannot be used."""

    exit_code = 4


class BundleError(ModelError):
    """A bundle is missing, truncated, or its parts disagree."""


class BackboneError(ModelError):
    """Unknown architecture, or missing or unfitting weights."""


class CheckpointError(ModelError):
    """A checkpoint is truncated or belongs to another recipe."""


class TrainingError(BintallyError):
    """Training cannot start or went wrong."""

    exit_code = 5


class StorageError(BintallyError):
    """Disk full or no permission."""

    exit_code = 6


class MissingExtraError(BintallyError):
    """An optional part is not installed."""

    exit_code = 7


class ErpError(BintallyError):
    """A stock system does not do what it was asked for."""

    exit_code = 8


class ErpUnavailableError(ErpError):
    """It can't be reached, is busy or failed; the same may succeed later.

    `retry_after_s`: it asked to be left alone for so long.
    """

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ErpRefusedError(ErpError):
    """It will not, however often it is asked: a person has to mend something."""


class ErpAccessError(ErpRefusedError):
    """What answers does not let us in, or is no such system: that says nothing about what it was asked for."""


class ErpGoneError(ErpRefusedError):
    """It wants to be told nothing any more: the connection is paused until a person resumes it."""


def did_you_mean(name: str, known: Iterable[str], *, shown: int = 12) -> str:
    """The hint for an unknown `name`: the nearest known ones, else the list (its first `shown`)."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(choice) for choice in near)}?"
    more = f" and {len(choices) - shown} more" if len(choices) > shown else ""
    return f"Known: {', '.join(choices[:shown])}{more}."
