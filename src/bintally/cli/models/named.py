"""What all verbs of `bintally models` ask: which registry, which version or bundle, who does it, and why."""

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bintally.bundle import find_bundle
from bintally.errors import UsageError

if TYPE_CHECKING:
    from bintally.registry.place import Registry
    from bintally.registry.versions import Version

Called = Annotated[
    str, typer.Argument(metavar="WHICH", help="A bundle's folder, or a version: MODEL/NUMBER, a number, an alias.")
]
BundleFlag = Annotated[bool, typer.Option("--bundle", help="It is a bundle: a folder, champion or fast.")]
RegistryOption = Annotated[
    Path | None, typer.Option("--registry", help="The registry's folder; default: $BINTALLY_REGISTRY.")
]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A number, MODEL/NUMBER, or an alias.")]
Model = Annotated[str, typer.Option(help="Which model, where the registry has several.")]
By = Annotated[str | None, typer.Option("--as", help="Who does this; default: $BINTALLY_AS, else the system's user.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever reads it later.")]
Trust = Annotated[
    list[Path] | None, typer.Option("--trust", metavar="FILE", help="Public key that is trusted; repeatable.")
]


def bundle_called(called: str, *, is_bundle: bool) -> Path | None:
    """The folder of the bundle that is meant; None: a version is.

    Raises:
        BundleError: it is said to be a bundle, and is none.
    """
    return find_bundle(called) if is_bundle or Path(called).is_dir() else None


def opened(place: Path | None) -> "Registry":
    """The registry that is meant.

    Raises:
        UsageError: nobody says which, or there is none.
    """
    from bintally.registry.place import Registry

    told = place or os.environ.get("BINTALLY_REGISTRY")
    if not told:
        raise UsageError("Which registry?", hint="Say it with --registry PLACE or $BINTALLY_REGISTRY; or add --bundle.")
    return Registry.open(told)


def acting(named: str | None) -> str:
    """Who acts: `named`, else $BINTALLY_AS, else the system's user."""
    return named or os.environ.get("BINTALLY_AS") or getpass.getuser()


def plain(version: "Version") -> dict[str, Any]:
    """A version as JSON shows it: its card by the name of it."""
    from bintally.records import to_plain

    told: dict[str, Any] = to_plain(version)
    return {"version": version.name, **told, "card": version.card.name}
