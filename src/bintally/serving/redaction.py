"""What may be shown of texts that can hold secrets: URLs, and lines for a log."""

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_HIDDEN: Final = "***"
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s@]*@")
_SECRETS: Final = (
    (re.compile(r"btk_([0-9a-f]{1,12})_[A-Za-z0-9_-]+"), rf"btk_\1_{_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    (
        re.compile(r"(?i)(authorization|x-api-key)([\"']?\s*[:=,]\s*b?[\"']?)(?!bearer |basic )[^\s\"',;]+"),
        rf"\1\2{_HIDDEN}",
    ),
    (re.compile(r"(://[^/?#\s:@\"']*):[^/?#\s\"']*@"), rf"\1:{_HIDDEN}@"),
    (re.compile(r"(https?://[^\s?#\"']*)\?[^\s\"'#]+"), rf"\1?{_HIDDEN}"),
)


def without_secrets(url: str) -> str:
    """`url` without who logs in (`user:password@`), and with `***` for its query: signed URLs have their key there."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as half an IPv6 address
        return _USERINFO.sub(f"{_HIDDEN}@", url.partition("?")[0].partition("#")[0])
    place = parts.netloc.rpartition("@")
    netloc = f"{_HIDDEN}@{place[2]}" if place[1] else parts.netloc
    return urlunsplit((parts.scheme, netloc, parts.path, _HIDDEN if parts.query else "", ""))


def scrubbed(text: str) -> str:
    """`text` (a log's line, a traceback) with the secrets hidden that have a shape: keys, headers, URLs' passwords."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text
