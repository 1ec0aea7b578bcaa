"""Which broker, as whom, and over which kind of connection: all told by one URL."""

import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from bintally.errors import MissingExtraError, UsageError, did_you_mean
from bintally.serving.settings import ServeConfig

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "tcp": 1883, "ssl": 8883}
_TLS: Final = ("mqtts", "ssl")  # ssl:// and tcp:// are how other clients write mqtts:// and mqtt://
_FILES: Final = ("ca", "cert", "key")
HINT: Final = "Write it as mqtt://broker.example or mqtts://user:password@broker.example:8883."


def check(config: ServeConfig) -> None:
    """Finds out before the service starts what would keep it from ever reaching its broker.

    Raises:
        MissingExtraError: paho-mqtt is not installed.
        UsageError: the broker's URL, its files or the topic can't be used.
    """
    if config.mqtt is None:
        return
    if find_spec("paho") is None:
        raise MissingExtraError("paho-mqtt is not installed.", hint="Install it with `pip install 'bintally[mqtt]'`.")
    broker = Broker.of(config.mqtt)
    if broker.tls:
        broker.tls_context()
    prefix_of(config)


def prefix_of(config: ServeConfig) -> str:
    """What all our topics begin with.

    Raises:
        UsageError: that is no topic.
    """
    prefix = config.mqtt_topic.strip("/")
    if not prefix or set(prefix) & set("+#\0") or prefix.startswith("$"):
        raise UsageError(f"{config.mqtt_topic!r} is no topic.", hint="Use letters, such as bintally or site/bintally.")
    return prefix


class Broker(msgspec.Struct, frozen=True):
    """A broker's address, and what is needed to be let in. `str` of it holds no secret."""

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    password: str | None = None
    ca: Path | None = None  # who signed the broker's certificate; None: as the system trusts
    cert: Path | None = None  # ours, where the broker asks for one
    key: Path | None = None

    def __repr__(self) -> str:
        return str(self)  # so that no traceback or log shows the password

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    @classmethod
    def of(cls, url: str) -> Self:
        """The broker of `mqtt[s]://[user:password@]host[:port][?ca=FILE&cert=FILE&key=FILE]`.

        Raises:
            UsageError: not such a URL. The message repeats nothing of it, since it may hold a password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UsageError("The broker's URL can't be read.", hint=HINT) from None
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/"):
            raise UsageError("The broker's URL is not of the kind that is known.", hint=HINT)
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            tls=parts.scheme in _TLS,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            **_files(parts),
        )

    def tls_context(self) -> ssl.SSLContext:
        """How the connection is secured.

        Raises:
            UsageError: a file of certificates or keys can't be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:  # ssl.SSLError is one
            raise UsageError(
                f"The broker's certificates or keys can't be used: {error.strerror or error}.",
                hint="Look at the files that ca, cert and key name in the broker's URL.",
            ) from None
        return context


def _files(parts: SplitResult) -> dict[str, Path]:
    named = dict(parse_qsl(parts.query))
    for name in named:
        if name not in _FILES:
            raise UsageError(f"The broker's URL has an unknown part {name!r}.", hint=did_you_mean(name, _FILES))
    if named and parts.scheme not in _TLS:
        raise UsageError("The broker's URL names certificates, but is not of TLS.", hint="Let it begin with mqtts://.")
    return {name: Path(value) for name, value in named.items()}
