"""A job: one recipe on one source in one workspace; and a stage of it, as it is declared."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bintally.artifacts import code_files, code_fingerprint, is_current, sha256_of
from bintally.errors import UsageError
from bintally.progress import Progress
from bintally.registry.registration.run_files import without_logins
from bintally.training.recipe import Recipe

if TYPE_CHECKING:
    from bintally.pipeline.promoting import Promoter

CONTRACTS: Final = ("records.py", "manifest.py", "bundle.py", "photos.py")
"""Code that every stage's result hangs on."""


@dataclass(frozen=True)
class Job:
    """One recipe on one source in one workspace. `promoter`: where its bundle goes; None: nowhere."""

    recipe: Recipe
    source: str
    workspace: Path
    promoter: "Promoter | None" = None
    fresh: bool = False
    """Whether the split is drawn anew."""

    @property
    def data(self) -> Path:
        """Photos and their tables."""
        return self.workspace / "data"

    @property
    def run(self) -> Path:
        """The training."""
        return self.workspace / "run"

    @property
    def bundle(self) -> Path:
        """The exported model."""
        return self.workspace / "bundle"

    @property
    def report(self) -> Path:
        """The evaluation."""
        return self.workspace / "report"

    @property
    def promotion(self) -> Path:
        """What the registry and the gates said."""
        return self.workspace / "promotion"


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything that decides whether a stage's last result still holds. `files`: the code's, by their SHA-256s."""

    inputs: dict[str, str]
    settings: dict[str, Any]
    code: str
    files: dict[str, str]

    def is_current(self, workspace: Path, stage: str) -> bool:
        """Whether what a stage left there was made from just this, and is still whole."""
        return is_current(workspace, stage, inputs=self.inputs, settings=self.settings, code=self.code)

    def plain_settings(self) -> dict[str, Any]:
        """The settings as they may be written down."""
        plain: dict[str, Any] = without_logins(msgspec.to_builtins(self.settings, enc_hook=str))
        return plain


@dataclass(frozen=True)
class Declined:
    """What a stage's work returns that did not do what it is for: `why`, in a sentence; nothing is wrong."""

    why: str
    report: Any = None


def _never(*_: object) -> str | None:
    return None


@dataclass(frozen=True)
class Stage:
    """One stage: what it follows, what it reads, what decides its result, what it does, what it leaves.

    In words: `asks`, why it runs though none of that changed; `spares`, why it need not run at all; `stands_in`, why
    what it left last time will do though its work ended in that error. None: that is not so.
    """

    name: str
    after: tuple[str, ...]
    inputs: Callable[[Job], list[Path]]
    settings: Callable[[Job], Any]
    work: Callable[[Job, Progress], Any]
    outputs: Callable[[Job], list[Path]]
    code: tuple[str, ...]
    asks: Callable[[Job], str | None] = _never
    spares: Callable[[Job], str | None] = _never
    stands_in: Callable[[Job, Exception], str | None] = _never

    def state(self, job: Job) -> State:
        """Everything that decides whether the stage's last result still holds.

        Raises:
            UsageError: an earlier stage has not been run.
        """
        inputs = {}
        for path in self.inputs(job):
            if not path.is_file():
                raise UsageError(
                    f"Stage {self.name!r} needs {path}, which is not there.", hint="Run the earlier stages first."
                )
            inputs[path.relative_to(job.workspace).as_posix()] = sha256_of(path)
        places = [*self.code, *CONTRACTS]
        return State(
            inputs=inputs, settings=self.settings(job), code=code_fingerprint(places), files=code_files(places)
        )
