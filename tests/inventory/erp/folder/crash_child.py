"""What `test_kills` kills: a process that drops files as a relay does, step by step.

    python tests/inventory/erp/folder/crash_child.py

As `tests.crashing` says. `die`: it kills itself right before its so-manieth change of the file system, or of what is
for good there.
"""

import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[4]))

from bintally.inventory.erp.folder import FolderConnector, FolderSettings
from bintally.inventory.erp.protocol import Line, Posting
from tests.crashing import die, fork_for_each

BATCHES = (("a", "b"), ("c",))
KEYS = tuple(key for batch in BATCHES for key in batch)


def work(asked: dict[str, Any]) -> None:
    """Drops all batches from `start` on."""
    passed = count_boundaries(asked["die"])
    with Path(asked["said"]).open("a") as said:
        connector = FolderConnector(FolderSettings(path=Path(asked["root"])))
        for number in range(asked["start"], len(BATCHES)):
            deliver(connector, [posting_of(key) for key in BATCHES[number]])
            print(number, file=said, flush=True)
        print("done", passed(), file=said, flush=True)


def posting_of(key: str) -> Posting:
    lines = (Line("BOLT", 4, 3),)
    at = datetime(2026, 1, 31, tzinfo=UTC)
    return Posting(key=key, kind="adjust", site="depot", bin=f"bin {key}", lines=lines, counted_at=at, by="rita")


def deliver(connector: FolderConnector, postings: Sequence[Posting]) -> None:
    """As `relay` does."""
    found = connector.find([posting.key for posting in postings])
    connector.cancel([draft for draft in found.values() if draft.fate == "draft"])
    left = [each for each in postings if each.key not in found or found[each.key].fate == "draft"]
    drafts = connector.prepare(left)
    answers = connector.commit([draft for draft in drafts.values() if draft.fate == "draft"])
    assert all(answer.outcome == "done" for answer in answers.values()), answers


def count_boundaries(doomed: int | None) -> Callable[[], int]:
    """Dies at the boundary `doomed`; how many were passed."""
    passed = 0

    def doomed_at(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal passed
            if passed == doomed:
                die()
            passed += 1
            return real(*arguments, **named)

        return call

    os.fsync = doomed_at(lambda descriptor: None)  # nothing that was written is lost with a process
    for name in ("rename", "replace", "unlink", "mkdir"):
        setattr(Path, name, doomed_at(getattr(Path, name)))
    return lambda: passed


if __name__ == "__main__":
    fork_for_each(work)
