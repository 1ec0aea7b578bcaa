"""What gates say: frozen records that the registry keeps as JSON."""

from typing import Any, Final

import msgspec

from bintally.bundle import Figure

FORMAT: Final = 1


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One of several figures that a gate looks at, such as a slice."""

    name: str
    passed: bool
    figure: Figure | None = None
    """Its value and 95% interval."""
    limit: float | None = None
    p: float | None = None
    photos: int | None = None
    says: str = ""


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate says. Figures and limits are in the unit that `reason` names."""

    gate: str
    passed: bool
    reason: str
    """In a sentence, with the numbers."""
    figure: Figure | None = None
    """What it goes by, with its 95% interval, bins drawn with all of their photos."""
    limit: float | None = None
    p: float | None = None
    """Of its test, where it has one."""
    photos: int | None = None
    parts: tuple[Part, ...] = ()


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The photos that versions were judged on."""

    data: str
    split: str
    fingerprint: str
    """Of the photos judged, their counts and bins."""
    photos: int
    bins: int
    left_out: int
    """Photos of bins that a version learnt from, or of counts that are not asked about."""
    keys: tuple[str, ...]


class GateOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What all gates say of a version beside a champion (None: there was none)."""

    format: int
    version_id: int
    version: str
    against_id: int | None
    against: str | None
    passed: bool
    gates: tuple[GateResult, ...]
    judged: Judged
    figures: dict[str, dict[str, Figure]]
    """Accuracy, log loss ... of "candidate", "champion" and "blind" on the photos judged."""
    settings: dict[str, Any]
    """`PromoteSettings`, as they were."""

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """The gates that did not let it through."""
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def sentence(self) -> str:
        """The whole of it in one."""
        if self.passed:
            return f"{self.version} passed all {len(self.gates)} gates."
        told = "; ".join(f"{gate.gate}: {gate.reason.rstrip('.')}" for gate in self.failed)
        return f"{self.version} failed {len(self.failed)} of {len(self.gates)} gates: {told}."

    def to_json(self) -> bytes:
        """As it is kept."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, body: str | bytes) -> "GateOutcome":
        """What `to_json` (or the registry) wrote.

        Raises:
            msgspec.DecodeError: it is no outcome.
        """
        return msgspec.json.decode(body, type=cls)
