"""One event as a step of the filter in `following`, forwards and backwards.

Shapes: C counts 0..max_count, L = C, or 1 before the first photo.
    joint_lc      float [L at the last photo, C now], sums to 1
    backward_lc   float [L, C]: P(all that is seen later | both counts), up to a factor
"""

import math
from typing import Final

import msgspec
import numpy as np

from bintally.counting import kernels
from bintally.counting.events import AnyEvent, Counted, Emptied, Photo, Replaced
from bintally.counting.follow_settings import FollowSettings
from bintally.counting.kernels import Floats
from bintally.errors import DataError

_DAY_S: Final = 86_400.0
_CONTRADICTION_HINT: Final = "Allow for errors: settings such as count_error or drift_per_event are 0."


class Step(msgspec.Struct, frozen=True):
    """One event: time passes, items move (`kernel`), something is seen (`likelihood`).

    `photo` is the id that a later pair may refer to; None where the last photo shows other contents than there are now.
    """

    drift: float
    jumps: Floats
    kernel: Floats | None = None  # [C, C]; None: nothing moves
    likelihood: Floats | None = None  # [C] or [L, C]; None: nothing is seen
    is_photo: bool = False
    photo: str | None = None
    used: str | None = None

    def drifted(self, joint_lc: Floats) -> Floats:
        """The joint after the time since the event before."""
        return (1.0 - self.drift) * joint_lc + self.drift * (joint_lc @ self.jumps) if self.drift else joint_lc

    def forward(self, joint_lc: Floats) -> tuple[Floats, float]:
        """The joint after this event, and the log probability of what was seen."""
        joint = self.drifted(joint_lc)
        joint = joint if self.kernel is None else joint @ self.kernel
        joint = joint if self.likelihood is None else joint * self.likelihood
        total = float(joint.sum())
        if not total > 0.0:
            raise DataError("it contradicts everything before it: no count is possible.", hint=_CONTRADICTION_HINT)
        joint = joint / total
        if self.is_photo:
            return np.diag(joint.sum(axis=0)), math.log(total)
        return joint, math.log(total)

    def backward(self, backward_lc: Floats, rows: int) -> Floats:
        """`forward` the other way: from after this event to before it, where the joint has `rows` rows."""
        backward = np.diag(backward_lc)[None] if self.is_photo else backward_lc
        backward = backward if self.likelihood is None else backward * self.likelihood
        backward = backward if self.kernel is None else backward @ self.kernel.T
        if self.drift:
            backward = (1.0 - self.drift) * backward + self.drift * (backward @ self.jumps.T)
        return np.broadcast_to(backward, (rows, backward.shape[1]))


def step_of(event: AnyEvent, last_photo: str | None, waited_s: float | None, settings: FollowSettings) -> Step:
    """The step of `event`; `last_photo` is the photo before, `waited_s` None at the first event."""
    size = settings.max_count + 1
    passed = Step(
        drift=0.0 if waited_s is None else _drift(waited_s, settings),
        jumps=kernels.jumps(settings.max_count, settings.drift_size),
        photo=last_photo,
    )
    with_ = msgspec.structs.replace
    if isinstance(event, Photo):
        likelihood, used = _seen(event, last_photo, settings)
        return with_(passed, likelihood=likelihood, used=used, is_photo=True, photo=event.id)
    if isinstance(event, Counted):
        return with_(passed, likelihood=kernels.counted_likelihood(event, settings))
    if isinstance(event, Emptied):
        kernel = settings.not_emptied * np.eye(size)
        kernel[:, 0] += 1.0 - settings.not_emptied
        return with_(passed, kernel=kernel, photo=None)
    if isinstance(event, Replaced):
        start = kernels.start_c(event.start or settings.start, settings)
        return with_(passed, kernel=np.tile(start, (size, 1)), photo=None)
    return with_(passed, kernel=kernels.transaction_kernel(event.signed, settings.transactions, settings.max_count))


def _seen(photo: Photo, last_photo: str | None, settings: FollowSettings) -> tuple[Floats | None, str | None]:
    """What a photo says, and by which evidence: the pair's takes the place of its own where it is a neighbour's."""
    if photo.change and photo.previous == last_photo:
        return kernels.change_likelihood(photo, settings), "change"
    if photo.probabilities:
        return kernels.photo_likelihood(photo, settings), "photo"
    return None, None


def _drift(waited_s: float, settings: FollowSettings) -> float:
    """The chance that something moved unrecorded since the event before."""
    return 1.0 - (1.0 - settings.drift_per_event) * math.exp(-settings.drift_per_day * waited_s / _DAY_S)
