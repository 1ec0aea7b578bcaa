"""The watcher: shows a training to rules, now and then, and gathers what they find.

    with bintally.watch(model, optimizer, rules=["VanishingGradient", Overfit(ratio_threshold=0.2)]) as w:
        for photos, labels in batches:
            ...
            optimizer.step()
            w.step(loss=loss)
            if w.should_stop:
                break
    print(w.findings)

When it looks: at losses always; at tensors in steps 0, 1, 2, 5 and 10, and then in every 20th. From step 50 on the
interval doubles whenever looking has taken more than 3% of the time since it was last set.
"""

import threading
import time
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Literal, Self

import torch
from torch import Tensor, nn

from bintally.errors import ConfigError
from bintally.training.diagnose.fetch import Fetch, Heard, Waiting
from bintally.training.diagnose.finding import Finding
from bintally.training.diagnose.ledger import Ledger
from bintally.training.diagnose.rule import Rule, Source
from bintally.training.diagnose.rules import select
from bintally.training.diagnose.run_rules import StalledTrainingRule
from bintally.training.diagnose.seen import Mode, Sight, plain_loss
from bintally.training.diagnose.stall import StallWatch
from bintally.training.diagnose.taps import Taps

FIRST: Final = frozenset({0, 1, 2, 5, 10})
EVERY: Final = 20
SETTLED: Final = 50
SHARE: Final = 0.03
LOSSES_S: Final = 1.0
"""Losses wait on the device no longer than this."""

_AFTER_STEP: Final[frozenset[Source]] = frozenset({"inputs", "labels", "logits"})


def watch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    rules: str | Iterable[str | Rule] = "default",
    action: Literal["notify", "stop"] = "notify",
    every: int | None = None,
    on_finding: Callable[[Finding], None] | None = None,
) -> "Watcher":
    """A watcher over a training, to be used in a `with` block.

    `rules`: "default", "all", or names and rule objects. `action`: "stop" sets `should_stop` at the first finding, and
    the loop decides. `every`: look at every so many steps, whatever that costs; with "stop" the interval never changes
    by itself, so that a training stops where it stopped before. `on_finding` hears each finding at once; what it raises
    ends the training.

    Raises:
        ConfigError: no such rule or parameter.
    """
    return Watcher(model, optimizer, rules=select(rules), action=action, every=every, on_finding=on_finding)


