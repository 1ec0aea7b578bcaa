"""Frappe's REST API: documents are listed, read, made, changed and deleted, with errors that are ours.

The contract is docs.frappe.io/framework/user/en/api/rest and `frappe/api/v1.py` (Frappe 14 to 16): documents are at
/api/resource/DOCTYPE, with a token of API key and secret in the header Authorization. What is refused comes with the
name of Frappe's error in `exc_type`, and with words for people in `_server_messages`, which is JSON in JSON in JSON
(`frappe/utils/response.py`). The statuses are Frappe's own (`frappe/exceptions.py`): 417 for nearly all that is
refused, a document that has changed included.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import httpx2
import msgspec

from bintally.errors import ErpAccessError, ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.erpnext.settings import ErpNextSettings
from bintally.inventory.erp.http import Http, json_of

PAGE: Final = 500
"""Documents asked for at once."""
AT_ONCE: Final = 50
"""Names in one filter, which is part of an address."""

_LOCKED_OUT: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_BUSY: Final = {"DocumentLockedError", "QueryDeadlockError", "QueryTimeoutError"}


class Reply(msgspec.Struct, frozen=True):
    """What was answered: a document, or why there is none. `error`: the name of Frappe's."""

    document: Mapping[str, Any] = {}
    error: str = ""
    words: str = ""

    def accepted(self) -> Mapping[str, Any]:
        """The document.

        Raises:
            ErpRefusedError: there is none.
        """
        if self.error:
            raise ErpRefusedError(self.words, hint=f"That is a {self.error} of ERPNext: mend it there.")
        return self.document


class Rest:
    """One user's requests to one site. Not for several threads at once.

    Raises:
        ErpUnavailableError: nobody answered in time, or it failed; what was asked for may have been done nevertheless.
        ErpAccessError: it does not let us in, or is no ERPNext.
        ErpRefusedError: it will not.
    """

    def __init__(self, settings: ErpNextSettings, api_secret: str) -> None:
        self._secret = api_secret
        token = {"Authorization": f"token {settings.api_key}:{api_secret}"}
        self._http = Http("ERPNext", settings.url, timeout_s=settings.timeout_s, headers=token)

    def method(self, name: str, **parameters: str) -> Any:
        """What a method answers that changes nothing."""
        return self._told(self._http.send("GET", f"/api/method/{name}", params=parameters))

    def listed(self, doctype: str, fields: Sequence[str], filters: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """Documents by name, page by page: what is added meanwhile is told or not, but nothing twice."""
        last: list[Any] = []
        while True:
            query = {
                "fields": _text(["name", *fields]),
                "filters": _text([*filters, *last]),
                "order_by": "name asc",
                "limit_page_length": PAGE,
            }
            response = self._http.send("GET", _path(doctype), params=query)
            page = self._told(response).get("data")
            if response.status_code != HTTPStatus.OK or not isinstance(page, list):
                self._reply(response).accepted()
                raise _no_erpnext(response)
            yield from page
            if len(page) < PAGE:
                return
            last = [["name", ">", page[-1]["name"]]]

    def listed_of(
        self, doctype: str, fields: Sequence[str], filters: Sequence[Any], *, field: str, values: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Documents whose `field` is among `values`, however many those are."""
        for start in range(0, len(values), AT_ONCE):
            some = [field, "in", list(values[start : start + AT_ONCE])]
            yield from self.listed(doctype, fields, [*filters, some])

    def read(self, doctype: str, name: str) -> Reply:
        """A document."""
        return self._reply(self._http.send("GET", _path(doctype, name)))

    def create(self, doctype: str, values: Mapping[str, Any]) -> Reply:
        """A new document, as a draft."""
        return self._reply(self._http.send("POST", _path(doctype), json=values))

    def update(self, doctype: str, name: str, values: Mapping[str, Any]) -> Reply:
        """A document with other values."""
        return self._reply(self._http.send("PUT", _path(doctype, name), json=values))

    def delete(self, doctype: str, name: str) -> Reply:
        """No document any more."""
        return self._reply(self._http.send("DELETE", _path(doctype, name)))

    def close(self) -> None:
        """Ends connections."""
        self._http.close()

    def _reply(self, response: httpx2.Response) -> Reply:
        told = self._told(response)
        if response.is_success:
            document = told.get("data")
            return Reply(document if isinstance(document, dict) else {})
        error = str(told.get("exc_type") or f"HTTP {response.status_code}")
        words = self._words(told)
        if error in _BUSY:
            raise ErpUnavailableError(f"ERPNext is busy ({error}): {words}")
        return Reply(error=error, words=words or f"ERPNext refuses ({error})")

    def _told(self, response: httpx2.Response) -> dict[str, Any]:
        told = json_of(response)
        if response.status_code in _LOCKED_OUT:
            words = self._words(told) if isinstance(told, dict) else ""
            is_answer = isinstance(told, dict) and "exc_type" in told and response.status_code == HTTPStatus.FORBIDDEN
            raise (ErpRefusedError if is_answer else ErpAccessError)(
                f"ERPNext does not allow that (HTTP {response.status_code}). {words}".strip(),
                hint="Look at the user's roles, the setting api_key and the connection's secret.",
            )
        if not isinstance(told, dict):
            raise _no_erpnext(response)
        return told

    def _words(self, told: Mapping[str, Any]) -> str:
        """What it says, in one line, without markup and without our secret."""
        try:
            messages = [msgspec.json.decode(each) for each in msgspec.json.decode(told.get("_server_messages") or "[]")]
        except (msgspec.DecodeError, TypeError):
            messages = []
        words = [str(each.get("message", "")) for each in messages if isinstance(each, dict)]
        text = " ".join(words) or str(told.get("exception") or "").partition(": ")[2]
        return " ".join(unescape(re.sub(r"<[^>]*>", "", text)).replace(self._secret, "…").split())


def _path(*parts: str) -> str:
    return "/api/resource/" + "/".join(quote(part, safe="") for part in parts)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _no_erpnext(response: httpx2.Response) -> ErpAccessError:
    return ErpAccessError(f"What answers is no ERPNext (HTTP {response.status_code}).", hint="Look at the setting url.")
