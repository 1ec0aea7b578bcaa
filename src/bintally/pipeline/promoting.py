"""The last stages: a bundle becomes a version, the gates judge it beside the champion, it takes its place or not.

All that the pipeline knows of the registry is here. A person's word stands above a run's: a version (or the same
training under another number) that somebody rolled back from is not promoted again, nor one that was rejected.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bintally.artifacts import write_bytes, write_json
from bintally.counting.evaluate import METRICS
from bintally.errors import BintallyError, ConfigError, UsageError
from bintally.pipeline.job import Declined, Job
from bintally.progress import SILENT, Progress
from bintally.records import to_plain

if TYPE_CHECKING:
    from bintally.database.leases import Lease
    from bintally.registry.gates.outcome import GateOutcome
    from bintally.registry.place import Registry
    from bintally.registry.versions import Version
    from bintally.training.recipe import Recipe

REGISTERED: Final = "registered.json"
GATES: Final = "gates.json"
PROMOTED: Final = "promoted.json"


class _Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What registered.json says. `run_id`: MLflow's name of the training; None: it was not told."""

    version: str
    bundle: str
    run_id: str | None = None


class Promoter:
    """The registry that a run's version goes to, opened when it is needed, and the turn to promote."""

    def __init__(self, place: Path, *, model: str, by: str, run: str) -> None:
        self.place, self.model, self.by, self.run = place, model, by, run
        self._held = ExitStack()

    @contextmanager
    def at_work(self, recipe: "Recipe", progress: Progress = SILENT) -> Iterator["Promoter"]:
        """Ready for the run, from before its first stage: what can't end well is said before hours of training.

        When it has ended well, MLflow is brought to what the registry says then, if it can be.

        Raises:
            UsageError: there is no such registry.
            ConfigError: [promote] judges on photos that [split] does not provide.
        """
        from bintally.data.split import parse_fractions
        from bintally.registry.place import Registry

        wanted, split = recipe.promote.split, recipe.split
        if split.how == "grouped" and wanted not in parse_fractions(split.fractions):
            raise ConfigError(
                f"[promote] judges on {wanted}, and [split] fractions = {split.fractions!r} leaves none.",
                hint="Write fractions like 70/20/10.",
            )
        Registry.open(self.place).close()
        with self._held:
            yield self
        self._mirror(progress)

    def _mirror(self, progress: Progress) -> None:
        from bintally.registry.place import Registry
        from bintally.registry.tracking import mirror
        from bintally.registry.tracking.reached import why_not

        try:
            with Registry.open(self.place) as registry:
                if not why_not(registry):
                    mirror(registry, by=self.by)
        except BintallyError as error:  # the next run tells it, too
            progress.say(str(error))

    @cached_property
    def registry(self) -> "Registry":
        """The registry, open until the run ends."""
        from bintally.registry.place import Registry

        registry = Registry.open(self.place)
        self._held.callback(registry.close)
        return registry

    @cached_property
    def turn(self) -> "Lease":
        """The turn to promote, from the first look at the champion until the run ends.

        Raises:
            ConflictError: somebody else has it.
        """
        from bintally.registry.promotion import promoting

        return self._held.enter_context(promoting(self.registry, self.model, by=self.by))

    def champion(self) -> "Version | None":
        """Who serves now, which nobody else changes but by a rollback."""
        from bintally.registry.aliases import CHAMPION, alias_target
        from bintally.registry.versions import by_id

        self.turn  # noqa: B018 - taken before the first look
        with self.registry.read() as connection:
            target = alias_target(connection, self.model, CHAMPION)
            return None if target is None else by_id(connection, target)

    def version(self, job: Job) -> "Version":
        """The version that this job's bundle is.

        Raises:
            UsageError: it is not registered yet.
        """
        from bintally.registry.versions import version_of

        try:
            told = msgspec.json.decode((job.promotion / REGISTERED).read_bytes(), type=_Registered)
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError("The bundle is not registered yet.", hint="Run the stage 'register' first.") from error
        with self.registry.read() as connection:
            return version_of(connection, told.version)


def register_settings(job: Job) -> dict[str, Any]:
    """Where a version goes."""
    promoter = _promoter(job)
    return {"registry": str(promoter.place.resolve()), "model": promoter.model}


def not_registered(job: Job) -> str | None:
    """Whether the registry does not have what was registered last time."""
    promoter = _promoter(job)
    try:
        version = promoter.version(job)
    except UsageError:
        return "the registry does not have it"
    if not promoter.registry.bundle_of(version.bundle_sha256).is_dir():
        return "the registry's copy is gone"
    return _not_logged(job)


