"""Prints the table of the service's settings that docs/serving.md shows: `python tools/serve_settings.py`."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from bintally.serving.environment import variable_of
from bintally.serving.settings import ServeConfig


def table() -> str:
    """A row for each setting, in Markdown."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in ServeConfig.model_fields.items():
        meaning = f"{field.description}{_choices(field.annotation)}"
        rows.append(f"| `{variable_of(name)}` | {_shown(field.default)} | {meaning} |")
    return "\n".join(rows)


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is not Literal:
        return ""
    return f" One of {', '.join(f'`{each}`' for each in get_args(annotation))}."


def _shown(default: Any) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default.as_posix() if isinstance(default, Path) else default}`"


if __name__ == "__main__":
    print(table())
