"""The YAML header of a model card's Markdown, as the Hugging Face hub reads it.

https://github.com/huggingface/hub-docs/blob/main/modelcard.md. Each scalar is written as JSON, which is YAML, too.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from bintally.registry.card.told import ModelCard
from bintally.registry.card.words import NAMES

_CREATIVE_COMMONS: Final = re.compile(r"CC[ -](BY(?:-(?:NC|SA|ND))*)[ -](\d\.\d)", re.IGNORECASE)
_PLAIN: Final = {"apache-2.0": "apache-2.0", "mit": "mit", "cc0-1.0": "cc0-1.0", "bsd-3-clause": "bsd-3-clause"}


def header(card: ModelCard) -> str:
    """The header, without the lines of dashes around it."""
    return "\n".join(_lines(metadata(card)))


def metadata(card: ModelCard) -> dict[str, Any]:
    """What the header says."""
    told: dict[str, Any] = {
        **_licence(card.licence),
        "library_name": "bintally",
        "pipeline_tag": "image-classification",
        "tags": ["counting", "inventory", "onnx", "warehouse"],
        "metrics": [row.name for row in card.results[0].rows] if card.results else [],
    }
    if card.energy.co2_g is not None:
        told["co2_eq_emissions"] = {
            "emissions": round(card.energy.co2_g, 3),
            "source": "estimate: training time x assumed power x assumed carbon intensity",
            "training_type": "training",
            "hardware_used": card.training.machine or "not known",
        }
    results = [_results(card, index) for index in range(len(card.results))]
    return told | ({"model-index": [{"name": card.name, "results": results}]} if results else {})


def _licence(licence: str) -> dict[str, str]:
    """By the hub's name, where it has one for it."""
    found = _CREATIVE_COMMONS.search(licence)
    if found is not None:
        return {"license": f"cc-{found[1].lower()}-{found[2]}"}
    first = re.split(r"[\s:(,;]", licence.strip().lower(), maxsplit=1)[0]
    if first in _PLAIN:
        return {"license": _PLAIN[first]}
    return {"license": "other", "license_name": licence}


def _results(card: ModelCard, index: int) -> dict[str, Any]:
    results = card.results[index]
    return {
        "task": {"type": "image-classification", "name": "Counting items in photos of bins"},
        "dataset": {
            "type": "bin-photos",
            "name": f"{card.data.source or 'Photos of bins'}, {results.split}, counts {results.counts}",
            "split": results.split,
        },
        "metrics": [
            {"type": row.name, "name": NAMES.get(row.name, row.name), "value": round(row.measured.value, 4)}
            for row in results.rows
        ],
    }


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """A mapping or a list in block style."""
    entries = value.items() if isinstance(value, dict) else (("-", each) for each in value)
    for key, each in entries:
        before = f"{indent}-" if key == "-" else f"{indent}{key}:"
        if not (isinstance(each, dict | list) and each):
            yield f"{before} {json.dumps(each, ensure_ascii=False)}"
        elif key == "-":
            first, *rest = _lines(each, f"{indent}  ")
            yield f"{before} {first.lstrip()}"
            yield from rest
        else:
            yield before
            yield from _lines(each, f"{indent}  ")
