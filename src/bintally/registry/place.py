"""Where a registry is: a folder with the bundles, and a database that says which of them is what.

```
PLACE/registry.toml     where the database and the tracking server are, if not here, and who approves
PLACE/identity          the same in the database: `identity`
PLACE/registry.sqlite   versions, aliases, gates, audit (unless registry.toml names another database)
PLACE/bundles/SHA256/   a registered bundle, whole and never changed
PLACE/cards/            what each version is, and is not for: `card.kept`
PLACE/learnt/SHA256     which photos a model learnt from: `registration.learnt`
PLACE/predictions/      what versions said of frozen photos: `gates.frozen`
PLACE/shadow/           what challengers said beside champions: `shadow.pairs`
PLACE/running/          what services count with just now: `heartbeats`
PLACE/tracking/         MLflow's SQLite file and artifacts (unless registry.toml names a tracking server)
```

Services, pipelines and people share the folder (or a mount of it); what excludes them from each other is in the
database.
"""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field

from bintally.config import Config
from bintally.database import Database
from bintally.database.engine import Purpose
from bintally.database.opened import Opened
from bintally.errors import UsageError
from bintally.registry import identity
from bintally.registry.card.settings import CardSettings
from bintally.registry.retention.settings import RetentionSettings

SETTINGS: Final = "registry.toml"
DATABASE: Final = "registry.sqlite"
BUNDLES: Final = "bundles"
CARDS: Final = "cards"
LEARNT: Final = "learnt"
PREDICTIONS: Final = "predictions"
TRACKING: Final = "tracking"

SYSTEM: Final = "bintally"
"""The actor of what no person did."""

PURPOSE: Final = Purpose("registry", "bintally models init PLACE")


class RegistrySettings(Config):
    """What registry.toml may say."""

    database: str | None = Field(
        default=None, description="The database's URL, or a file's path from here; default: registry.sqlite beside."
    )
    approval: Literal["auto", "manual"] = Field(
        default="auto",
        description="'manual': somebody must approve a version before it is promoted; 'auto': the gates' word will do.",
    )
    tracking: str | None = Field(
        default=None,
        description="MLflow's tracking URI; default: $MLFLOW_TRACKING_URI, else tracking/ beside. 'off': none.",
    )
    card: CardSettings = Field(default_factory=CardSettings, description="What model cards tell beside figures.")
    retention: RetentionSettings = Field(default_factory=RetentionSettings, description="Which old versions stay.")


class Registry(Opened):
    """A registry, opened."""

    def __init__(self, place: Path, settings: RegistrySettings, database: Database) -> None:
        super().__init__(database)
        self.place, self.settings = place, settings

    @classmethod
    def open(cls, place: str | Path, *, create: bool = False, wait_s: float | None = None, by: str = SYSTEM) -> Self:
        """Opens the registry in the folder `place`; `create` makes a new one, or brings an older one up to date.

        `wait_s` as in `Database.open`; `by`: who makes it.

        Raises:
            UsageError: there is none.
            ConfigError: registry.toml is wrong.
            StorageError: its database, or its folder, was lost or is another's; else as `Database.open`.
            MissingExtraError: as `Database.open`.
        """
        folder = Path(place)
        has_settings = (folder / SETTINGS).is_file()
        settings = RegistrySettings.from_toml(folder / SETTINGS) if has_settings else RegistrySettings()
        where = _database_of(folder, settings)
        known = identity.of_folder(folder)
        is_there = "://" in where or Path(where).is_file()
        if not (create or has_settings or known or is_there):
            raise UsageError(f"There is no registry in {folder}.", hint=f"{PURPOSE.hint} Is it mounted?")
        if known is None and _holds_bundles(folder):
            raise identity.apart(folder, f"{folder / identity.IDENTITY} is gone")
        if known and not is_there:
            raise identity.apart(folder, f"{where} is gone")
        try:
            database = Database.open(where, create=create, wait_s=wait_s, purpose=PURPOSE)
        except UsageError as error:
            if known and error.hint == PURPOSE.hint:
                error.hint = f"{PURPOSE.hint} One that was emptied must be put back from a backup."
            raise
        try:
            if create:
                identity.bring_together(folder, database, by=by)
            else:
                identity.must_belong(folder, database)
        except BaseException:
            database.close()
            raise
        return cls(folder, settings, database)

    @property
    def bundles(self) -> Path:
        """Where registered bundles are kept."""
        return self.place / BUNDLES

    def bundle_of(self, bundle_sha256: str) -> Path:
        """The folder of a registered bundle."""
        return self.bundles / bundle_sha256

    @property
    def learnt(self) -> Path:
        """Where lists of photos are kept that models learnt from."""
        return self.place / LEARNT


def _database_of(folder: Path, settings: RegistrySettings) -> str:
    """A file's path, or another database's URL."""
    named = (settings.database or DATABASE).removeprefix("sqlite:///")
    return named if "://" in named else str(folder / named)


def _holds_bundles(folder: Path) -> bool:
    bundles = folder / BUNDLES
    return bundles.is_dir() and any(not path.name.startswith(".") for path in bundles.iterdir())
