"""The error tree: what is drawn is what there is, and each error says what to do next."""

import re

import pytest

from bintally import errors
from bintally.errors import BintallyError, did_you_mean

TREE = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, BintallyError)}


def _drawn() -> dict[str, int | None]:
    """Names of the docstring's drawing and the exit codes that stand beside them."""
    lines = re.findall(r"^[│├└─ ]*(\w+Error)(?:\s+(\d)\b)?", str(errors.__doc__), re.MULTILINE)
    return {name: int(code) if code else None for name, code in lines}


def test_the_drawing_shows_every_error_and_no_other() -> None:
    assert set(_drawn()) == set(TREE)


def test_the_drawn_exit_codes_are_the_real_ones() -> None:
    for name, code in _drawn().items():
        parent = TREE[name].__mro__[1]
        assert TREE[name].exit_code == (code if code is not None else getattr(parent, "exit_code"))  # noqa: B009


def test_no_exit_code_is_success_or_a_signals() -> None:
    assert all(0 < kind.exit_code < 64 for kind in TREE.values())


def test_an_error_is_its_sentence_and_its_hint() -> None:
    error = BintallyError("The photo is empty.", hint="Take it again.")
    assert str(error) == "The photo is empty. Take it again."
    assert (error.message, error.hint) == ("The photo is empty.", "Take it again.")
    assert str(BintallyError("The photo is empty.")) == "The photo is empty."


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet5", "Did you mean 'resnet50' or 'resnet18'?"),
        ("vit", "Known: densenet169, resnet18, resnet50."),
    ],
)
def test_an_unknown_name_says_what_is_near_or_what_there_is(name: str, hint: str) -> None:
    assert did_you_mean(name, ["resnet50", "densenet169", "resnet18"]) == hint


def test_a_long_list_is_cut() -> None:
    assert did_you_mean("?", [f"{letter}{letter}" for letter in "abcdef"], shown=2) == "Known: aa, bb and 4 more."
