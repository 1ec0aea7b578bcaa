"""`Gate`: lets a request in, or answers why not, before its body is read."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from bintally.errors import RequestError
from bintally.serving.http.errors import refusal
from bintally.serving.http.guards.needs import scope_of
from bintally.serving.http.guards.rates import Left, Limit, Rates
from bintally.serving.http.guards.said import Said
from bintally.serving.keys.key import Key
from bintally.serving.keys.key import Scope as KeyScope
from bintally.serving.keys.keyring import Keyring

WRONG_KEYS: Final = Limit(rate=0.2, burst=20)
"""Wrong keys from one address: guessing 256 bits is hopeless; this keeps it from costing us anything, too."""

_LEAST_RATE: Final = 1e-9  # one in 30 years: less is no number to reckon with


class Gate:
    """Whoever may come in, for as often as they may.

    `checks` look at a request where no key is needed. It leaves in the request's state: `client` (the key's name),
    `charge` (see `charge`) and `rate_limit`, which is told in the answer's headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: Keyring | None,
        needs_key: bool,
        limit: Limit | None,
        rates: Rates,
        wrong_keys: Rates,
        checks: tuple[Callable[[Scope, Said], None], ...] = (),
        failures: dict[str, str] | None = None,
    ) -> None:
        self._app, self._keyring, self._needs_key = app, keyring, needs_key
        self._limit, self._rates, self._wrong_keys = limit, rates, wrong_keys
        self._checks = checks
        self._failures: dict[str, str] = {} if failures is None else failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            try:
                self._let_in(scope)
            except RequestError as error:
                response = refusal(error, path=scope["path"])
                if error.status == 401:
                    response.headers["WWW-Authenticate"] = 'Bearer realm="bintally"'
                if error is scope["state"]["said"].problem:  # what else is on this connection can't be trusted
                    response.headers["Connection"] = "close"
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _let_in(self, scope: Scope) -> None:
        state = scope["state"]
        said: Said = state["said"]
        if said.problem is not None:
            raise said.problem
        for check in self._checks:
            check(scope, said)
        if self._keyring is not None:
            self._refresh(self._keyring)
        wanted = scope_of(scope["method"], scope["path"])
        if wanted is None:
            return
        key = self._key(said, scope)
        if key is not None:
            _check_scope(key, wanted)
            state["client"] = key.name
        if wanted == "count":
            self._spend(scope, key)

    def _refresh(self, keyring: Keyring) -> None:
        """Also where no key is asked for: health tells whether the file can be read."""
        keyring.refresh()
        if keyring.failure is not None:
            self._failures["keys"] = keyring.failure
        elif "keys" in self._failures:
            del self._failures["keys"]

    def _key(self, said: Said, scope: Scope) -> Key | None:
        """The key that is shown; None: none is, and none is needed."""
        if self._keyring is None:
            return None
        shown = said.presented()
        if shown is None:
            if self._needs_key:
                raise _unauthorized("This needs an API key.")
            return None
        key = self._keyring.find(shown)
        if key is None:
            self._wrong_keys.spend(address_of(scope), WRONG_KEYS, 1)
            raise _unauthorized("This API key is not known here, or is expired.")
        return key

    def _spend(self, scope: Scope, key: Key | None) -> None:
        limit = self._limit if key is None or key.rate is None else limit_of(key.rate, 0)
        if limit is None:
            return
        who = f"address {address_of(scope)}" if key is None else f"key {key.id}"
        state: dict[str, Any] = scope["state"]

        def spend(photos: int, *, before: int = 0) -> None:
            try:
                state["rate_limit"] = self._rates.spend(who, limit, photos, before=before)
            except RequestError as error:
                state["rate_limit"] = Left(limit, 0, error.retry_after_s or 0.0)
                raise

        spend(1)
        state["charge"] = spend


def charge(state: dict[str, Any], photos: int) -> None:
    """Takes the photos of a request, once they are counted, from what its key may send; the first is taken before.

    Raises:
        RequestError: 429, the key may not send so many now.
    """
    spend = state.get("charge")
    if spend is not None and photos > 1:
        spend(photos - 1, before=1)


def limit_of(rate: float, burst: int) -> Limit | None:
    """`rate` photos a second, and `burst` at once (0: as many as in 10 seconds); None: no limit."""
    return Limit(max(rate, _LEAST_RATE), burst or max(round(10 * rate), 1)) if rate > 0 else None


def address_of(scope: Scope) -> str:
    """Who is on the other end, for limits: an IPv4 address, or an IPv6 network of 64 bits, which one customer has."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    if address.ipv4_mapped:  # so they come to a service that is bound to "::"
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, 64), strict=False))


def _check_scope(key: Key, wanted: KeyScope) -> None:
    if wanted not in key.scopes:
        raise RequestError(
            f"The API key {key.name!r} may not do this: it needs the scope {wanted!r}.",
            status=403,
            code="scope_missing",
            hint=f"Use a key that was made with `--scope {wanted}`.",
        )


def _unauthorized(message: str) -> RequestError:
    return RequestError(
        message,
        status=401,
        code="unauthorized",
        hint="Send it as `Authorization: Bearer btk_...`; `bintally keys create NAME` makes one there.",
    )
