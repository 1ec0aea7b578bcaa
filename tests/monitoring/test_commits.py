import threading
from collections.abc import Sequence

import pytest

from bintally.monitoring.commits import MOST, GroupCommit


def test_what_comes_while_one_commit_runs_is_committed_together() -> None:
    may_go, sizes = threading.Event(), []

    def commit(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        may_go.wait(10)
        return [10 * item for item in items]

    commits = GroupCommit(commit, name="test")
    first = commits.submit(0)
    while not sizes:  # until it is busy with the first
        threading.Event().wait(0.001)
    others = [commits.submit(number) for number in range(1, 6)]
    may_go.set()
    assert [first.result(10), *(each.result(10) for each in others)] == [0, 10, 20, 30, 40, 50]
    assert sizes == [1, 5]
    commits.close()


def test_a_commit_that_fails_fails_for_all_of_it_and_the_next_one_is_tried() -> None:
    def commit(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise OSError("no")
        return list(items)

    commits = GroupCommit(commit, name="test")
    with pytest.raises(OSError, match="no"):
        commits.submit(13).result(10)
    assert commits.submit(14).result(10) == 14
    commits.close()


def test_closing_ends_what_was_submitted_and_never_commits_more_than_most_at_once() -> None:
    sizes = []

    def commit(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return list(items)

    commits = GroupCommit(commit, name="test")
    futures = [commits.submit(number) for number in range(3 * MOST)]
    commits.close()
    assert [future.result(0) for future in futures] == list(range(3 * MOST))
    assert max(sizes) <= MOST


def test_what_was_given_up_before_it_began_is_not_committed() -> None:
    may_go = threading.Event()
    seen: list[str] = []

    def commit(items: Sequence[str]) -> list[None]:
        seen.extend(items)
        may_go.wait(10)
        return [None] * len(items)

    commits = GroupCommit(commit, name="test")
    commits.submit("busy")
    while not seen:
        threading.Event().wait(0.001)
    assert commits.submit("given up").cancel()
    may_go.set()
    commits.submit("last").result(10)
    commits.close()
    assert seen == ["busy", "last"]
