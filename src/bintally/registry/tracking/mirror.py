"""The registry's versions, states and aliases as MLflow's model registry shows them.

Our database is what is so. MLflow is brought to it after the fact, by whatever differs: what it missed while it was
away, it is told the next time.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import select

from bintally.errors import ConflictError
from bintally.registry import identity, schema
from bintally.registry.aliases import pointing_to
from bintally.registry.place import SYSTEM, Registry
from bintally.registry.tracking.facts import bundle_tag
from bintally.registry.tracking.files import BUNDLES
from bintally.registry.tracking.reached import Tracker, one_at_a_time, reached
from bintally.registry.versions import Version, versions

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

OWNER_TAG: Final = "bintally.registry"
VERSION_TAG: Final = "bintally.version"
BUNDLE_TAG: Final = "bintally.bundle_sha256"
STATE_TAG: Final = "bintally.state"


class Mirrored(msgspec.Struct, frozen=True, kw_only=True):
    """What MLflow was told, in words; nothing: it knew all."""

    where: str
    changes: tuple[str, ...]


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it is: its versions, the first one first, and its aliases by name (None: points to nothing)."""

    model: str
    versions: tuple[Version, ...]
    aliases: dict[str, str | None]


def mirror(registry: Registry, *, by: str = SYSTEM) -> Mirrored:
    """Brings MLflow's model registry to what ours says.

    Raises:
        UsageError: tracking is switched off.
        ConflictError: somebody else is at it, and takes long; or MLflow has another one's model of that name.
        MissingExtraError: MLflow is not installed.
        StorageError: it can't be told.
    """
    with reached(registry) as tracker, one_at_a_time(registry, by=by, what="mirroring to MLflow"):
        mirroring = _Mirroring(registry, tracker)
        return Mirrored(where=tracker.where, changes=tuple(mirroring.changes()))


class _Mirroring:
    """One look at both, and the way from one to the other."""

    def __init__(self, registry: Registry, tracker: Tracker) -> None:
        self._registry, self._tracker, self._client = registry, tracker, tracker.client
        self._owner = identity.of_folder(registry.place) or ""

    def changes(self) -> Iterator[str]:
        """Model by model, in words, as they are made."""
        for wanted in _wanted(self._registry):
            held = self._model(wanted.model)
            numbers: dict[str, str] = {}
            known = self._known(wanted.model)
            for version in wanted.versions:
                found = known.get(version.name)
                if found is None:
                    found = self._add(version)
                    yield f"{version.name} added"
                numbers[version.name] = str(found.version)
                yield from self._tag(version, found)
            yield from self._alias(wanted, held.aliases, numbers)

    def _model(self, model: str) -> "RegisteredModel":
        from mlflow.exceptions import MlflowException

        try:
            held = self._client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            told = "Kept by bintally's registry: what is changed here is changed back."
            return self._client.create_registered_model(model, tags={OWNER_TAG: self._owner}, description=told)
        if held.tags.get(OWNER_TAG) != self._owner:
            raise ConflictError(
                f"MLflow ({self._tracker.where}) has a model {model!r} that is not this registry's.",
                hint="Name another tracking server in registry.toml, or the model otherwise.",
            )
        return held

    def _known(self, model: str) -> "dict[str, ModelVersion]":
        """MLflow's versions by our names; of two the first."""
        known: dict[str, ModelVersion] = {}
        token = None
        while True:
            page = self._client.search_model_versions(f"name = '{model}'", max_results=100, page_token=token)
            for found in page:
                name = found.tags.get(VERSION_TAG)
                if name and (name not in known or int(found.version) < int(known[name].version)):
                    known[name] = found
            token = page.token
            if not token:
                return known

    def _add(self, version: Version) -> "ModelVersion":
        run = self._run_of(version)
        when = f"{version.registered_at:%Y-%m-%d %H:%M} UTC"
        return self._client.create_model_version(
            version.model, self._source(version, run), None if run is None else run.info.run_id, tags=_tags(version),
            description=f"Registered {when} by {version.registered_by}.", await_creation_for=0,
        )  # fmt: skip

    def _run_of(self, version: Version) -> "Run | None":
        """The run that a version comes from: the one it was registered with, else one with its bundle's digest."""
        from mlflow.exceptions import MlflowException

        if version.run_id is not None:
            try:
                return self._client.get_run(version.run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # else it is another tracking server's
                    raise
        experiment = self._client.get_experiment_by_name(version.model)
        if experiment is None:
            return None
        where = f"tags.`{bundle_tag(version.bundle_sha256)}` = 'exported'"
        return next(iter(self._client.search_runs([experiment.experiment_id], where, max_results=1)), None)

    def _source(self, version: Version, run: "Run | None") -> str:
        """Where a version's bundle is: a server on another machine has it with its run, or not at all."""
        if not self._tracker.is_server:
            return self._registry.bundle_of(version.bundle_sha256).resolve().as_uri()
        place = f"{BUNDLES}/{version.bundle_sha256}"
        if run is not None and self._client.list_artifacts(run.info.run_id, place):
            return f"runs:/{run.info.run_id}/{place}"
        return f"bintally:/{place}"

    def _tag(self, version: Version, found: "ModelVersion") -> Iterator[str]:
        for key, value in _tags(version).items():
            if found.tags.get(key) != value:
                self._client.set_model_version_tag(version.model, str(found.version), key, value)
                yield f"{version.name} {key.rpartition('.')[2]}: {value}"

    def _alias(self, wanted: _Wanted, held: Mapping[str, object], numbers: Mapping[str, str]) -> Iterator[str]:
        """Aliases of others are left alone."""
        for alias, name in wanted.aliases.items():
            points_to = None if alias not in held else str(held[alias])
            if name is not None and points_to != numbers[name]:
                self._client.set_registered_model_alias(wanted.model, alias, numbers[name])
                yield f"{alias}: {name}"
            elif name is None and points_to is not None:
                self._client.delete_registered_model_alias(wanted.model, alias)
                yield f"{alias}: none"


def _tags(version: Version) -> dict[str, str]:
    return {VERSION_TAG: version.name, BUNDLE_TAG: version.bundle_sha256, STATE_TAG: version.state}


def _wanted(registry: Registry) -> list[_Wanted]:
    """All models, as they are at one moment."""
    change = schema.AliasChange
    with registry.read() as connection:
        held: dict[str, list[Version]] = {}
        for version in reversed(versions(connection)):
            held.setdefault(version.model, []).append(version)
        used = select(schema.Model.name, change.alias).join(change, change.model_id == schema.Model.id).distinct()
        aliases: dict[str, dict[str, str | None]] = {}
        for model, alias in connection.execute(used):
            aliases.setdefault(model, {})[alias] = None
        for version in (each for some in held.values() for each in some):
            for alias in pointing_to(connection, version):
                aliases[version.model][alias] = version.name
        return [
            _Wanted(model=model, versions=tuple(some), aliases=aliases.get(model, {})) for model, some in held.items()
        ]
