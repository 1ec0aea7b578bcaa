"""A recipe as TOML that `bintally train` reads: a line a setting."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """The recipe's settings with their dotted keys; what is not set has none.

    Strings, numbers, truths and lists are in TOML what they are in JSON.
    """
    return "\n".join(f"{key} = {_value(value)}" for key, value in _settings(recipe))


def _settings(part: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in part.items():
        key = before + (name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False))
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{key}.")
        elif value is not None:
            yield key, value


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = (f"{json.dumps(name)} = {_value(each)}" for name, each in value.items() if each is not None)
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value if each is not None)}]"
    # TOML refuses the two escapes that JSON may make of a letter, and DEL as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
