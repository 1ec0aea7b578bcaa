"""The guards around the HTTP app, chosen by the settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Scope

from bintally.errors import StorageError, UsageError
from bintally.serving.http.guards.browsers import check_host, check_no_proxy, check_site, is_loopback
from bintally.serving.http.guards.cut_off import CutOff
from bintally.serving.http.guards.dressed import Dressed
from bintally.serving.http.guards.gate import Gate, limit_of
from bintally.serving.http.guards.needs import is_health
from bintally.serving.http.guards.rates import Rates, Slots
from bintally.serving.http.guards.said import Said
from bintally.serving.keys.keyring import Keyring
from bintally.serving.settings import ServeConfig

_READS: Final = frozenset({"GET", "HEAD"})


def guarded(app: ASGIApp, config: ServeConfig, failures: dict[str, str], *, shared: Path | None = None) -> ASGIApp:
    """`app` behind its guards; what does not work is told in `failures`.

    `shared`: a folder of all workers of this start of the service; None: there is only one.

    Raises:
        UsageError: keys are needed, and there is none.
        StorageError: the file of keys can't be read.
    """
    gate = Gate(
        app,
        keyring=keyring_of(config),
        needs_key=needs_keys(config),
        limit=limit_of(config.rate, config.burst),
        rates=Rates(_slots(shared, failures)),
        wrong_keys=Rates(Slots()),
        checks=_checks(config),
        failures=failures,
    )
    return Dressed(CutOff(gate))


def needs_keys(config: ServeConfig) -> bool:
    """Whether requests need an API key: unless only this machine can send any, or somebody else guards the door."""
    if config.sagemaker or config.require_keys == "never":
        return False
    return config.require_keys == "always" or not is_loopback(config.host)


def keyring_of(config: ServeConfig) -> Keyring | None:
    """The keys; None where nobody looks at them.

    Where keys are not needed but there are some, one that is shown is looked at all the same: a wrong one is told
    before the service is opened to others.

    Raises:
        UsageError: keys are needed, and there is none.
        StorageError: the file of keys can't be read.
    """
    if config.sagemaker or config.require_keys == "never":
        return None
    keyring = Keyring(config.keys_file)
    if not keyring.is_empty:
        return keyring
    if needs_keys(config):
        raise UsageError(
            f"Other machines can reach {config.host}, so requests need an API key, and {config.keys_file} has none."
            if not is_loopback(config.host)
            else f"Requests need an API key, and {config.keys_file} has none.",
            hint="Make one with `bintally keys create NAME`, or say BINTALLY_SERVE_REQUIRE_KEYS=never if something "
            "else guards the service.",
        )
    return None


def _checks(config: ServeConfig) -> tuple[Callable[[Scope, Said], None], ...]:
    keyless = not needs_keys(config) and not config.sagemaker
    local = keyless and is_loopback(config.host)
    allowed = frozenset(name.lower() for name in config.allow_host)
    checks: list[Callable[[Scope, Said], None]] = []
    if allowed:  # whoever looks whether the service is well, such as a load balancer, asks by its address
        checks.append(lambda scope, said: None if is_health(scope["path"]) else check_host(said, allowed))
    elif local:
        checks.append(lambda _, said: check_host(said, allowed))
    if local and config.require_keys == "auto":
        checks.append(lambda _, said: check_no_proxy(said))
    if keyless:
        checks.append(lambda scope, said: None if scope["method"] in _READS else check_site(said))
    return tuple(checks)


def _slots(shared: Path | None, failures: dict[str, str]) -> Slots:
    """Shared by the workers; where they can't share, each allows as much."""
    if shared is None:
        return Slots()
    try:
        return Slots(shared / "rates")
    except StorageError as error:
        failures["rate"] = f"Each worker has limits of its own: {error.message}"
        return Slots()
