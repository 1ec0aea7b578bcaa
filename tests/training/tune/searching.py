"""What tests of `search` share: a runner that trains in this process, so that a trial starts at once."""

import time

from bintally.training.tune.messages import Epoch
from bintally.training.tune.trial import EpochSeen, TrialEnd, TrialSpec
from bintally.training.tune.worker import run_trial


class InlineRunner:
    """Trains in this process, one trial at a time; `kill_at` a trial's number: Ctrl-C when its first epoch is over."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.specs: list[TrialSpec] = []
        self.closed = False
        self._kill_at = kill_at

    def run(self, spec: TrialSpec, epoch_seen: EpochSeen, *, deadline: float | None = None) -> TrialEnd:
        self.specs.append(spec)

        killed = spec.number == self._kill_at

        def tell(epoch: Epoch) -> bool:
            in_time = deadline is None or time.time() < deadline
            return epoch_seen(int(epoch.row["epoch"]), epoch.row) and in_time and not killed

        end = run_trial(spec, tell)
        if killed:
            raise KeyboardInterrupt
        return end

    def close(self) -> None:
        self.closed = True
