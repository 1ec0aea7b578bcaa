"""`bintally models approve`, `reject`, `retire` and `forget`."""

from collections.abc import Callable
from typing import Final

from bintally.cli.common import Json, console, emit_json
from bintally.cli.models.named import By, Model, Reason, RegistryOption, VersionArgument, acting, opened, plain

_VERBS: Final[dict[str, str]] = {
    "approve": "Let a version be promoted, where the registry wants somebody's word.",
    "reject": "Let a version never be promoted, unless somebody approves it later.",
    "retire": "Take a version out of use; `bintally models gc` removes its bundle.",
    "forget": "Let go of a retired version for good: its bundle is not taken again.",
}


def _verb(name: str, what: str) -> Callable[..., None]:
    def change(
        version: VersionArgument,
        reason: Reason = "",
        model: Model = "bintally",
        registry: RegistryOption = None,
        by: By = None,
        json_output: Json = False,
    ) -> None:
        from bintally.registry import approval
        from bintally.registry.versions import version_of

        with opened(registry) as held:
            with held.read() as connection:
                found = version_of(connection, version, model=model)
            now = getattr(approval, name)(held, found.name, by=acting(by), reason=reason)
        if json_output:
            emit_json(plain(now))
        else:
            console().print(f"[bold]{now.name}[/] is {now.state}.")

    change.__name__ = name
    change.__doc__ = f"{what}\n\n    Example: `bintally models {name} bintally/3 --reason 'WHY'`\n    "
    return change


VERBS: Final = tuple(_verb(name, what) for name, what in _VERBS.items())
