"""MLflow, reached. Nobody else imports it, and only to tell it something: that takes a second or two.

It may be away, or not even installed: whatever it is told, it can be told later.
"""

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bintally.artifacts import storage_errors
from bintally.database import leases
from bintally.errors import BintallyError, ConflictError, MissingExtraError, StorageError, UsageError
from bintally.registry.addresses import without_login
from bintally.registry.place import TRACKING, Registry
from bintally.registry.versions import versions

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

OFF: Final = "off"
STORE: Final = "mlflow.sqlite"
ARTIFACTS: Final = "artifacts"
URI: Final = "MLFLOW_TRACKING_URI"

_DEFAULTS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would tell its maker which of its functions are used
    "MLFLOW_CONFIGURE_LOGGING": "false",  # our streams and loggers are not its own
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # s; by default a server that is away is waited for for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
_SERVERS: Final = ("postgresql", "mysql", "mssql")  # databases that MLflow would wait for: some 100 s
_NOISY: Final = "mlflow.store.db.utils"
_SHOWN: Final = 200  # characters of what MLflow says
_LEASE_S, _WAIT_S, _LOOK_S = 10.0, 15.0, 0.2


@dataclass(frozen=True)
class Tracker:
    """MLflow, reached."""

    client: "MlflowClient"
    where: str
    """Its address, without who logs in."""
    artifacts: str | None
    """Where files of new experiments go; None: where MLflow has them."""
    is_server: bool
    """Whether it is asked by HTTP: it may be on another machine, and refuses links to files of this one."""

    def experiment(self, name: str) -> str:
        """The id of the experiment with that name, which is made if there is none."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name, artifact_location=self.artifacts))
            except MlflowException as error:
                found = self.client.get_experiment_by_name(name)  # somebody else has just made it
                if found is None:
                    raise error
        return str(found.experiment_id)


def uri_of(registry: Registry) -> str | None:
    """MLflow's tracking URI; None: the store beside the registry's bundles.

    registry.toml counts more than $MLFLOW_TRACKING_URI.
    """
    return registry.settings.tracking or os.environ.get(URI) or None


def why_not(registry: Registry) -> str | None:
    """Why nothing is told to MLflow, in a sentence; None: it is."""
    if uri_of(registry) == OFF:
        return "tracking is switched off"
    return None if find_spec("mlflow") else "MLflow is not installed (pip install 'bintally[registry]')"


@contextmanager
def reached(registry: Registry) -> Iterator[Tracker]:
    """MLflow, as the registry's settings name it.

    Raises:
        UsageError: tracking is switched off, or a database's server.
        MissingExtraError: MLflow is not installed.
        StorageError: it can't be reached, refuses, or its store was lost.
    """
    uri = uri_of(registry)
    if uri == OFF:
        raise UsageError("Tracking is switched off.", hint=f"Name another tracking in registry.toml (or ${URI}).")
    if not find_spec("mlflow"):
        raise MissingExtraError("MLflow is not installed.", hint="Install it with `pip install 'bintally[registry]'`.")
    if uri is not None:
        _must_not_be_a_database(uri)
    artifacts = _store_artifacts(registry) if uri is None else None
    uri = uri or f"sqlite:///{_store(registry)}"
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    where = without_login(uri)
    with _quiet(), _mapped(where):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        yield Tracker(client, where, artifacts, is_server=uri.startswith(("http://", "https://")))


@contextmanager
def one_at_a_time(registry: Registry, *, by: str, what: str) -> Iterator[None]:
    """Others who tell MLflow `what` wait; after 15 s they leave it to whoever is at it.

    MLflow knows nothing that only one of two can make, so our database keeps them apart.

    Raises:
        ConflictError: somebody else took longer.
    """
    until = time.monotonic() + _WAIT_S
    while True:
        lease = leases.Lease(registry, what, by=by, seconds=_LEASE_S)
        try:
            lease.start()
            break
        except ConflictError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_S)
    try:
        yield
    finally:
        lease.end()


def _must_not_be_a_database(uri: str) -> None:
    kind = uri.partition("://")[0].partition("+")[0]
    if kind in _SERVERS:
        raise UsageError(
            f"Tracking can't be written straight into {kind}.",
            hint=f"Run `mlflow server --backend-store-uri {kind}://...`; name its address in registry.toml or ${URI}.",
        )


def _store(registry: Registry) -> Path:
    """The SQLite file beside the bundles, ready to be opened.

    Raises:
        StorageError: it was lost.
    """
    path = registry.place.resolve() / TRACKING / STORE
    if not path.is_file() and _was_used(registry):
        raise StorageError(
            f"{path} is gone, and with it the runs that were logged there.",
            hint="Put it back from a backup; to begin anew, make an empty file of that name.",
        )
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _was_used(registry: Registry) -> bool:
    with registry.read() as connection:
        return any(version.run_id for version in versions(connection))


def _store_artifacts(registry: Registry) -> str:
    return (registry.place.resolve() / TRACKING / ARTIFACTS).as_uri()


@contextmanager
def _quiet() -> Iterator[None]:
    """What MLflow uses that its libraries would rather see gone is its maker's business; what it fails at we say."""
    logging.getLogger(_NOISY).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=kind, module=r"mlflow(\.|$)")
        yield


@contextmanager
def _mapped(where: str) -> Iterator[None]:
    """Maps MLflow's errors, and those of what it stands on: drivers that are missing, stores that others have changed.

    Raises:
        StorageError: one of them.
    """
    try:
        yield
    except BintallyError:
        raise
    except Exception as error:
        told = without_login(" ".join(str(error).split()))[:_SHOWN].rstrip(".")
        raise StorageError(
            f"MLflow ({where}) can't be told: {told}.",
            hint="What is not told now can be told later: `bintally models log`.",
        ) from error
