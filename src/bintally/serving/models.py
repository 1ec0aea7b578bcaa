"""The models a service has loaded: the one it was started with, and those that were asked for by name."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bintally.counting.counter import Counter
from bintally.errors import BintallyError, RequestError, did_you_mean
from bintally.serving.engine.engine import Engine
from bintally.serving.refusals import stopping

DEFAULT: Final = "default"
"""What the model is called that the service was started with; its card's name works too."""


class Models:
    """Engines by name, used by one event loop. `make` makes an engine of a loaded model, ready to count."""

    def __init__(self, bundle: Path | str | None, make: Callable[[Counter], Engine], *, threads: int = 0) -> None:
        self._bundle, self._make, self._threads = bundle, make, threads
        self._default = self._loaded(bundle)
        self._named: dict[str, Engine] = {}
        self._loading: set[str] = set()
        self._one_reload = asyncio.Lock()
        self._is_closed = False
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
            RequestError: 409, one of that name is loaded; 503, the service is stopping.
            BundleError: it can't be used.
        """
        if name in (DEFAULT, self._default.card.name, *self._named, *self._loading):
            raise RequestError(f"A model {name!r} is loaded.", status=409, code="model_loaded", hint="Unload it first.")
        self._loading.add(name)
        try:
            self._named[name] = await self._started(bundle)
        finally:
            self._loading.discard(name)
        return self._named[name]

    async def unload(self, name: str) -> None:
        """Lets a model go that was loaded by name; what is under way is answered.

        Raises:
            RequestError: 404, no such model is loaded.
        """
        engine = self._named.pop(name, None)
        if engine is None:
            raise RequestError(f"No model {name!r} is loaded.", status=404, code="no_such_model")
        await engine.close()

    async def reload(self) -> None:
        """Takes the default model from its folder anew. One that can't be used is refused, and the old one stays.

        Whoever took the old engine just before the new one stands in its place is still answered by the old one.

        Raises:
            BundleError: the folder holds no usable model; `damaged` says why until a reload works.
        """
        async with self._one_reload:
            try:
                engine = await self._started(self._bundle)
            except BintallyError as error:
                self.damaged = error.message
                raise
            before, self._default, self.damaged = self._default, engine, None
        await before.close()

    async def close(self) -> None:
        """Ends all engines, and those that are being loaded as soon as they are."""
        self._is_closed = True
        await asyncio.gather(*(engine.close() for engine in (self._default, *self._named.values())))

    async def _started(self, bundle: Path | str | None) -> Engine:
        engine = await asyncio.to_thread(self._loaded, bundle)
        if self._is_closed:
            await engine.close()
            raise stopping()
        return engine

    def _loaded(self, bundle: Path | str | None) -> Engine:
        """An engine that has counted its first photo: what takes time has been done before anybody waits for it."""
        return self._make(Counter(bundle, threads=self._threads or None))