class Watcher:
    """Watches one training. A rule that fails is switched off, with a warning; it never ends a training."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        *,
        rules: Iterable[Rule],
        action: Literal["notify", "stop"] = "notify",
        every: int | None = None,
        on_finding: Callable[[Finding], None] | None = None,
        on_trouble: Callable[[str], None] | None = None,
        start: int = 0,
    ) -> None:
        """`start` is the number of the first step; `on_trouble` hears of rules that failed, instead of a warning."""
        if every is not None and every < 1:
            raise ConfigError(f"every = {every} is no interval.", hint="Say 1 to look at every step.")
        self.findings: list[Finding] = []
        self.should_stop = False
        self.switched_off: dict[str, str] = {}
        """Rules that failed, and why."""
        self._failed: set[int] = set()
        self._model, self._rules = model, list(rules)
        self._action, self._fixed, self._every = action, every, every or EVERY
        self._on_finding, self._on_trouble = on_finding, on_trouble or _warn
        self._ledgers: dict[tuple[int, str], Ledger] = {}
        self._waiting, self._fetches = Waiting(), list[Fetch]()
        self._validation: list[tuple[float, float | None, int]] = []
        self._news: list[Finding] = []
        self._lock = threading.RLock()
        self._start = self._step = start
        self._next_look = start
        self._spent = 0.0
        self._since = self._sent_at = time.perf_counter()
        sources = frozenset(source for rule in self._rules for source in rule.looks_at)
        self._hearing = [index for index, rule in enumerate(self._rules) if type(rule).hear is not Rule.hear]
        self._plain = any({"losses", "logits"} <= rule.looks_at for rule in self._rules)
        self._taps = Taps(model, optimizer, sources, self._on_step, self._guarded)
        stalls = [rule for rule in self._rules if isinstance(rule, StalledTrainingRule)]
        self._stall = StallWatch(stalls[0], self._stalled) if stalls else None
        self._open = False

    @property
    def looking(self) -> bool:
        """Whether the coming step is looked at; on others, inputs, logits and labels may be left out."""
        return self._open and self._taps.looking

    def __enter__(self) -> Self:
        self._open = True
        self._taps.attach()
        self._since = self._sent_at = time.perf_counter()
        self._prepare()
        if self._stall is not None:
            self._stall.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._guarded(lambda: self._close(finished=kind is None))
        finally:
            self._open = False
            if self._stall is not None:
                self._stall.close()
            self._taps.detach()
            self._waiting, self._fetches = Waiting(), []
            self._dispatch()

    def step(
        self,
        *,
        loss: Tensor | float,
        mode: Mode = "train",
        inputs: Tensor | None = None,
        logits: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        """One batch is done: in "train" after `optimizer.step()`, in "eval" a part of a validation.

        Losses of one validation are averaged, by photos where labels are handed in. Shapes: inputs [N, ...], uint8 or
        float; logits float [N, K]; labels int [N], or shares float [N, K].
        """
        if not self._open:
            return
        if self._stall is not None:
            self._stall.alive(self._step)
        self._guarded(lambda: self._took(loss, mode, inputs, logits, labels))
        if self._news:
            self._dispatch()

    def settle(self) -> None:
        """Judges all that waits, and takes a validation for over: for ends of epochs."""
        if self._open:
            self._guarded(self._settle)
            self._dispatch()

    def _took(
        self, loss: Tensor | float, mode: Mode, inputs: Tensor | None, logits: Tensor | None, labels: Tensor | None
    ) -> None:
        looking = self._taps.looking
        plain = None
        if (looking or mode == "eval") and self._plain and logits is not None and labels is not None:
            plain = plain_loss(logits, labels)
        self._waiting.add_loss(Heard(self._step, mode, len(labels) if labels is not None else 1), loss, plain)
        if looking or mode == "eval":
            if looking and mode == "train" and not self._taps.tells_steps:
                self._on_step(self._taps.read())
            sight = Sight(self._step, mode, inputs=inputs, labels=labels, logits=logits)
            self._measure(sight, lambda rule: bool(rule.looks_at & _AFTER_STEP))
        if mode == "train":
            self._after_train_step(looking)
        if self._fetches:
            self._receive()

    def _after_train_step(self, looked: bool) -> None:
        now = time.perf_counter()
        if looked or now - self._sent_at > LOSSES_S:
            self._send(now)
        if looked:
            self._taps.forget()
            self._set_interval(now)
        self._step += 1
        self._prepare()

    def _prepare(self) -> None:
        """Decides whether the coming step is looked at."""
        due = self._is_due(self._step)
        self._taps.step, self._taps.looking = self._step, due
        if due and not self._taps.tells_steps:
            self._guarded(self._taps.keep_weights)

    def _is_due(self, step: int) -> bool:
        if self._fixed is not None:
            return step % self._fixed == 0
        return step - self._start in FIRST or step >= self._next_look

    def _set_interval(self, now: float) -> None:
        settled = self._step - self._start >= SETTLED and self._fixed is None and self._action == "notify"
        if settled and self._spent > SHARE * (now - self._since):
            self._every *= 2
            self._spent, self._since = 0.0, now
        self._next_look = (self._step // self._every + 1) * self._every

    def _on_step(self, sight: Sight) -> None:
        self._measure(sight, lambda rule: not rule.looks_at & _AFTER_STEP)

    def _measure(self, sight: Sight, which: Callable[[Rule], bool]) -> None:
        with torch.no_grad():
            for index, rule in enumerate(self._rules):
                if which(rule):
                    figures = self._asked(index, lambda rule: rule.measure(sight))
                    if figures:
                        self._waiting.add_figures(index, sight.step, figures)

    def _send(self, now: float) -> None:
        self._fetches.append(self._waiting.fetch())
        self._waiting, self._sent_at = Waiting(), now

    def _receive(self, *, wait: bool = False) -> None:
        while self._fetches and (wait or self._fetches[0].arrived()):
            for heard, loss, plain, index, figures in self._fetches.pop(0).entries():
                if figures is not None:
                    self._judge(index, "figures", lambda rule: rule.judge(heard.step, figures))  # noqa: B023
                elif heard.mode == "eval":
                    self._validation.append((loss, plain, heard.photos))
                else:
                    self._end_validation(heard.step - 1)
                    self._hear(heard.step, "train", loss, plain)

    def _hear(self, step: int, mode: Mode, loss: float, plain: float | None) -> None:
        for index in self._hearing:  # at every step, so without a detour where there is nothing to say
            try:
                ill = None if index in self._failed else self._rules[index].hear(step, mode, loss, plain)
            except Exception as error:
                self._switch_off(index, error)
                continue
            if ill or (ill is not None and (index, mode) in self._ledgers):
                self._tell(index, mode, ill)

    def _end_validation(self, step: int) -> None:
        seen, self._validation = self._validation, []
        if not seen:
            return
        photos = sum(count for _, _, count in seen)
        loss = sum(value * count for value, _, count in seen) / photos
        plains = [(value, count) for _, value, count in seen if value is not None]
        plain = sum(value * count for value, count in plains) / photos if len(plains) == len(seen) else None
        self._hear(step, "eval", loss, plain)

    def _settle(self) -> None:
        self._send(time.perf_counter())
        self._receive(wait=True)
        self._end_validation(max(self._step - 1, self._start))

    def _close(self, *, finished: bool) -> None:
        self._settle()
        if finished:
            step, weights = max(self._step - 1, self._start), self._model.state_dict()
            for index in range(len(self._rules)):
                self._judge(index, "end", lambda rule: rule.finish(step, weights))

    def _judge(self, index: int, way: str, ask: Callable[[Rule], list[Finding] | None]) -> None:
        ill = self._asked(index, ask)
        if ill is not None:
            self._tell(index, way, ill)

    def _tell(self, index: int, way: str, ill: list[Finding]) -> None:
        if (index, way) not in self._ledgers:
            self._ledgers[index, way] = Ledger(self._rules[index].in_a_row if way == "figures" else 1)
        self._news += self._ledgers[index, way].news(ill)

    def _asked(self, index: int, question: Callable[[Rule], Any]) -> Any:
        """The answer of a rule; None of one that fails or has failed."""
        try:
            return None if index in self._failed else question(self._rules[index])
        except Exception as error:
            return self._switch_off(index, error)

    def _switch_off(self, index: int, error: Exception) -> None:
        name = self._rules[index].name
        self._failed.add(index)
        self.switched_off[name] = f"{type(error).__name__}: {error}"
        self._on_trouble(f"{name} failed and is switched off: {type(error).__name__}: {error}.")

    def _guarded(self, work: Callable[[], None]) -> None:
        """Does our own work on the clock; where it fails, watching ends and the training goes on."""
        began, looking = time.perf_counter(), self._taps.looking
        try:
            work()
        except Exception as error:
            self._open = False
            self._taps.detach()
            self.switched_off |= {rule.name: f"{type(error).__name__}: {error}" for rule in self._rules}
            self._on_trouble(f"Watching failed and is switched off: {type(error).__name__}: {error}.")
        finally:
            if looking:  # what losses cost at every step is little, and would not be less if looks were fewer
                self._spent += time.perf_counter() - began

    def _stalled(self, finding: Finding) -> None:
        with self._lock:
            self._news.append(finding)
        self._dispatch()

    def _dispatch(self) -> None:
        with self._lock:
            news, self._news = self._news, []
            for finding in news:
                self.findings.append(finding)
                self.should_stop = self.should_stop or self._action == "stop"
                if self._on_finding is not None:
                    self._on_finding(finding)


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=2)
