"""What `plan_counts` tells."""

import msgspec


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A bin to look at. `step`: its place on the way of its kind of look, from 1 on."""

    look: str  # "count" or "photo"
    step: int
    bin: str
    aisle: str | None
    position: float | None
    abc: str
    units: int
    unit_value: float | None
    wrong: float  # P(record wrong) today
    at_stake: float  # money: that, times what an error costs
    worth: float  # money: what the look is expected to save, less what it costs
    why: str  # "overdue": set aside for the calendar; "worth"
    reasons: tuple[str, ...]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """All looks of one kind together. Metres: in the order of worth, and in walking order; estimates."""

    capacity: int
    planned: int
    errors: float  # wrong records among the planned bins, expected
    worth: float
    before_m: float
    after_m: float
    unplaced: int  # bins of which nobody knows where they are


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How often records become wrong, and how many counts that was learnt from."""

    touch: float
    day: float
    never_looked: float  # share of wrong records among bins nobody has looked at, on average
    counts: int


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """A day's plan. `bins`: counts first, each kind in walking order."""

    site: str
    day: str
    currency: str
    candidates: int
    wrong: float  # records expected to be wrong in all bins
    overdue: int  # bins that the calendar would have had counted
    counts: Look
    photos: Look
    kept: int  # planned before and not done
    rates: Rates
    file: str | None
    bins: tuple[Planned, ...]
