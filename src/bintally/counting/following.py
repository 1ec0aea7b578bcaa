"""One posterior per bin over time: an exact Bayesian filter over counts.

What is followed is the joint distribution of (count when the last photo was taken, count now): a pair of photos speaks
about both counts, and transactions lie between them. It is a hidden Markov model; `posteriors` is its forward pass,
`looking_back` and `judgements` its forward-backward smoothing (Rabiner 1989). No approximation but rounding.

Shapes: C counts 0..max_count, L = C, or 1 before the first photo.
    joint_lc      float [L at the last photo, C now], sums to 1
    backward_lc   float [L, C]: P(all that is seen later | both counts), up to a factor
"""

import bisect
import math
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np

from bintally.counting import kernels
from bintally.counting.events import AnyEvent, AnyTransaction, Picked, Stowed, Transaction
from bintally.counting.follow_settings import FollowSettings
from bintally.counting.kernels import Floats
from bintally.counting.sets import count_sets
from bintally.counting.steps import Step, step_of
from bintally.errors import DataError

_DEFAULTS: Final = FollowSettings()


class Posterior(msgspec.Struct, frozen=True):
    """What is known of a bin's count right after an event. `probabilities` are of the counts 0, 1 .. max_count.

    `used` says which evidence of a photo was taken: "change" (the pair with the photo before), "photo" (its own) or
    None (it had none, or was compared with a photo that is not its neighbour and said nothing by itself).
    """

    event: str
    time: float | str
    id: str | None
    used: str | None
    probabilities: tuple[float, ...]
    coverage: float

    @property
    def count(self) -> int:
        """The most probable count; the lower one wins a tie."""
        return int(np.argmax(self.probabilities))

    @property
    def probability(self) -> float:
        """Probability of the most probable count."""
        return max(self.probabilities)

    @property
    def expected_count(self) -> float:
        """The mean."""
        return float(np.dot(np.arange(len(self.probabilities)), self.probabilities))

    @property
    def count_set(self) -> tuple[int, ...]:
        """The smallest set of counts with a total probability of `coverage`, most probable first."""
        return self.set_of(self.coverage)

    def set_of(self, coverage: float) -> tuple[int, ...]:
        """The smallest set of counts with a total probability of at least `coverage`, most probable first."""
        keys = [str(count) for count in range(len(self.probabilities))]
        [chosen] = count_sets(np.array([self.probabilities]), keys, coverage)
        return tuple(map(int, chosen))

    def probability_of(self, recorded_count: int) -> float:
        """P(count == recorded)."""
        known = 0 <= recorded_count < len(self.probabilities)
        return self.probabilities[recorded_count] if known else 0.0


class Judgement(msgspec.Struct, frozen=True):
    """What really moved at a recorded transaction, given all that was seen before and after it."""

    event: str
    time: float | str
    id: str | None
    recorded: int  # items in; below 0: out
    as_recorded: float  # P(exactly the recorded quantity moved)
    moved: dict[int, float]  # P(so many items came in), of all that were possible

    @property
    def most_probable(self) -> int:
        """The most probable number of items that came in; below 0: went out."""
        return max(self.moved, key=lambda moved: self.moved[moved])


