"""Every moment of a training under a name: Lightning says what it starts and stops, the innermost of it has the time.

Lightning calls a `Profiler` around each hook of each callback, module and strategy, and around each fetch of a batch.
So nothing has to be wrapped, and what no name covers is known to be nobody's: `other:unexplained`.

Names are `phase` or `phase:part`. On a GPU work is queued, and what the host does meanwhile says little; there marks on
the device's own timeline (`device_clock`) part the phases that compute.
"""

import gc
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from lightning.pytorch.profilers import Profiler

from bintally.training.profile.device_clock import DeviceClock, Mark, Segment

UNEXPLAINED: Final = "other:unexplained"
START: Final = "other:start"
GARBAGE: Final = "gc"

_STRATEGY: Final = {"batch_to_device": "transfer", "training_step": "forward", "backward": "backward"}
_OF_OPTIMIZER: Final = ("optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping", "lr_scheduler_step")
_PARTS_OF_VALIDATION: Final = {
    "batch_to_device": "transfer",
    "validation_step": "forward",
    "on_validation_epoch_end": "figures",
}
_VALIDATION_STARTS: Final = ("on_validation_model_zero_grad", "on_validation_model_eval")
_VALIDATION_ENDS: Final = ".on_validation_end"  # the strategy's, after the callbacks' and the module's
_FETCH: Final = "train_dataloader_next"


class _Place(NamedTuple):
    key: str
    device: str | None
    """The computing phase it belongs to; None: the device is not asked for anything."""


class Spans(Profiler):
    """Lightning's profiler that gives each moment a name. `on_fetch` is called before each batch is fetched.

    `ours`: names of callbacks that belong to bintally; their time is `logging`, that of others `other`.
    """

    def __init__(
        self,
        on_fetch: Callable[[], None],
        *,
        ours: frozenset[str],
        device: DeviceClock | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__()
        self._on_fetch, self._ours, self._device, self._clock = on_fetch, ours, device, clock
        self._known: dict[tuple[bool, str], _Place | None] = {}
        self._validating = False
        self._started = False  # fetched a batch
        self._stack: list[_Place] = [_Place(START, None)]
        self._since = clock()
        self._segments: list[Segment] = []
        self._marks: list[Mark] = []
        self._garbage_s, self._garbage_since = 0.0, 0.0
        self._thread = threading.get_ident()

    def watch_garbage(self) -> None:
        """Python's collector is timed from now on, wherever it strikes."""
        gc.callbacks.append(self._collecting)

    def unwatch_garbage(self) -> None:
        """No more."""
        if self._collecting in gc.callbacks:
            gc.callbacks.remove(self._collecting)

    def start(self, action_name: str) -> None:
        """Something begins; it has the time until it stops or something within it begins."""
        if action_name.endswith(_FETCH):
            self._on_fetch()
            self._begin()
        elif action_name.endswith(_VALIDATION_STARTS):
            self._into(validation=True)
        here = self._stack[-1]
        self._enter(here if not self._started else self._place(action_name, here))

    def stop(self, action_name: str) -> None:
        """It has ended."""
        if len(self._stack) > 1:  # else what started before us
            self._settle_to(self._stack[-2])
            self._stack.pop()
        if action_name.startswith("[Strategy]") and action_name.endswith(_VALIDATION_ENDS):
            self._into(validation=False)

    def take(self) -> tuple[list[Segment], list[Mark]]:
        """What happened since the last call, in order; a device's marks start with the last of the call before."""
        segments, marks = self.peek()
        self._segments = []
        if self._device is not None and self._started:
            marks.append(Mark(len(segments), self._device.mark()))
            self._marks = [Mark(0, marks[-1].event)]
        return segments, marks

    def peek(self) -> tuple[list[Segment], list[Mark]]:
        """What happened since the last `take`, and goes on happening."""
        self._settle_to(self._stack[-1])
        return list(self._segments), list(self._marks)

    def _begin(self) -> None:
        """The first batch is asked for: until here it was all preparation."""
        if self._started:
            return
        self._settle_to(self._stack[-1])
        self._started = True
        self._stack = [_Place(UNEXPLAINED, None) for _ in self._stack]
        if self._device is not None:
            self._marks = [Mark(len(self._segments), self._device.mark())]

    def _into(self, *, validation: bool) -> None:
        if not self._started or validation == self._validating:
            return
        self._validating = validation
        base = _Place("validation", "validation") if validation else _Place(UNEXPLAINED, None)
        self._settle_to(base)
        self._stack = [base for _ in self._stack]

    def _place(self, action: str, here: _Place) -> _Place:
        asked = (self._validating, action)
        if asked not in self._known:
            self._known[asked] = self._classify(action)
        place = self._known[asked]
        if place is None:
            return here
        return place if place.device or not here.device else _Place(place.key, here.device)

    def _classify(self, action: str) -> _Place | None:
        """Where an action's time goes; None: to what it is part of."""
        owner, _, hook = action.rpartition(".")
        if action == "save_checkpoint":
            kind, name = "logging", "checkpoint"
        elif owner.startswith("[Callback]"):
            name = owner.removeprefix("[Callback]").partition("{")[0]
            kind, name = ("logging", name) if name in self._ours else ("other", f"callback {name}")
        elif self._validating:
            name = "data" if hook.endswith("_next") else _PARTS_OF_VALIDATION.get(hook, "")
            return _Place(f"validation:{name}", "validation") if name else None
        else:
            return _of_training(owner, hook)
        return _Place(f"validation:{name}", "validation") if self._validating else _Place(f"{kind}:{name}", None)

    def _enter(self, place: _Place) -> None:
        self._settle_to(place)
        self._stack.append(place)

    def _settle_to(self, place: _Place) -> None:
        """The time until now goes to where we are; `place` is where we are from now on."""
        now, here = self._clock(), self._stack[-1]
        seconds, self._since = now - self._since, now
        if self._garbage_s:
            garbage_s = min(self._garbage_s, seconds)  # it may strike between these very lines
            self._garbage_s -= garbage_s
            phase = "validation" if self._validating else "other"
            self._segments.append(Segment(f"{phase}:{GARBAGE}", garbage_s, here.device))
            seconds -= garbage_s
        self._segments.append(Segment(here.key, seconds, here.device))
        if self._device is not None and self._started and place.device != here.device:
            self._marks.append(Mark(len(self._segments), self._device.mark()))

    def _collecting(self, phase: str, info: dict[str, Any]) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._garbage_since = self._clock()
        else:
            self._garbage_s += self._clock() - self._garbage_since


def _of_training(owner: str, hook: str) -> _Place | None:
    if hook == _FETCH:
        return _Place("data", None)
    if owner.startswith("[Strategy]") and hook in _STRATEGY:
        return _Place(_STRATEGY[hook], _STRATEGY[hook])
    if owner.startswith("[LightningModule]"):
        if hook in _OF_OPTIMIZER:
            return _Place("optimizer", "optimizer")
        if hook.startswith("on_") and not hook.endswith("batch_transfer"):
            return _Place(f"other:hook {hook}", None)
    return None
