"""Shadows: a challenger counts some of the live photos beside the champion, and nobody hears its answers.

```
running      started, ended, under way
pairs        both answers to a photo, in files of JSON lines
figures      what pairs tell without labels
confirmed    what they tell where somebody counted
```
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bintally.registry.shadow.figures import ShadowFigures as ShadowFigures
    from bintally.registry.shadow.figures import shadow_figures as shadow_figures
    from bintally.registry.shadow.running import start as start
    from bintally.registry.shadow.running import stop as stop
    from bintally.registry.shadow.running import under_way as under_way
    from bintally.registry.shadow.running import unfinished as unfinished

__all__ = ["ShadowFigures", "shadow_figures", "start", "stop", "under_way", "unfinished"]

_PLACES: Final = {
    "ShadowFigures": "figures",
    "shadow_figures": "figures",
    "start": "running",
    "stop": "running",
    "under_way": "running",
    "unfinished": "running",
}


def __getattr__(name: str) -> Any:
    """Found when asked for: whoever tidies up needs no numpy."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
