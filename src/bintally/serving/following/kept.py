"""Versions that were served before and stay loaded, so that a rollback needs no loading."""

from bintally.serving.engine.engine import Engine
from bintally.serving.following.wanted import Wanted
from bintally.serving.models import MEMORY_PER_BYTE


class KeptVersions:
    """Engines by version, of at most `most_bytes` together, as far as their memory can be told from their graphs."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: dict[int, tuple[Wanted, Engine]] = {}

    def put(self, wanted: Wanted, engine: Engine) -> list[Engine]:
        """Keeps a version; those returned are kept no longer: the oldest ones, or this one, if it never fits."""
        gone = [] if (before := self.take(wanted)) is None else [before]
        if _bytes_of(engine) > self._most_bytes:
            return [*gone, engine]
        self._held[wanted.version_id] = wanted, engine
        while sum(_bytes_of(each) for _, each in self._held.values()) > self._most_bytes:
            oldest = next(iter(self._held))
            gone.append(self._held.pop(oldest)[1])
        return gone

    def take(self, wanted: Wanted) -> Engine | None:
        """A version's engine, which is the caller's now; None: it is not kept, or its files were others."""
        held = self._held.get(wanted.version_id)
        if held is None or held[0].bundle_sha256 != wanted.bundle_sha256:
            return None
        return self._held.pop(wanted.version_id)[1]

    def versions(self) -> list[Wanted]:
        """Those that are kept, the last one first."""
        return [wanted for wanted, _ in reversed(self._held.values())]

    def clear(self) -> list[Engine]:
        """Keeps none any more; returns what was kept."""
        engines = [engine for _, engine in self._held.values()]
        self._held.clear()
        return engines


def _bytes_of(engine: Engine) -> int:
    card = engine.card
    graphs = (card, card.beside, card.change)
    return MEMORY_PER_BYTE * sum(graph.model_bytes for graph in graphs if graph is not None)
