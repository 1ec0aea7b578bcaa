"""The models a service has loaded: the one it was started with, and those that were asked for by name."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bintally.counting.counter import Counter
from bintally.errors import BintallyError, RequestError, did_you_mean
from bintally.serving.engine.engine import Engine

DEFAULT: Final = "default"
"""What the model is called that the service was started with; its card's name works too."""


class Models:
    """Engines by name, used by one event loop. `make` makes an engine of a loaded model."""

    def __init__(self, bundle: Path | str | None, make: Callable[[Counter], Engine], *, threads: int = 0) -> None:
        self._bundle, self._make, self._threads = bundle, make, threads
        self._default = make(self._load(bundle))
        self._named: dict[str, Engine] = {}
        self.damaged: str | None = None
        """Why the newest reload was refused; None: it was not."""

    @property
    def default(self) -> Engine:
        """The engine of the model the service was started with (or reloaded)."""
        return self._default

    def get(self, name: str | None) -> Engine:
        """The engine called `name`; None: the default one.

        Raises:
            RequestError: 404, no such model is loaded.
        """
        if name is None or name in (DEFAULT, self._default.card.name):
            return self._default
        if name not in self._named:
            raise RequestError(
                f"No model {name!r} is loaded.",
                status=404,
                code="no_such_model",
                hint=did_you_mean(name, [*self._named, self._default.card.name]),
            )
        return self._named[name]

    def named(self) -> dict[str, Engine]:
        """Those that were loaded by name."""
        return dict(self._named)

    async def load(self, name: str, bundle: Path) -> Engine:
        """Loads another model under a name.

        Raises:
            RequestError: 409, one of that name is loaded.
            BundleError: it can't be used.
        """
        if name in self._named:
            raise RequestError(f"A model {name!r} is loaded.", status=409, code="model_loaded", hint="Unload it first.")
        counter = await asyncio.to_thread(self._load, bundle)
        return self._named.setdefault(name, self._make(counter))

    async def unload(self, name: str) -> None:
        """Lets a model go that was loaded by name; what is under way is answered.

        Raises:
            RequestError: 404, no such model is loaded.
        """
        engine = self.get(name) if name in self._named else None
        if engine is None:
            raise RequestError(f"No model {name!r} is loaded.", status=404, code="no_such_model")
        del self._named[name]
        await engine.close()

    async def reload(self) -> None:
        """Takes the default model from its folder anew. One that can't be used is refused, and the old one stays.

        Raises:
            BundleError: the folder holds no usable model; `damaged` says why until a reload works.
        """
        try:
            counter = await asyncio.to_thread(self._load, self._bundle)
        except BintallyError as error:
            self.damaged = error.message
            raise
        before, self._default, self.damaged = self._default, self._make(counter), None
        await before.close()

    async def close(self) -> None:
        """Ends all engines."""
        for engine in (self._default, *self._named.values()):
            await engine.close()

    def _load(self, bundle: Path | str | None) -> Counter:
        return Counter(bundle, threads=self._threads or None)
