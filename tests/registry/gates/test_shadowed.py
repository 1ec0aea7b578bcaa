"""The gate about live photos, on pairs as the service's shadow leaves them."""

from pathlib import Path

from bintally.database.types import now
from bintally.registry import gates
from bintally.registry.gates import GateResult, PromoteSettings
from bintally.registry.shadow.pairs import Pair, PairFile, Told, folder_of
from tests.databases import new_registry
from tests.registry.gates.shelves import GOOD, SURE, shelf, version


def _told(count: int) -> Told:
    return Told(count=count, expected_count=float(count), probabilities={str(count): 1.0}, latency_ms=5.0)


def test_enough_live_photos_that_agree_are_asked(tmp_path: Path) -> None:
    data = shelf(tmp_path / "data", photos=40)
    asked = PromoteSettings.of({"gates": ["shadow"], "shadow": {"pairs": 50, "agreement": 0.6}})
    with new_registry(tmp_path / "registry") as registry:
        champion = version(registry, tmp_path / "a", SURE, learnt=data)
        candidate = version(registry, tmp_path / "b", GOOD, learnt=data)

        def gate() -> GateResult:
            return gates.run(registry, candidate, champion, data, asked).gates[0]

        assert not gate().passed
        assert gate().reason.startswith("bintally/2 and bintally/1 have counted no live photo together")
        file = PairFile(folder_of(registry.place, candidate.id, champion.id) / "service-1.jsonl")
        for n in range(100):
            one, other = _told(n % 5), _told(n % 5 if n % 4 else 5)
            file.add(Pair(request_id=f"r{n}", at=now(), photo_sha256=f"{n:064}", champion=one, challenger=other))
        file.sync()
        file.close()
        assert gate().passed, gate().reason
        assert gate().figure is not None
        assert gate().photos == 100
        first = gates.run(registry, candidate, None, data, asked).gates[0]
        assert (first.passed, first.reason) == (True, "There is no champion to compare with.")
