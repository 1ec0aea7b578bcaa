"""Which scope a request needs: what is not named here needs the strongest."""

import re
from typing import Final

from bintally.serving.keys.key import Scope

_READS: Final = frozenset({"GET", "HEAD"})
_HEALTH: Final = frozenset({"/ping", "/health", "/v2/health"})
_BELOW_HEALTH: Final = ("/health/", "/v2/health/")
_OPEN: Final = frozenset({"/", "/docs", "/favicon.ico"})
_COUNTS: Final = re.compile(r"/invocations|/v1/counts|/v1/overlay|/models/[^/]+/invoke|/v2/models/.+/infer")


def scope_of(method: str, path: str) -> Scope | None:
    """The scope that `method` on `path` needs; None: whether the service is well, and the page, are for everybody."""
    if method in _READS:
        return None if path in _OPEN or is_health(path) else "read"
    return "count" if method == "POST" and _COUNTS.fullmatch(path) else "admin"


def is_health(path: str) -> bool:
    """Whether `path` tells whether the service is well."""
    return path in _HEALTH or path.startswith(_BELOW_HEALTH)
