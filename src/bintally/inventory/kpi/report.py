"""What the KPIs are, as frozen records; every figure with what it is measured on, or why it is not known."""

from typing import Final, Literal, TypeAlias

import msgspec

Cut: TypeAlias = Literal["site", "class", "product", "week"]
CUTS: Final[tuple[Cut, ...]] = ("site", "class", "product", "week")
"""What figures are told by. Not by reviewer: who is given the hard bins finds more, and people are not ranked here."""

DEFINITIONS: Final = {
    "coverage": ("Coverage", "accepted records / judged records; stale ones are not judged"),
    "ira_counted": (
        "IRA of the counted",
        "right records / records counted by a person. Right is exact, product by product where told so; no within-one. "
        "The doubtful are always looked at, so this is lower than the truth",
    ),
    "ira": (
        "IRA of all records",
        "1 - wrong / judged records. Per outcome (match, mismatch, uncertain): what was found wrong + records nobody "
        "looked at x share of wrong ones among those looked at, each weighted by 1 / its chance to be looked at - 1",
    ),
    "escape": (
        "Escape, of the accepted",
        "wrong accepted records / accepted records, from blind checks: what the policy promises",
    ),
    "escape_of_wrong": ("Escape, of the wrong", "wrong accepted records / wrong records"),
    "false_alarms": (
        "False alarms",
        "right records sent to a person / right records; checks drawn by lot are no alarms",
    ),
    "review_yield": (
        "Review yield",
        "reviews that found the record wrong / reviews decided, checks drawn by lot among them",
    ),
    "gross": (
        "Gross variance",
        "sum of |counted - recorded| over products and bins, in units and in money: what people found, so what was "
        "accepted unseen is not in it",
    ),
    "net": ("Net variance", "the same with its sign, for the accounts only: overs and shorts cancel out in it"),
    "resolve": ("Time to resolve", "from the verdict to the decision that stands; what still waits is not in it"),
    "value": (
        "Net value",
        "counts avoided x cost per count - escapes x cost per escape - false alarms x cost per recount. Avoided: "
        "accepted and not drawn for a check; escapes: wrong accepted records that no check caught",
    ),
}
"""Each figure's title and formula. Names as practitioners use them (APICS Dictionary: inventory record accuracy)."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95% interval. `value` None: not known, `why` says why and what to do."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    of: int = 0  # the denominator: how many records or reviews it speaks of
    seen: int = 0  # how many of them it was measured on
    why: str = ""


class Variance(msgspec.Struct, frozen=True, kw_only=True):
    """Differences that people found, in `records` records counted.

    Money is None where sites use several currencies, and where no difference has a value.
    """

    gross_units: int
    net_units: int
    gross_money: float | None
    net_money: float | None
    records: int
    corrections: int  # differences by product, or by bin where only its total was told
    unvalued: int  # those of them without a value: their money is not in it


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """Hours from verdict to the decision that stands, and what waits."""

    records: int
    median_h: float | None
    p90_h: float | None
    waiting: int
    oldest_waiting_h: float | None


class NetValue(msgspec.Struct, frozen=True, kw_only=True):
    """What accepting saved, with its arithmetic."""

    avoided: int
    escapes: float | None
    false_alarms: float | None
    cost_per_count: float
    cost_per_escape: float
    cost_per_recount: float
    money: Measured


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All KPIs of some records: of everything, or of one site, class, product or week."""

    name: str
    judged: int
    accepted: int
    mismatches: int
    uncertain: int
    stale: int  # not judged, since stock moved after the photo; in no figure
    counted: int  # records whose truth a person found
    wrong: int  # those of them that were wrong
    checked: int  # accepted records, drawn by lot or planned, whose truth a person found
    coverage: Measured
    ira_counted: Measured
    ira: Measured
    escape: Measured
    escape_of_wrong: Measured
    promised: float | None  # the policy's promise for `escape`: the mean over the accepted
    false_alarms: Measured
    review_yield: Measured
    variance: Variance
    resolved: Resolved
    value: NetValue | None  # None by product, as a count is of a bin, and where sites use several currencies
    if_waiting: tuple[float, float] | None  # IRA of all records if all doubtful that wait were wrong, or right


class QueueAt(msgspec.Struct, frozen=True, kw_only=True):
    """The queue of reviews at the end of a week."""

    week: str
    waiting: int
    median_age_h: float | None
    oldest_h: float | None


class KpiReport(msgspec.Struct, frozen=True, kw_only=True):
    """The KPIs of a ledger's judged records, as of a moment."""

    sites: tuple[str, ...]
    currency: str | None  # None: the sites use several
    since: str | None  # ISO 8601; verdicts from then on
    until: str  # verdicts, decisions and undone decisions before
    total: Figures
    by: dict[Cut, tuple[Figures, ...]]
    queue: tuple[QueueAt, ...]  # with the cut "week"
    without_product: int  # judged records that name no product, in no row by product
    untold: int  # wrong records of several products, told by their total alone: in no row by product
    more_products: int  # products left out of the rows: less gross variance than those shown
    definitions: dict[str, str]
    not_posted: int = 0  # corrections that stock systems do not know of by now
    page: str | None = None  # the file, where one was written
