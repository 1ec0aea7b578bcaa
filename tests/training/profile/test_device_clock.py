"""A GPU that is not there: a queue that the host fills, on a clock of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.training.profile.device_clock import Mark, Segment, device_seconds
from bintally.training.profile.spans import Spans
from tests.training.profile.test_spans import FETCH, Clock


class QueueClock:
    """A device that does what it is given one after the other; a mark is passed when all before it is done."""

    def __init__(self, host: Clock) -> None:
        self._host = host
        self._free_at = 0.0

    def compute(self, seconds: float) -> None:
        self._free_at = max(self._free_at, self._host.now) + seconds

    def wait(self) -> None:
        self._host.now = max(self._host.now, self._free_at)

    def mark(self) -> float:
        return max(self._free_at, self._host.now)

    def seconds(self, start: float, end: float) -> float | None:
        return end - start if end <= self._host.now else None


def _train(steps: int, *, data_s: float, host_s: float, device_s: float) -> list[dict[str, float]]:
    """Forward and backward take the host `host_s` to ask for and the device `device_s` to do."""
    host = Clock()
    device = QueueClock(host)
    spans = Spans(lambda: None, ours=frozenset({"Keeper"}), device=device, clock=host)
    done = []
    for step in range(steps):
        spans.start(FETCH)
        if step:
            done.append(spans.take())
        host.now += data_s
        spans.stop(FETCH)
        for action in ("[Strategy]Single.training_step", "[Strategy]Single.backward"):
            with spans.profile(action):
                host.now += host_s
                device.compute(device_s)
    device.wait()
    rows = [device_seconds(segments, marks, device) for segments, marks in done]
    return [row for row in rows if row is not None]


def test_where_the_device_is_busy_the_hosts_waiting_costs_nothing() -> None:
    for row in _train(10, data_s=0.010, host_s=0.001, device_s=0.020)[1:]:
        found = {name: round(seconds, 6) for name, seconds in row.items() if seconds > 1e-9}
        assert found == {"forward": 0.020, "backward": 0.020}


def test_where_the_device_is_starved_the_loader_is_to_blame() -> None:
    for row in _train(10, data_s=0.050, host_s=0.001, device_s=0.005)[1:]:
        assert row["data"] == pytest.approx(0.041)  # the first 9 ms, the device was still at the step before
        assert row["forward"] == pytest.approx(0.006)  # with the host's asking for it
        assert row["backward"] == pytest.approx(0.005)
        assert sum(row.values()) == pytest.approx(0.052)


def test_nothing_is_said_before_the_device_is_there() -> None:
    host = Clock()
    device = QueueClock(host)
    first = device.mark()
    device.compute(1.0)
    marks = [Mark(0, first), Mark(1, device.mark())]
    segments = [Segment("forward", 0.1, "forward")]
    assert device_seconds(segments, marks, device) is None
    device.wait()
    assert device_seconds(segments, marks, device) == {"forward": 1.0}


@given(st.integers(2, 6), *(st.integers(0, 50) for _ in range(3)))
def test_rows_sum_to_the_devices_time(steps: int, data_ms: int, host_ms: int, device_ms: int) -> None:
    rows = _train(steps, data_s=data_ms / 1000, host_s=host_ms / 1000, device_s=device_ms / 1000)
    assert len(rows) == steps - 1
    period = max(data_ms + 2 * host_ms, 2 * device_ms) / 1000
    for row in rows[1:]:
        assert all(seconds >= 0 for seconds in row.values())
        assert sum(row.values()) <= period + (data_ms + 2 * host_ms + 2 * device_ms) / 1000
