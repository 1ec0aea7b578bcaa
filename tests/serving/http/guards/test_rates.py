import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.errors import RequestError
from bintally.serving.http.guards.rates import Limit, Rates, Slots, rate_headers


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def allowed(rates: Rates, limit: Limit, times: int, amount: int = 1, who: str = "a") -> int:
    """How many of `times` are let through."""
    passed = 0
    for _ in range(times):
        try:
            rates.spend(who, limit, amount)
            passed += 1
        except RequestError:
            pass
    return passed


def test_a_burst_passes_and_then_the_rate() -> None:
    clock, limit = Clock(), Limit(2.0, 5)
    rates = Rates(Slots(), clock=clock)
    assert allowed(rates, limit, 20) == 5
    clock.now += 1
    assert allowed(rates, limit, 20) == 2
    clock.now += 1000
    assert allowed(rates, limit, 20) == 5


def test_one_who_asks_too_much_takes_nothing_from_another() -> None:
    rates = Rates(Slots(), clock=Clock())
    assert allowed(rates, Limit(1, 3), 10, who="a") == 3
    assert allowed(rates, Limit(1, 3), 10, who="b") == 3


def test_the_refusal_says_when_there_is_enough() -> None:
    clock, limit = Clock(), Limit(2.0, 4)
    rates = Rates(Slots(), clock=clock)
    left = rates.spend("a", limit, 3)
    assert (left.remaining, left.full_in_s) == (1, 1.5)
    assert rate_headers(left) == [(b"ratelimit-policy", b'"photos";q=4;w=2'), (b"ratelimit", b'"photos";r=1;t=2')]
    with pytest.raises(RequestError) as refusal:
        rates.spend("a", limit, 3)
    assert refusal.value.status == 429
    assert refusal.value.retry_after_s == pytest.approx(1.0)
    clock.now += 1.0
    rates.spend("a", limit, 3)


def test_a_batch_larger_than_the_burst_is_taken_and_owed() -> None:
    clock, limit = Clock(), Limit(1.0, 4)
    rates = Rates(Slots(), clock=clock)
    assert rates.spend("a", limit, 10).remaining == 0
    clock.now += 6
    assert allowed(rates, limit, 5) == 0
    clock.now += 2
    assert allowed(rates, limit, 5) == 2


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 8)), max_size=60), st.floats(0.1, 10), st.integers(1, 10))
def test_over_any_time_no_more_passes_than_burst_and_rate_allow(
    asked: list[tuple[float, int]], rate: float, burst: int
) -> None:
    clock = Clock()
    rates, limit, spent, largest = Rates(Slots(), clock=clock), Limit(rate, burst), 0, 0
    for pause, amount in asked:
        clock.now += pause
        if allowed(rates, limit, 1, amount):
            spent, largest = spent + amount, max(largest, amount)
    assert spent <= max(burst, largest) + rate * (clock.now - 1000.0) + 1e-3


def test_more_askers_than_there_are_places_take_no_more_memory_and_the_busiest_stay() -> None:
    clock, limit = Clock(), Limit(0.001, 1)
    rates = Rates(Slots(), clock=clock)
    for number in range(20_000):
        rates.spend(f"address {number}", Limit(1000, 10), 1)
    rates.spend("busy", limit, 1)
    for number in range(20_000, 40_000):
        rates.spend(f"address {number}", Limit(1000, 10), 1)
    assert allowed(rates, limit, 1, who="busy") == 0


_WORKER = """
import sys
from pathlib import Path
from bintally.errors import RequestError
from bintally.serving.http.guards.rates import Limit, Rates, Slots
rates, passed = Rates(Slots(Path(sys.argv[1]))), 0
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20_000):
    try:
        rates.spend("key", Limit(0.001, 30_000), 1)
        passed += 1
    except RequestError:
        pass
print(passed)
"""


def test_workers_share_one_limit(tmp_path: Path) -> None:
    """Thousands at the same time: without a lock some would spend what another has just spent."""
    command = [sys.executable, "-c", _WORKER, str(tmp_path / "state" / "rates")]
    workers = [subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for worker in workers:
        assert worker.stdout and worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert sum(int(worker.communicate(timeout=60)[0]) for worker in workers) == 30_000
