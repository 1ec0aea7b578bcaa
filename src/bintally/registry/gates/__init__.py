"""Gates: what a version must pass, beside the champion and on photos that neither learnt from, before it may serve."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bintally.registry.gates.judge import run as run
    from bintally.registry.gates.outcome import GateOutcome as GateOutcome
    from bintally.registry.gates.outcome import GateResult as GateResult
    from bintally.registry.gates.settings import PromoteSettings as PromoteSettings

__all__ = ["GateOutcome", "GateResult", "PromoteSettings", "run"]

_PLACES = {"run": "judge", "GateOutcome": "outcome", "GateResult": "outcome", "PromoteSettings": "settings"}


def __getattr__(name: str) -> Any:
    """Found when asked for: a recipe needs the settings alone."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
