"""Calls of Odoo's models: in either of its two APIs, in time, and with errors that are ours.

JSON-RPC (deprecated since 19, to go with 22; Odoo 16 to 18's developer/reference/external_api, and
`addons/rpc/controllers/jsonrpc.py`): a POST to `/jsonrpc` of `execute_kw` with database, user id and API key. Errors of
the application come with status 200; an answer of None has no `result`.

JSON-2 (since 19; Odoo 19's developer/reference/external_api, and `addons/rpc/controllers/json2.py`): a POST to
`/json/2/MODEL/METHOD` with named arguments and the API key as a bearer. Errors come with a status of their own.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import httpx2

from bintally.errors import ErpAccessError, ErpError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.http import Http, json_of
from bintally.inventory.erp.odoo.settings import OdooSettings

_CONTEXT: Final = {"inventory_mode": True}
"""With it, a user of the group Inventory may write what was counted (`StockQuant._is_inventory_mode`)."""

_REFUSALS: Final = {"AccessDenied", "AccessError", "MissingError", "RedirectWarning", "UserError", "ValidationError"}
_BUSY: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT)


class Rpc:
    """One user's calls of one database. Each call is a transaction of its own. Not for several threads at once.

    Raises:
        ErpUnavailableError: nobody answered in time, or it failed; what was asked for may have been done nevertheless.
        ErpAccessError: it does not let us in, or is no Odoo.
        ErpRefusedError: it will not.
    """

    def __init__(self, settings: OdooSettings, api_key: str) -> None:
        self._settings, self._api_key = settings, api_key
        self._uid: int | None = None
        headers = {"Authorization": f"bearer {api_key}", "X-Odoo-Database": settings.database}
        self._is_json2 = settings.api == "json2"
        self._http = Http("Odoo", settings.url, timeout_s=settings.timeout_s, headers=headers if self._is_json2 else {})

    def version(self) -> str:
        """Odoo's series, such as 18.0."""
        if self._is_json2:
            told = json_of(self._http.send("GET", "/web/version"))
            return str(told["version"]) if isinstance(told, dict) and "version" in told else _no_odoo()
        told = self._service("common", "version")
        return str(told["server_version"]) if isinstance(told, dict) and "server_version" in told else _no_odoo()

    def uid(self) -> int:
        """The user's id; logs in where that is a step of its own."""
        if self._uid is None:
            if self._is_json2:
                self._uid = int(self.call("res.users", "context_get")["uid"])
            else:
                who = (self._settings.database, self._settings.user, self._api_key)
                self._uid = self._service("common", "authenticate", *who, {}) or self._locked_out()
        return self._uid

    def call(self, model: str, method: str, ids: Sequence[int] = (), **named: Any) -> Any:
        """`method` of the records `ids` of a model (none: of the model itself), with named arguments."""
        if self._is_json2:
            return self._json2(model, method, {"ids": list(ids)} if ids else {}, named)
        return self._execute_kw(model, method, [list(ids)] if ids else [], named)

    def create(self, model: str, values: Sequence[Mapping[str, Any]]) -> list[int]:
        """New records' ids."""
        if self._is_json2:
            ids = self._json2(model, "create", {}, {"vals_list": values})
        else:  # its first argument may not be named there (`call_kw`)
            ids = self._execute_kw(model, "create", [values], {})
        return [int(id_) for id_ in ids]

    def close(self) -> None:
        """Ends connections."""
        self._http.close()

    def _execute_kw(self, model: str, method: str, positional: list[Any], named: Mapping[str, Any]) -> Any:
        who = (self._settings.database, self.uid(), self._api_key)
        return self._service("object", "execute_kw", *who, model, method, positional, {**named, "context": _CONTEXT})

    def _service(self, service: str, method: str, *arguments: Any) -> Any:
        params = {"service": service, "method": method, "args": arguments}
        body = {"jsonrpc": "2.0", "method": "call", "params": params, "id": 0}
        response = self._http.send("POST", "/jsonrpc", json=body)
        told = json_of(response)
        if response.status_code != HTTPStatus.OK or not isinstance(told, dict) or "jsonrpc" not in told:
            _no_odoo(response)
        if "error" in told:
            error = told["error"]
            raise self._error(error.get("data") if isinstance(error, dict) else None)
        return told.get("result")

    def _json2(self, model: str, method: str, ids: dict[str, Any], named: Mapping[str, Any]) -> Any:
        body = {**ids, **named, "context": _CONTEXT}
        response = self._http.send("POST", f"/json/2/{model}/{method}", json=body)
        told = json_of(response)
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            self._locked_out()
        if response.status_code in _BUSY:
            raise ErpUnavailableError(f"Odoo is busy (HTTP {response.status_code}).")
        if response.status_code != HTTPStatus.OK:
            if not isinstance(told, dict) or "name" not in told:
                _no_odoo(response)
            words = self._words(told) or f"Odoo refuses (HTTP {response.status_code})."
            raise ErpRefusedError(words, hint="Look at the user's groups in Odoo, and at the setting database.")
        return told

    def _error(self, told: Any) -> ErpError:
        name = str(told.get("name", "")).rpartition(".")[2] if isinstance(told, dict) else ""
        words = self._words(told)
        if name == "AccessDenied":
            self._locked_out()
        if name == "NotFound":  # from Odoo 20 on it is off, unless rpc.use_deprecated_services says otherwise
            return ErpAccessError("Odoo answers no JSON-RPC.", hint="Set api=json2.")
        if name in _REFUSALS:
            return ErpRefusedError(words or f"Odoo refuses ({name}).", hint="Look at the user's groups in Odoo.")
        return ErpUnavailableError(f"Odoo failed with {name or 'an error'}: {words}", hint="Look at Odoo's log.")

    def _words(self, told: Any) -> str:
        """What it says, in one line, without our key."""
        words = told.get("message") if isinstance(told, dict) else None
        return " ".join(str(words or "").replace(self._api_key, "…").split())

    def _locked_out(self) -> Any:
        raise ErpAccessError(
            f"Odoo does not let {self._settings.user} in.",
            hint="Look at the settings database and user, and whether the connection's secret is a valid API key.",
        )


def _no_odoo(response: httpx2.Response | None = None) -> Any:
    status = f" (HTTP {response.status_code})" if response is not None else ""
    raise ErpAccessError(f"What answers is no Odoo{status}.", hint="Look at the settings url and api.")
