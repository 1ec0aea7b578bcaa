"""What must not leave: passwords, keys and tokens, wherever they may have slipped in.

The ledger keeps no secrets. But stock systems answer as they like, people note what they like, and an address may have
a password in it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

WITHHELD: Final = "(withheld)"

_NAMES: Final = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "credential",
    "authorization", "cookie", "sessionid",
)  # fmt: skip
_IN_TEXT: Final = (
    (re.compile(r"(?<=://)[^/\s@]+@"), f"{WITHHELD}@"),  # user:password@host
    (re.compile(r"\b(bearer)\s+(?=\S*\d)[A-Za-z0-9._~+/=-]{12,}", re.IGNORECASE), rf"\1 {WITHHELD}"),
    (re.compile(r"\b(basic)\s+(?=\S*\d)[A-Za-z0-9+/]{12,}=*(?![\w.~-])", re.IGNORECASE), rf"\1 {WITHHELD}"),
    (
        re.compile(
            r"""
            \b([\w-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|signature)  # also as JSON: "password": ..
            (?:\\*["'])? \s* [=:] \s*)
            (?: (?P<quote>\\*["']) (?: (?!(?P=quote)) (?:\\.|.) )* (?P=quote)?  | [^&\s]+ )
            """,
            re.IGNORECASE | re.VERBOSE | re.DOTALL,
        ),
        rf"\1{WITHHELD}",
    ),
)
_SYSTEM: Final = ("url", "database", "company", "warehouse", "location")


def without_secrets(value: Any) -> Any:
    """Plain values without what is called like a secret, or looks like one. Numbers stay: SKUs are names, too."""
    if isinstance(value, str):
        for pattern, instead in _IN_TEXT:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, Mapping):
        return {name: _kept(name, each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(each) for each in value]
    return value


def which_system(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a connection that say which stock system it is. All others stay here."""
    return {name: without_secrets(str(settings[name])) for name in _SYSTEM if settings.get(name) not in (None, "")}


def _kept(name: object, value: Any) -> Any:
    plain = re.sub("[^a-z]", "", str(name).lower())
    is_secret = any(word in plain for word in _NAMES) and isinstance(value, str | Mapping | list | tuple)
    return WITHHELD if is_secret else without_secrets(value)
