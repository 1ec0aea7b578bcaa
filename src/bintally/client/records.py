"""What the service tells of itself, as far as a client needs it; what newer services add is left out."""

import msgspec

from bintally.bundle import SplitMetrics


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /health`. `status` is ok, degraded (it counts, but `problems` says what does not work) or failing."""

    status: str
    model: str
    version: str
    problems: dict[str, str] = {}
    under_way: int = 0
    waiting: int = 0


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /model`: which model counts, and how good it is on its splits."""

    name: str
    created: str
    counts: tuple[str, ...]
    height_px: int
    width_px: int
    set_coverage: float
    metrics: dict[str, SplitMetrics]
    licence: str
    code_version: str
    version: str | None = None  # of a registry
