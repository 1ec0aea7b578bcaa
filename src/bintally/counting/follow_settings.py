"""What a site's bins and records are like: what `following` reckons with where nothing was seen."""

import math
from typing import Final

import msgspec

from bintally.counting.events import COUNT_KEY, Shares
from bintally.errors import ConfigError

_MOST: Final = 500  # matrices of 501 x 501: slow, but no danger to memory


def check_share(name: str, value: float) -> None:
    """Raises ConfigError unless `value` is from 0 to 1."""
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"'{name}' is {value}, not from 0 to 1.", hint="It is a share or a probability.")


class TransactionErrors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a site's transactions are not what they say. Defaults are guesses: set them from counts of your own."""

    nothing: float = 0.005  # recorded, but nothing moved
    one_off: float = 0.005  # one item more or fewer moved than recorded, equally often
    twice: float = 0.001  # twice the recorded quantity moved
    anything: float = 0.0005  # the record has nothing to do with the bin, which then holds any count

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            check_share(f"transactions.{name}", getattr(self, name))
        if self.as_recorded < 0.0:
            raise ConfigError("The shares of wrong transactions sum to more than 1.", hint="Lower them.")

    @property
    def as_recorded(self) -> float:
        """The share that is right."""
        return 1.0 - (self.nothing + self.one_off + self.twice + self.anything)


class FollowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bin is like when nothing was seen, and how far each kind of event is to be trusted."""

    max_count: int = 30  # counts 0..max_count; the last stands for all above, so choose more than a bin holds
    start: Shares = {}  # the mix of counts before the first event; empty: 0, 1 .. 5 and 6+ equally often
    unlike_start: float = 0.001  # bins that hold any count at first, whatever `start` says
    tail: float = 0.7  # above an open top such as 6+, each count is this times as probable as the one below it
    misleading: float = 0.005  # photos whose answer has nothing to do with the bin (wrong bin, a hand before it)
    second_look: float = 1.0  # power of the new photo's own word on the EARLIER count; lower it where photos repeat
    drift_per_event: float = 0.005  # chance that something moved unrecorded between an event and the next
    drift_per_day: float = 0.0  # the same per day between them, where `time` is a time
    drift_size: float = 0.3  # each further item of an unrecorded move or a miscount is this times as probable
    count_error: float = 0.01  # counts by a person that are wrong
    not_emptied: float = 0.005  # bins said to be emptied that were not touched
    coverage: float = 0.9  # total probability of the set of counts
    transactions: TransactionErrors = TransactionErrors()

    def __post_init__(self) -> None:
        if not 1 <= self.max_count <= _MOST:
            raise ConfigError(f"'max_count' is {self.max_count}, not from 1 to {_MOST}.", hint="30 suits most bins.")
        for name in (
            "unlike_start",
            "tail",
            "misleading",
            "second_look",
            "drift_per_event",
            "count_error",
            "not_emptied",
            "coverage",
        ):
            check_share(name, getattr(self, name))
        if not all(COUNT_KEY.fullmatch(key) and share >= 0.0 for key, share in self.start.items()):
            raise ConfigError("'start' is no mix of counts.", hint='Give shares of counts: {"2" = 0.5, "6+" = 0.5}.')
        if self.start and not 0.0 < sum(self.start.values()) < math.inf:
            raise ConfigError("'start' gives no count any probability.", hint="Leave it out for an even mix.")
        if not 0.0 < self.drift_size <= 1.0:
            raise ConfigError(f"'drift_size' is {self.drift_size}, not above 0 and up to 1.", hint="0.3 is usual.")
        if not 0.0 <= self.drift_per_day < math.inf:
            raise ConfigError(f"'drift_per_day' is {self.drift_per_day}.", hint="Give 0 or more, e.g. 0.001.")