def _not_logged(job: Job) -> str | None:
    """Whether MLflow, which may be told now, was not told of the training then."""
    from bintally.registry.tracking.reached import why_not

    told = msgspec.json.decode((job.promotion / REGISTERED).read_bytes(), type=_Registered)
    return "its training was not logged yet" if told.run_id is None and not why_not(_promoter(job).registry) else None


def register(job: Job, _: Progress) -> dict[str, Any]:
    """The bundle as a version, with what its run tells; the same bundle again is the version it was."""
    from bintally.registry import tracking
    from bintally.registry.registration import register as registered

    promoter = _promoter(job)
    run_id, not_logged = tracking.try_log(
        promoter.registry, job.run, bundle=job.bundle, report=_report(job), model=promoter.model, by=promoter.by
    )
    told = registered(
        promoter.registry, job.bundle, model=promoter.model, by=promoter.by, run=job.run, data=job.data,
        report=_report(job), run_id=run_id, reason=f"pipeline run {promoter.run}",
    )  # fmt: skip
    version = told.version
    kept = _Registered(version=version.name, bundle=version.bundle_sha256, run_id=run_id)
    write_json(job.promotion / REGISTERED, to_plain(kept))
    return {"version": version.name, "is_new": told.is_new, "run_id": run_id, "not_logged": not_logged}


def _report(job: Job) -> Path | None:
    """What `evaluate` found; None: it was left out."""
    return job.report if (job.report / METRICS).is_file() else None


def gates_settings(job: Job) -> dict[str, Any]:
    """What gates go by, and beside whom."""
    champion = _promoter(job).champion()
    return {"champion": champion and champion.name, **job.recipe.promote.model_dump(mode="json")}


def need_no_gates(job: Job) -> str | None:
    """Why nothing that gates could say would make this version the champion."""
    from bintally.registry.rolled_back import same_as_rolled_back
    from bintally.registry.versions import PENDING

    promoter = _promoter(job)
    champion, version = promoter.champion(), promoter.version(job)
    if champion is not None and champion.id == version.id:
        return f"{version.name} is the champion already"
    if version.state not in (PENDING, "Approved"):
        return f"{version.name} is {version.state}"
    with promoter.registry.read() as connection:
        return same_as_rolled_back(connection, version)


need_no_promotion = need_no_gates


def gates(job: Job, progress: Progress) -> dict[str, Any]:
    """What the gates say of the version beside the champion, on photos that neither learnt from."""
    from bintally.registry import gates as judges

    promoter = _promoter(job)
    outcome = judges.run(
        promoter.registry, promoter.version(job), promoter.champion(), job.data, job.recipe.promote, progress=progress
    )
    write_bytes(job.promotion / GATES, outcome.to_json())
    return {"sentence": outcome.sentence, **to_plain(outcome)}


def promote(job: Job, _: Progress) -> Any:
    """Makes the version the champion, if the gates let it and nobody said otherwise."""
    from bintally.registry.promotion import promote as promoted

    promoter = _promoter(job)
    version, turn = promoter.version(job), promoter.turn
    outcome = _unheard(job, version)
    told = promoted(
        promoter.registry, version.name, gates=outcome, turn=turn, by=promoter.by,
        reason=f"pipeline run {promoter.run}",
    )  # fmt: skip
    report = {
        "version": version.name,
        "promoted": told.promoted,
        "why": told.why,
        "before": told.before and told.before.name,
    }
    write_json(job.promotion / PROMOTED, report)
    return report if told.promoted else Declined(told.why, report)


def _unheard(job: Job, version: "Version") -> "GateOutcome | None":
    """What the gates said last, unless the registry keeps that already."""
    from bintally.registry.gate_runs import last_against
    from bintally.registry.gates.outcome import GateOutcome

    try:
        body = (job.promotion / GATES).read_bytes()
        outcome = GateOutcome.from_json(body)
    except (OSError, msgspec.DecodeError):
        return None
    with _promoter(job).registry.read() as connection:
        kept = last_against(connection, version.id, outcome.against_id)
    is_kept = kept is not None and kept.body == msgspec.json.decode(body)
    return None if is_kept or outcome.version_id != version.id else outcome


def _promoter(job: Job) -> Promoter:
    if job.promoter is None:
        raise UsageError("No registry was named.", hint="Say --promote --registry PLACE.")
    return job.promoter
