"""The models a service has loaded: the one it was started with, and those that were asked for by name."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from bintally import signatures
from bintally.bundle import find_bundle
from bintally.counting.counter import Counter
from bintally.errors import BintallyError, RequestError, did_you_mean
from bintally.serving.engine.engine import Engine
from bintally.serving.refusals import stopping

DEFAULT: Final = "default"
"""What the model is called that the service was started with; its card's name works too."""

MEMORY_PER_BYTE: Final = 12
"""Bytes of memory for each byte of a model's graph, at most: the bundled models were measured at 3 to 12."""


class Models:
    """Engines by name, used by one event loop. `make` makes an engine of a loaded model, ready to count.

    `trust`: files of public keys; a model must be signed with one of them (none: a signature only tells damage).
    """

    def __init__(
        self,
        bundle: Path | str | None,
        make: Callable[[Counter], Engine],
        *,
        threads: int = 0,
        trust: Sequence[Path] = (),
    ) -> None:
        self._bundle, self._make, self._threads, self._trust = bundle, make, threads, trust
        self._default = self._loaded(bundle)
        self._named: dict[str, Engine] = {}
        self._loading: set[str] = set()
        self._one_reload = asyncio.Lock()
        self._is_closed = False
        self._versions: WeakKeyDictionary[Engine, str] = WeakKeyDictionary()
        self.damaged: str | None = None
        """Why the newest reload was refused; None: it was not."""
        self.also_default: frozenset[str] = frozenset()
        """Other names of the default model: what a registry calls it."""
        self.anew: Callable[[], Awaitable[None]] | None = None
        """What a reload does where a registry says which model is the default one."""

    @property
    def default(self) -> Engine:
        """The engine of the model the service was started with (or reloaded)."""
        return self._default

    def get(self, name: str | None) -> Engine:
        """The engine called `name`; None: the default one.

        Raises:
            RequestError: 404, no such model is loaded.
        """
        if name is None or self._is_default(name):
            return self._default
        if name not in self._named:
            raise RequestError(
                f"No model {name!r} is loaded.",
                status=404,
                code="no_such_model",
                hint=did_you_mean(name, [*self._named, self._default.card.name]),
            )
        return self._named[name]

    def version_of(self, engine: Engine) -> str | None:
        """Which version of a registry an engine is of; None: of none."""
        return self._versions.get(engine)

    def swap(self, engine: Engine, version: str) -> Engine:
        """Has `engine` answer from now on, as the default one, and returns the one before, which is not closed.

        Whoever took that is still answered by it.
        """
        self._versions[engine] = version
        before, self._default, self.damaged = self._default, engine, None
        return before

    def named(self) -> dict[str, Engine]:
        """Those that were loaded by name."""
        return dict(self._named)

    async def load(self, name: str, bundle: Path) -> Engine:
        """Loads another model under a name.

        Raises:
            RequestError: 409, one of that name is loaded; 503, the service is stopping.
            BundleError: it can't be used.
        """
        if self._is_default(name) or name in (*self._named, *self._loading):
            raise RequestError(f"A model {name!r} is loaded.", status=409, code="model_loaded", hint="Unload it first.")
        self._loading.add(name)
        try:
            self._named[name] = await self.started(bundle)
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
            raise RequestError(
                f"No model {name!r} is loaded by name.", status=404, code="no_such_model", hint="GET /models."
            )
        await engine.close()

    async def reload(self) -> None:
        """Takes the default model from its folder anew. One that can't be used is refused, and the old one stays.

        Whoever took the old engine just before the new one stands in its place is still answered by the old one.

        Raises:
            BundleError: the folder holds no usable model; `damaged` says why until a reload works.
        """
        if self.anew is not None:
            await self.anew()
            return
        async with self._one_reload:
            try:
                engine = await self.started(self._bundle)
            except BintallyError as error:
                self.damaged = error.message
                raise
            before, self._default, self.damaged = self._default, engine, None
        await before.close()

    async def close(self) -> None:
        """Ends all engines, and those that are being loaded as soon as they are."""
        self._is_closed = True
        await asyncio.gather(*(engine.close() for engine in (self._default, *self._named.values())))

    async def started(self, bundle: Path | str | None) -> Engine:
        """An engine of a bundle, ready to count; it is the caller's to close, or to `swap` in.

        Raises:
            BundleError: it can't be used.
            RequestError: 503, the service is stopping.
        """
        engine = await asyncio.to_thread(self._loaded, bundle)
        if self._is_closed:
            await engine.close()
            raise stopping()
        return engine

    def _is_default(self, name: str) -> bool:
        return name in (DEFAULT, self._default.card.name) or name in self.also_default

    def _loaded(self, bundle: Path | str | None) -> Engine:
        """An engine that has counted its first photo: what takes time has been done before anybody waits for it."""
        folder = find_bundle(bundle)
        signatures.check(folder, self._trust)  # before any of it is read
        return self._make(Counter(folder, threads=self._threads or None))
