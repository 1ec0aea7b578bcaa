"""Addresses as they may be written down."""

import re
from typing import Final

_ADDRESS: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?:[^\s/]*@)?(?P<place>[^\s?#]*)(?:[?#]\S*)?", re.I)


def without_login(text: str) -> str:
    """A text whose addresses say neither who logs in nor what is behind their "?": signed ones have their key there."""
    return _ADDRESS.sub(r"\g<scheme>\g<place>", text)
