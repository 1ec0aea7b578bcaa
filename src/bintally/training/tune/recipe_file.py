"""A recipe as a TOML file that means the same wherever it lies."""

from collections.abc import Sequence
from pathlib import Path

import tomli_w

from bintally.artifacts import write_text
from bintally.training.recipe import Recipe


def rooted(recipe: Recipe) -> Recipe:
    """`recipe` with every path absolute, so that it can be read from another folder or process."""
    weights = tuple(str(Path(entry).resolve()) if "/" in entry else entry for entry in recipe.network.weights)
    network = {"weights": weights, "start": _resolved(recipe.network.start)}
    export = {"ensemble": _all_resolved(recipe.export.ensemble), "beside": _resolved(recipe.export.beside)}
    return recipe.model_copy(
        update={
            "fetch": recipe.fetch.model_copy(update={"list_file": _resolved(recipe.fetch.list_file)}),
            "network": recipe.network.model_copy(update=network),
            "teacher": recipe.teacher.model_copy(update={"runs": _all_resolved(recipe.teacher.runs)}),
            "export": recipe.export.model_copy(update=export),
        }
    )


def write_recipe(recipe: Recipe, path: Path, *, comment: str = "") -> None:
    """Writes every setting but `[tune]`, numbers to their last digit; `comment` stands at the top."""
    plain = rooted(recipe).model_dump(mode="json", exclude={"tune"}, exclude_none=True)  # TOML has no null
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    write_text(path, head + tomli_w.dumps(plain))


def _resolved(path: Path | None) -> Path | None:
    return path and path.resolve()


def _all_resolved(paths: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(path.resolve() for path in paths)