class History:
    """All events of one bin, in order of time whatever the order they are added in.

    A late event makes those after it be worked through again; one that comes in order costs one step.

    Raises:
        DataError: an event contradicts those before it, or names a count above `max_count`.
    """

    def __init__(self, events: Iterable[AnyEvent] = (), settings: FollowSettings = _DEFAULTS) -> None:
        self.settings = settings
        self._events: list[AnyEvent] = []
        self._steps: list[Step] = []
        self._joints: list[Floats] = [kernels.start_c(settings.start, settings)[None]]
        self._evidence: list[float] = []
        for event in sorted(events, key=lambda event: event.order):
            self._insert(event)
        self._work()

    @property
    def events(self) -> tuple[AnyEvent, ...]:
        """In order of time; one delivered twice stands once."""
        return tuple(self._events)

    @property
    def log_evidence(self) -> float:
        """Log probability of all that was seen, up to a constant: settings that fit a site better make it larger."""
        return math.fsum(self._evidence)

    def add(self, event: AnyEvent) -> Posterior:
        """Takes one more event, however late it comes, and says what is known after the last of all.

        Raises:
            DataError: it contradicts the others, or names a count above `max_count`; the history stays as it was.
        """
        before = self._events[:], self._steps[:], self._joints[:], self._evidence[:]
        try:
            self._insert(event)
            self._work()
        except DataError:  # as if it had not come
            self._events, self._steps, self._joints, self._evidence = before
            raise
        return self._posterior(len(self._events) - 1, self._joints[-1].sum(axis=0))

    def posteriors(self) -> list[Posterior]:
        """What was known right after each event, from it and those before."""
        return [self._posterior(index, joint.sum(axis=0)) for index, joint in enumerate(self._joints[1:])]

    def looking_back(self) -> list[Posterior]:
        """What is known now of the count right after each event, from all events."""
        backwards = self._backwards()
        return [
            self._posterior(index, _scaled((joint * backward).sum(axis=0)))
            for index, (joint, backward) in enumerate(zip(self._joints[1:], backwards[1:], strict=True))
        ]

    def judgements(self) -> list[Judgement]:
        """What really moved at each recorded transaction, from all events."""
        backwards = self._backwards()
        return [
            self._judge(index, event, backwards[index + 1])
            for index, event in enumerate(self._events)
            if isinstance(event, Transaction | Picked | Stowed)
        ]

    def _insert(self, event: AnyEvent) -> None:
        same = next((known for known in self._events if event.id is not None and known.id == event.id), None)
        if same is not None:
            if same == event:
                return
            raise DataError(f"Two different events have the id {event.id!r}: {same} and {event}.", hint=_ID_HINT)
        index = bisect.bisect(self._events, event.order, key=lambda known: known.order)
        self._events.insert(index, event)
        del self._steps[index:], self._evidence[index:], self._joints[index + 1 :]

    def _work(self) -> None:
        for index in range(len(self._steps), len(self._events)):
            event = self._events[index]
            last = self._steps[-1].photo if self._steps else None
            waited_s = event.seconds - self._events[index - 1].seconds if index else 0.0
            try:
                step = step_of(event, last, waited_s if index else None, self.settings)
                joint, evidence = step.forward(self._joints[-1])
            except DataError as error:
                raise DataError(f"{event}: {error.message}", hint=error.hint) from None
            self._steps.append(step)
            self._joints.append(joint)
            self._evidence.append(evidence)

    def _backwards(self) -> list[Floats]:
        """For the start and each event, [L, C]: how well all later events fit each state."""
        backwards = [np.ones_like(self._joints[-1])]
        for step, joint in zip(reversed(self._steps), reversed(self._joints[:-1]), strict=True):
            backward = step.backward(backwards[-1], len(joint))
            backwards.append(backward / backward.max())
        return backwards[::-1]

    def _judge(self, index: int, event: AnyTransaction, backward: Floats) -> Judgement:
        before = self._steps[index].drifted(self._joints[index])
        top = self.settings.max_count
        between = np.take_along_axis(before.T @ backward, kernels.destinations(top), axis=1)
        moved_d = _scaled((kernels.moves(event.signed, self.settings.transactions, top) * between).sum(axis=0))
        return Judgement(
            event=event.kind,
            time=event.time,
            id=event.id,
            recorded=event.signed,
            as_recorded=float(moved_d[event.signed + top]),
            moved={int(at) - top: float(moved_d[at]) for at in np.flatnonzero(moved_d)},
        )

    def _posterior(self, index: int, probabilities_c: Floats) -> Posterior:
        event = self._events[index]
        return Posterior(
            event=event.kind,
            time=event.time,
            id=event.id,
            used=self._steps[index].used,
            probabilities=tuple(probabilities_c.tolist()),
            coverage=self.settings.coverage,
        )


def follow(events: Iterable[AnyEvent], settings: FollowSettings = _DEFAULTS) -> list[Posterior]:
    """What is known of one bin's count after each of `events`, in order of time (whatever order they come in).

    Raises:
        DataError: an event contradicts all before it, or names a count above `max_count`.
    """
    return History(events, settings).posteriors()


def _scaled(weights: Floats) -> Floats:
    return np.asarray(weights / weights.sum())


_ID_HINT: Final = "Give every event an id of its own, or none."
