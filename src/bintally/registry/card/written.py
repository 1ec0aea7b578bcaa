"""A model card as Markdown, and as a self-contained page."""

import re
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from bintally.counting.evaluation_page import amount, interval, number, percent, reliability
from bintally.errors import UsageError
from bintally.pages import render
from bintally.registry.card import words
from bintally.registry.card.header import header
from bintally.registry.card.recipe_text import recipe_text
from bintally.registry.card.told import ModelCard

_MARKDOWN: Final = "model_card.md"
_PAGE: Final = "model_card.html"


def written(card: ModelCard, suffix: str) -> bytes:
    """The card as a file of that kind: .md, .html or .json.

    Raises:
        UsageError: there is no such kind.
    """
    if suffix == ".md":
        return markdown(card).encode()
    if suffix == ".html":
        return page(card).encode()
    if suffix == ".json":
        return card.to_json()
    raise UsageError(
        f"A model card can't be written as {suffix or 'a file without an ending'}.", hint="Say .md, .html or .json."
    )


def markdown(card: ModelCard) -> str:
    """The card as Markdown, with the header that the Hugging Face hub reads."""
    return _environment().get_template(_MARKDOWN).render(_said(card), header=header(card)).strip() + "\n"


def page(card: ModelCard) -> str:
    """The card as a page in the house style."""
    plot = None if card.evaluation is None else reliability(card.evaluation.calibration)
    return render(_PAGE, **_said(card), reliability=plot, coded=_coded)


def _said(card: ModelCard) -> dict[str, Any]:
    """What both templates need."""
    return {
        "card": card,
        "words": words,
        "recipe": recipe_text(card.recipe),
        "worst_first": words.worst_first(card),
        "below_blind": words.below_blind(card),
        "too_small": words.too_small(card),
        "before": words.made_before(card),
        "percent": percent,
        "number": number,
        "interval": interval,
        "amount": amount,
        "command": _command(card),
    }


def _coded(text: str) -> Markup:
    """A sentence of ours for a page: what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _command(card: ModelCard) -> str:
    """What judges the model as it was judged."""
    results = next(iter(card.results), None)
    told = card.evaluation or results
    asked = "" if told is None else f" --split {told.split} --counts {told.counts}"
    seed = 0 if card.evaluation is None else card.evaluation.seed
    return f"bintally evaluate BUNDLE --data runs/again/data --out report{asked} --seed {seed}"


@cache
def _environment() -> Environment:
    """Markdown is no HTML: nothing is escaped but what would end a cell of a table."""
    environment = Environment(  # noqa: S701
        loader=PackageLoader("bintally"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = lambda text: " ".join(str(text).replace("|", r"\|").split())
    return environment
