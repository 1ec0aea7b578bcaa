"""A database that is away is asked seldom, and by one at a time."""

from bintally.serving.bins.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker
from tests.serving.bins.shop import Clock


def test_after_a_failure_nobody_may_then_one_then_all() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    assert [breaker.allows(), breaker.allows()] == [True, True]
    breaker.failed()
    assert not breaker.allows()
    clock.passes(FIRST_PAUSE_S)
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.worked()
    assert [breaker.allows(), breaker.allows()] == [True, True]


def test_each_trial_in_vain_doubles_the_pause_up_to_a_limit() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed()
    pauses = []
    for _ in range(8):
        start = clock.now
        while not breaker.allows():
            clock.passes(0.5)
        pauses.append(clock.now - start)
        breaker.failed()
    assert pauses == [1, 2, 4, 8, 15, 15, 15, 15]
    assert LONGEST_PAUSE_S == 15


def test_many_failures_at_the_same_time_count_as_one() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(10):
        breaker.failed()
    clock.passes(FIRST_PAUSE_S)
    assert breaker.allows()


def test_one_who_never_says_how_it_went_blocks_nobody_for_long() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed()
    clock.passes(FIRST_PAUSE_S)
    assert breaker.allows()
    clock.passes(FIRST_PAUSE_S)
    assert breaker.allows()
