"""How the service runs: one settings class, read from arguments and from the environment.

Each field is also an environment variable, `BINTALLY_SERVE_` and its name in capitals (docs/serving.md has the table).
Arguments win over the environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field

from bintally.config import Config
from bintally.serving.environment import sagemaker, told, variable_of
from bintally.serving.keys.key import MOST_RATE
from bintally.settings import state_folder

_NAME: Final = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"  # what SageMaker takes; it is a folder's name, too


class ServeConfig(Config):
    """How the service runs."""

    # The model.
    bundle: Path | None = Field(default=None, description="Folder of the model, champion or fast (default: champion).")
    models: Path | None = Field(
        default=None, description="Folder whose subfolders are models that may be loaded by name (/models)."
    )
    trust: tuple[Path, ...] = Field(
        default=(), description="Public keys (PEM): only models signed with one of them are loaded."
    )
    threads: int = Field(default=0, ge=0, le=1024, description="Cores each worker counts with; 0: all, shared out.")
    max_batch: int = Field(default=0, ge=0, le=16, description="Photos in one inference; 0: as many as pays.")

    # The model, where a registry says which.
    registry: Path | None = Field(default=None, description="Registry whose champion is served, instead of a bundle.")
    registry_model: str = Field(default="bintally", min_length=1, description="Which of the registry's models.")
    registry_alias: str = Field(default="champion", min_length=1, description="Alias that is followed.")
    follow_s: float = Field(default=0.5, gt=0, le=60, description="The registry is looked at every so many seconds.")
    max_slower: float = Field(
        default=3.0, ge=0, description="A version that takes so many times as long as the one before is refused."
    )
    keep_mb: int = Field(
        default=512, ge=0, description="Memory that earlier versions may take, loaded for a rollback, in MB; 0: none."
    )

    shadow: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Percent of photos that the challenger counts, too (default: as its shadow was started); 0: none.",
    )
    shadow_mb: int = Field(
        default=256, ge=1, description="Size that the pairs of one challenger beside one champion may have, in MB."
    )

    # The door.
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 lets other machines in.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, le=64, description="Processes that share the port.")
    samples: Path | None = Field(default=None, description="Folder of photos the page offers (default: rendered ones).")
    sagemaker: bool = Field(
        default=False, description="Container of an endpoint: /opt/ml/model, 0.0.0.0:8080, IAM guards instead of keys."
    )

    # Limits.
    max_photo_mb: int = Field(default=20, ge=1, le=200, description="Largest photo taken, in MB.")
    max_megapixels: int = Field(default=50, ge=1, le=50, description="Most pixels a photo may claim, in millions.")
    max_photos: int = Field(default=64, ge=1, le=1024, description="Most photos in one request.")
    max_waiting: int = Field(default=64, ge=1, le=10_000, description="Photos that may wait; one more is answered 503.")
    max_waiting_mb: int = Field(default=256, ge=1, le=65_536, description="Bytes of requests under way, in MB.")
    timeout_s: float = Field(default=30.0, gt=0, le=3600, description="A request is given up after so many seconds.")
    shutdown_s: float = Field(
        default=20.0, ge=0, le=600, description="Requests under way may take this long to end after a stop."
    )

    # Who may come in.
    keys: Path | None = Field(default=None, description="File of API keys (default: keys.json in the state folder).")
    require_keys: Literal["auto", "always", "never"] = Field(
        default="auto", description="Whether requests need an API key; auto: unless bound to loopback."
    )
    rate: float = Field(default=0.0, ge=0, le=MOST_RATE, description="Photos a second for each key; 0: no limit.")
    burst: int = Field(
        default=0, ge=0, description="Photos a key may send at once above its rate; 0: as many as in 10 seconds."
    )
    allow_host: tuple[str, ...] = Field(
        default=(),
        description="Names that requests may call the service by (default: any; without keys on loopback, its names).",
    )
    tls_cert: Path | None = Field(default=None, description="Certificate (PEM, with its chain) to serve https with.")
    tls_key: Path | None = Field(default=None, description="The certificate's private key (PEM).")
    allow_url: tuple[str, ...] = Field(default=(), description="Hosts that photos may be fetched from by URL.")
    allow_private_url: bool = Field(
        default=False, description="Whether those hosts may have private addresses (cameras on the site's network)."
    )

    # What is kept.
    state: Path | None = Field(
        default=None, description="Folder of what the service keeps (default: bintally's in the user's state folder)."
    )
    capture: float = Field(default=0.0, ge=0, le=100, description="Percent of requests that are captured.")
    capture_mb: int = Field(default=1024, ge=1, description="Size the captures may have in all, in MB; the oldest go.")
    capture_days: float = Field(default=30.0, gt=0, description="Age that captures may have, in days.")
    idempotency_hours: float = Field(default=24.0, gt=0, description="How long answers to an Idempotency-Key are kept.")

    # Bins that are known.
    ledger: str | None = Field(default=None, description="Ledger whose bins are followed: a file, folder or URL.")
    policy: Path | None = Field(default=None, description="Policy file that records are judged by.")
    follow: Path | None = Field(default=None, description="TOML file with a section [follow]: what bins are like.")
    photos: Path | None = Field(default=None, description="Folder of the ledger's photos (default: beside its file).")
    spool_mb: int = Field(
        default=1024, ge=1, description="Photos of bins that wait on disk while the ledger is away, in MB; then 503."
    )

    # MQTT.
    mqtt: str | None = Field(
        default=None, description="Broker to take photos from: mqtt://[user:password@]host[:port]."
    )
    mqtt_topic: str = Field(default="bintally", min_length=1, description="First level of our topics.")

    # What is told.
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="JSON lines, or text; auto: text on a terminal."
    )
    variant: str = Field(default="AllTraffic", pattern=_NAME, description="Variant's name in captures.")
    endpoint: str = Field(default="bintally", pattern=_NAME, description="Endpoint's name in captures.")

    @classmethod
    def from_environment(cls, values: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Self:
        """`values`, and what the environment says of the other fields. Lists are separated by commas.

        Raises:
            ConfigError: an unknown BINTALLY_SERVE_ variable or a value out of range; it names the variable.
            UsageError: what a SageMaker endpoint unpacked is no bundle.
        """
        variables = os.environ if environment is None else environment
        found = told(variables, cls.model_fields)
        for name, value in found.items():
            cls.of({name: value}, where=f"${variable_of(name)}")
        config = cls.of({**found, **values})
        return cls.of({**sagemaker(variables), **found, **values}) if config.sagemaker else config

    @property
    def max_photo_bytes(self) -> int:
        """Largest photo taken."""
        return self.max_photo_mb * 2**20

    @property
    def keys_file(self) -> Path:
        """Where the API keys are."""
        return self.keys or self.state_folder / "keys.json"

    @property
    def state_folder(self) -> Path:
        """Where the service keeps what outlives it."""
        return self.state or state_folder() / "serve"
