"""What there is to see of a workspace: its stages, what last became of each, and its last runs."""

from pathlib import Path
from typing import Self

import msgspec

from bintally.errors import UsageError
from bintally.pipeline.lock import is_held
from bintally.pipeline.records import RECORD, RUNS, RunRecord, StageRecord, as_killed, read_records
from bintally.pipeline.stages import PROMOTING, STAGES

_HOME = Path("runs")
_LOOKED_AT = 1000  # runs in which a stage's last word is looked for


class SeenStage(msgspec.Struct, frozen=True):
    """One node of the graph. `last`: what last became of it; `ran`: when it last did its work (None: never)."""

    name: str
    after: tuple[str, ...]
    last: StageRecord | None
    ran: StageRecord | None


class Seen(msgspec.Struct, frozen=True):
    """A workspace, looked at: the stages in order, and the last runs, the newest first."""

    workspace: str
    stages: tuple[SeenStage, ...]
    runs: tuple[RunRecord, ...]

    @classmethod
    def of(cls, workspace: Path | None, *, last: int) -> Self:
        """Looks at a workspace (None: the one in runs/ that ran last).

        Raises:
            UsageError: nothing ran there.
        """
        folder = workspace or _newest()
        runs = read_records(folder, last=_LOOKED_AT)
        if not runs:
            raise UsageError(
                f"No pipeline ran in {folder}.", hint="`bintally pipeline run RECIPE --workspace FOLDER` runs one."
            )
        if not is_held(folder):
            runs = [as_killed(run) if run.status == "running" else run for run in runs]
        stages = tuple(
            SeenStage(stage.name, stage.after, _last(runs, stage.name), _last(runs, stage.name, done=True))
            for stage in (*STAGES, *PROMOTING)
        )
        return cls(str(folder), stages, tuple(runs[:last]))


def _last(runs: list[RunRecord], stage: str, *, done: bool = False) -> StageRecord | None:
    told = (each for run in runs for each in run.stages if each.stage == stage)
    return next((each for each in told if not done or each.status == "done"), None)


def _newest() -> Path:
    """The workspace in runs/ that a pipeline ran in last."""
    found = [(path.parent.name, path.parents[2]) for path in _HOME.glob(f"*/{RUNS}/*/{RECORD}")]
    if not found:
        raise UsageError(f"No pipeline ran in {_HOME}/.", hint="Name its workspace: `bintally pipeline show FOLDER`.")
    return max(found)[1]
