"""Calls of Tryton's JSON-RPC: logged in, in time, and with errors that are ours.

The contract is trytond's `protocols/dispatcher.py` and `protocols/jsonrpc.py` (8.2): a POST to `/DATABASE/rpc/` with
`{"id", "method", "params"}`, the session in the header Authorization; errors of the application come with status 200.
"""

import base64
import contextlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import httpx2

from bintally.errors import ErpAccessError, ErpError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.http import Http, json_of
from bintally.inventory.erp.tryton.settings import TrytonSettings

_WORDS: Final = {"UserError": slice(0, 2), "UserWarning": slice(1, 3), "LoginException": slice(1, 2)}
"""Where, among their arguments, the words for people are of those errors that say no."""


class Rpc:
    """One user's calls of one database; logs in when it has to. Not for several threads at once.

    Raises:
        ErpUnavailableError: nobody answered in time, or somebody else was at the same records; what was asked for may
            have been done nevertheless.
        ErpAccessError: it does not let us in, or is no Tryton.
        ErpRefusedError: it will not.
    """

    def __init__(self, settings: TrytonSettings, password: str) -> None:
        self._settings, self._password = settings, password
        self._path = f"/{quote(settings.database, safe='')}/rpc/"
        self._session: str | None = None
        self._context: Mapping[str, Any] | None = None
        self._http = Http("Tryton", settings.url, timeout_s=settings.timeout_s, headers={})

    def version(self) -> str:
        """Tryton's series, such as 8.2."""
        return str(_result(self._post("/rpc/", "common.server.version")))

    def context(self) -> Mapping[str, Any]:
        """What the user's calls are made with: company, language and groups."""
        if self._context is None:
            preferences = self._called("model.res.user.get_preferences", True, {})
            self._context = {name: value for name, value in preferences.items() if name != "locale"}
        return self._context

    def call(self, model: str, method: str, *arguments: Any, **context: Any) -> Any:
        """`model.method(*arguments)`, in the user's context and `context`."""
        return self._called(f"model.{model}.{method}", *arguments, {**self.context(), **context})

    def close(self) -> None:
        """Logs out, where that is possible, and ends connections."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(ErpError):
                self._post(self._path, "common.db.logout", session=session)
        self._http.close()

    def _called(self, method: str, *parameters: Any) -> Any:
        if self._session is None:
            self._session = self._logged_in()
        response = self._post(self._path, method, *parameters, session=self._session)
        if response.status_code == HTTPStatus.UNAUTHORIZED:  # the session was too old: nothing was done
            self._session = self._logged_in()
            response = self._post(self._path, method, *parameters, session=self._session)
        return _result(response)

    def _logged_in(self) -> str:
        user = self._settings.user
        response = self._post(self._path, "common.db.login", user, {"password": self._password})
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            raise ErpAccessError(
                f"Tryton does not let {user} in.", hint="Look at the user, its password and the connection's secret."
            )
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise ErpAccessError(
                f"Tryton has no database {self._settings.database}.", hint="Look at the settings url and database."
            )
        user_id, token, *_ = _result(response)
        return base64.b64encode(f"{user}:{user_id}:{token}".encode()).decode()

    def _post(self, path: str, method: str, *parameters: Any, session: str | None = None) -> httpx2.Response:
        headers = {} if session is None else {"Authorization": f"Session {session}"}
        body = {"id": 0, "method": method, "params": parameters}
        return self._http.send("POST", path, json=body, headers=headers)


def _result(response: httpx2.Response) -> Any:
    """What was answered.

    Raises:
        ErpUnavailableError, ErpRefusedError: that was an error.
    """
    status = response.status_code
    if status != HTTPStatus.OK:
        raise ErpAccessError(f"Tryton refuses (HTTP {status}).", hint="Look at its log, and at the user's groups.")
    answer = json_of(response)
    if not isinstance(answer, dict) or not answer.keys() & {"result", "error"}:
        raise ErpAccessError("What answers is no Tryton.", hint="Look at the setting url.")
    if "error" in answer:
        raise _error(answer["error"])
    return answer.get("result")


def _error(told: Any) -> ErpError:
    """The error for [name, arguments], or for [words, traceback] where Tryton itself failed."""
    name, arguments = told if isinstance(told, list) and len(told) == 2 else (told, None)
    if name == "ConcurrencyException":
        return ErpUnavailableError(f"Tryton: {arguments}.")
    if name not in _WORDS or not isinstance(arguments, list):
        return ErpUnavailableError(f"Tryton failed with {name}.")
    words = [str(word) for word in arguments[_WORDS[name]] if word]
    return ErpRefusedError(" ".join(" ".join(words).split()) or str(name))
