"""What a trial's process and its parent say to each other, a JSON line each.

The parent sends a `TrialSpec`; the process answers an `Epoch` after each epoch and waits for `GO` or `STOP`, and sends
the `TrialEnd` last. Then it may get another spec. When its stdin ends, it ends.
"""

from typing import Final

import msgspec

from bintally.training.tune.trial import TrialEnd

GO: Final = b"go\n"
STOP: Final = b"stop\n"


class Epoch(msgspec.Struct, frozen=True, tag="epoch"):
    """An epoch was judged."""

    row: dict[str, float]
    """Its figures, the number from 1 among them."""
    best: dict[str, float]
    """Those of the best so far, by the recipe's `loop.monitor`."""


class End(msgspec.Struct, frozen=True, tag="end"):
    """The trial is over."""

    end: TrialEnd


Message = Epoch | End
