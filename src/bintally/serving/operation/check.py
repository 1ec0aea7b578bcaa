"""Everything a start would need, tried without starting: `bintally serve --check`."""

import io
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from bintally.artifacts import storage_errors
from bintally.errors import BintallyError, UsageError
from bintally.serving.settings import ServeConfig

_SHOWN_COUNT: Final = 3
_BROKER_S: Final = 3.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was tried. `hint`: what to do where it is not ok."""

    name: str
    ok: bool
    said: str
    hint: str = ""


class CheckReport(msgspec.Struct, frozen=True):
    """What was tried, in the order in which a start would need it."""

    ok: bool
    checks: tuple[Check, ...]


def check(**settings: Any) -> CheckReport:
    """Tries all that `serve` with the same `settings` would need; nothing is served, nothing stays behind.

    Raises:
        ConfigError: a setting, or a BINTALLY_SERVE_ variable, is wrong.
    """
    config = ServeConfig.from_environment(settings)
    checks = tuple(_tried(name, trial, config) for name, trial in _trials(config))
    return CheckReport(all(each.ok for each in checks), checks)


def _tried(name: str, trial: Callable[[ServeConfig], str], config: ServeConfig) -> Check:
    try:
        return Check(name=name, ok=True, said=trial(config))
    except BintallyError as error:
        return Check(name=name, ok=False, said=error.message, hint=error.hint)
    except OSError as error:
        return Check(name=name, ok=False, said=f"{error.filename or name}: {error.strerror or error}.")


def _trials(config: ServeConfig) -> Iterator[tuple[str, Callable[[ServeConfig], str]]]:
    """What `config` asks for."""
    yield "address", _address
    if config.registry is not None:
        yield "registry", _registry
    yield "model", _model
    if config.models is not None:
        yield "models", _models
    yield "keys", _keys
    yield "state folder", _state
    if config.samples is not None:
        yield "samples", _samples
    if config.tls_cert is not None or config.tls_key is not None:
        yield "certificate", _certificate
    if config.allow_url:
        yield "photos by URL", _hosts
    if config.ledger is not None:
        yield "ledger", _ledger
        yield "bins", _bins
        if config.photos is not None:
            yield "photos", _photos
    if config.policy is not None:
        yield "policy", _policy
    if config.mqtt is not None:
        yield "MQTT broker", _broker


def _address(config: ServeConfig) -> str:
    from bintally.serving.listening import listening, url_of

    with listening(config.host, config.port) as listener:
        return f"{url_of(config, listener)} is free"


def _registry(config: ServeConfig) -> str:
    from bintally.serving.following.starting import first_choice
    from bintally.serving.following.trial import must_be_whole

    champion = first_choice(config)
    must_be_whole(champion)
    return f"{champion.name} is the {config.registry_alias}, and whole"


def _bundle(config: ServeConfig) -> Path | None:
    """The bundle that would be served."""
    if config.registry is None:
        return config.bundle
    from bintally.serving.following.starting import first_choice

    return first_choice(config).bundle


def _model(config: ServeConfig) -> str:
    from bintally import signatures
    from bintally.bundle import find_bundle
    from bintally.counting.counter import Counter
    from bintally.data.rendered import render_photo

    file = io.BytesIO()
    render_photo(_SHOWN_COUNT, seed=1).save(file, "JPEG", quality=90)
    folder = find_bundle(_bundle(config))
    signatures.check(folder, config.trust)
    counter = Counter(folder, threads=config.threads or None)
    counter.count(file.getvalue())  # the first is slower than any later
    estimate = counter.count(file.getvalue())
    took_ms = estimate.timings.decode_ms + estimate.timings.inference_ms if estimate.timings else 0.0
    return f"{counter.card.name} counted {estimate.count} on a rendered photo of {_SHOWN_COUNT} in {took_ms:.0f} ms"


def _models(config: ServeConfig) -> str:
    from bintally.serving.http.multi_model import folder_of

    return f"of {folder_of(config)}, by name"


def _keys(config: ServeConfig) -> str:
    from bintally.serving.http.guards.guarded import keyring_of, needs_keys

    keyring = keyring_of(config)
    if needs_keys(config):
        return f"asked for, from {config.keys_file}"
    return "not asked for" if keyring is None else f"not asked for; one that is shown must be in {config.keys_file}"


def _state(config: ServeConfig) -> str:
    return _writable(config.state_folder)


def _photos(config: ServeConfig) -> str:
    assert config.photos is not None  # noqa: S101 - or it would not be tried
    return _writable(config.photos)


def _writable(folder: Path) -> str:
    with storage_errors(folder):
        made = _first_missing(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"tried")
                os.fsync(file.fileno())
            free = shutil.disk_usage(folder).free
        finally:
            if made is not None:
                _remove_empty(folder, made)
    return f"{folder} can be written to, {free / 2**30:.1f} GB are free"


def _first_missing(folder: Path) -> Path | None:
    """The uppermost folder that is not there; None: all are."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    return missing[-1] if missing else None


def _remove_empty(folder: Path, last: Path) -> None:
    """Takes away what the check has made, from `folder` up to `last`."""
    for place in (folder, *folder.parents):
        place.rmdir()
        if place == last:
            return


def _samples(config: ServeConfig) -> str:
    from bintally.serving.http.samples import Samples

    return f"{len(Samples(config.samples).all())} photos of {config.samples}"


def _certificate(config: ServeConfig) -> str:
    from bintally.serving.listening import check_certificate

    check_certificate(config)
    return f"{config.tls_cert} and its key belong together"


def _hosts(config: ServeConfig) -> str:
    from bintally.serving.fetching.fetcher import fetcher_of

    fetcher_of(config)
    return f"from {', '.join(config.allow_url)}"


def _ledger(config: ServeConfig) -> str:
    from bintally.inventory.ledger import Ledger
    from bintally.serving.redaction import without_secrets

    assert config.ledger is not None  # noqa: S101 - or it would not be tried
    with Ledger.open(config.ledger) as ledger, ledger.read():
        return f"{without_secrets(config.ledger)} can be read"


def _bins(config: ServeConfig) -> str:
    from bintally.counting.counter import Counter
    from bintally.serving.bins.judge import taker_of

    taker_of(config).how(Counter(_bundle(config), threads=1))
    return "can be followed with the model"


def _policy(config: ServeConfig) -> str:
    from bintally.counting.counter import Counter
    from bintally.serving.bins.recorded import RecordJudge

    RecordJudge(config.policy).policies(Counter(_bundle(config), threads=1))
    return f"{config.policy} fits the model"


def _broker(config: ServeConfig) -> str:
    from bintally.serving.mqtt import broker

    broker.check(config)
    assert config.mqtt is not None  # noqa: S101 - or it would not be tried
    found = broker.Broker.of(config.mqtt)
    try:
        socket.create_connection((found.host, found.port), _BROKER_S).close()
    except OSError as error:
        raise UsageError(
            f"{found} does not answer: {error.strerror or error}.",
            hint="The service would start, and go on trying to reach it.",
        ) from None
    return f"{found} answers"
