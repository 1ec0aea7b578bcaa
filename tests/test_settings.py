"""Paths and environment, read when asked for."""

import os
from pathlib import Path

import pytest

from bintally.errors import UsageError
from bintally.settings import (
    BUNDLED_CHAMPION,
    acting_person,
    champion_folder,
    cpu_count,
    ledger_place,
    weights_folders,
)


def test_the_environment_is_read_at_each_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINTALLY_BUNDLE", "models/mine")
    assert champion_folder() == Path("models/mine")
    monkeypatch.setenv("BINTALLY_BUNDLE", "")
    assert champion_folder() == BUNDLED_CHAMPION
    monkeypatch.delenv("BINTALLY_BUNDLE")
    assert champion_folder() == BUNDLED_CHAMPION


def test_weights_are_looked_for_in_several_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINTALLY_WEIGHTS", os.pathsep.join(["a", "", "b/c"]))
    assert weights_folders() == [Path("a"), Path("b/c")]
    monkeypatch.delenv("BINTALLY_WEIGHTS")
    assert weights_folders() == []


def test_the_ledger_and_who_acts_are_named_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, asked in (("BINTALLY_LEDGER", ledger_place), ("BINTALLY_AS", acting_person)):
        monkeypatch.setenv(name, "held")
        assert (asked(), asked("named")) == ("held", "named")
        monkeypatch.setenv(name, "")
        with pytest.raises(UsageError, match=name):
            asked()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux tells a process's own cores")
def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cpu_count() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cpu_count() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cpu_count() == len(allowed)
