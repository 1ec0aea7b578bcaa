"""What `test_race` starts: processes that promote at once.

    python tests/registry/race_child.py PLACE HOW VERSION ...

One process for each version. Each waits until all have heard the gates, promotes its version, and says in a line what
became of it: its version's name, "no" and why not, or "conflict". HOW: "turns", each asks for its turn first;
"words", nobody does, and only the champion that the gates compared with excludes them.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bintally.errors import ConflictError
from bintally.registry.place import Registry
from bintally.registry.promotion import promote, promoting
from tests.registry.worlds import said


def main() -> None:
    """Forks for each version and waits for all."""
    place, how, *names = sys.argv[1:]
    ready, go = os.pipe(), os.pipe()
    children = []
    for name in names:
        pid = os.fork()
        if not pid:
            os.close(go[1])
            os.write(1, f"{_race(Path(place), how, name, ready[1], go[0])}\n".encode())
            os._exit(0)
        children.append(pid)
    for _ in names:
        os.read(ready[0], 1)
    os.close(go[1])
    for pid in children:
        os.waitpid(pid, 0)


def _race(place: Path, how: str, name: str, ready: int, go: int) -> str:
    with Registry.open(place) as registry:
        gates = said(registry, name)
        os.write(ready, b".")
        os.read(go, 1)  # until the other end is closed
        try:
            with promoting(registry, by=name) if how == "turns" else nullcontext() as turn:
                promotion = promote(registry, name, gates=gates, turn=turn, by=name)
        except ConflictError:
            return "conflict"
    return name if promotion.promoted else f"no: {promotion.why}"


if __name__ == "__main__":
    main()
