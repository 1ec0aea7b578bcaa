"""Texts that a spreadsheet would take for a formula when it opens a CSV file, and carry out."""

from typing import Final

# OWASP, CSV Injection; the last four are full-width ones, which some spreadsheets take for the others.
_FIRST: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would."""
    return text.startswith(_FIRST) or text.lstrip().startswith(_FIRST)


def as_words(text: str) -> str:
    """A text for people, with an apostrophe in front where it would be a formula. Of a code that makes another one."""
    return f"'{text}" if is_formula(text) else text
