"""What connectors share that speak HTTP: an address that is checked, and answers that mean "later"."""

from http import HTTPStatus
from typing import Annotated, Any, Final

import httpx2
from pydantic import AfterValidator

from bintally import __version__
from bintally.errors import ErpUnavailableError

_CONNECT_S: Final = 10.0


def _checked(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise ValueError("no address of a server, such as https://erp.example.com, without user and password")
    return url.rstrip("/")


Address = Annotated[str, AfterValidator(_checked)]
"""Of a server, such as https://erp.example.com; whatever opens its door is no part of it."""


class Http:
    """Requests to one server, called `product` in errors. Redirects are not followed, and nothing is sent twice."""

    def __init__(self, product: str, url: str, *, timeout_s: float, headers: dict[str, str]) -> None:
        self._product, self._url = product, url
        self._http = httpx2.Client(
            base_url=url,
            headers={"User-Agent": f"bintally/{__version__}", "Accept": "application/json"} | headers,
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
        )

    def send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """What is answered, whether it says yes or no.

        Raises:
            ErpUnavailableError: nobody answered in time, or it is busy or failed; what was asked for may have been
                done nevertheless.
        """
        try:
            response = self._http.request(method, path, **content)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ErpUnavailableError(
                f"{self._product} at {self._url} did not answer ({type(error).__name__}).",
                hint="Look whether it runs; the next `bintally erp post` tries again.",
            ) from None
        status = response.status_code
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            after = response.headers.get("Retry-After", "")
            raise ErpUnavailableError(
                f"{self._product} is busy or failed (HTTP {status}).",
                hint=f"Look at {self._product}'s log; the next `bintally erp post` tries again.",
                retry_after_s=float(after) if after.isdecimal() else None,
            )
        return response

    def close(self) -> None:
        """Ends connections."""
        self._http.close()


def json_of(response: httpx2.Response) -> Any:
    """What was answered as JSON; None: it was something else."""
    try:
        return response.json()
    except ValueError:
        return None
