"""A simulation in words: the arms' names, figures with their intervals, and where bintally loses."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from bintally.simulation.report import OURS, ArmFigures, Figure, SimulationReport, Versus

ARM_WORDS: Final = {
    "bintally": "bintally",
    "single": "each photo alone",
    "hand": "counts by hand",
    "calendar": "ABC calendar",
    "nothing": "nothing",
}
ARM_MEANING: Final = {
    "bintally": "robots photograph each pick and stow; a ledger follows each bin over time; people count the bins "
    "where that saves more than it costs; corrections are posted to the stock system",
    "single": "the same photos and people, each photo judged by itself, nothing remembered",
    "hand": "the same people count all the time they have, A to B to C as 4 to 2 to 1",
    "calendar": "people count A four times a year, B twice, C once, and go home",
    "nothing": "records are corrected only by pickers who find too little",
}


class Row(NamedTuple):
    """A line of a table: a figure's name and title, "share", "number" or "money", which way is better, the meaning."""

    name: str
    title: str
    kind: str
    better: int
    meaning: str


ROWS: Final = (
    Row("right_bins_at_end", "bins with a right record, last 4 weeks", "share", 1, "exact, product by product"),
    Row("right_bins", "the same, all days", "share", 1, "as the day's work begins, after the morning's counts"),
    Row("gross_units_at_end", "items off, last 4 weeks", "number", -1, "sum of |record - truth|"),
    Row("gross_money_at_end", "the same in money", "money", -1, "at the items' values"),
    Row("days_an_error_lives", "days an error lives", "number", -1, "mornings at which it stood"),
    Row("counts", "counts by people", "number", -1, "bins counted"),
    Row("found_per_100_counts", "errors found by 100 counts", "number", 1, "records that were wrong and then right"),
    Row("false_corrections", "right records made wrong", "number", -1, "by a miscount"),
    Row("short_picks", "short picks", "number", -1, "a picker found less than the record said"),
    Row("missed_orders", "orders turned away", "number", -1, "though the bin held what they asked for"),
    Row("accepted", "records accepted without a person", "number", 1, "each time one was judged"),
    Row("escape", "wrong among them", "share", -1, "by their total, which is all a photo tells"),
    Row("cost", "cost in all", "money", -1, "counts, photos, and what errors cost"),
)
"""Figures of pages and tables; `better`: 1, more is better; -1, less is."""


WRONG_DAYS: Final = (0.0, 0.25, 0.5, 1.0, 2.0)
"""What a wrong record may cost a day beside short picks and orders turned away: told for each."""

EFFORT: Final = ("counts", "found_per_100_counts", "accepted")
"""More or less of these is no loss by itself: what they cost is in the cost."""


def told(figure: Figure, kind: str) -> str:
    """A figure's value."""
    return "-" if figure.value is None else _number(figure.value, kind)


def interval(figure: Figure, kind: str) -> str:
    """Its 95% interval; empty: it has none."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{_number(figure.low, kind)} to {_number(figure.high, kind)}"


def difference(figure: Figure, kind: str) -> str:
    """A difference, with its sign; of shares in points."""
    if figure.value is None:
        return "-"
    if kind == "share":
        return f"{100 * figure.value:+.1f} points"
    return f"{figure.value:+,.0f}" if abs(figure.value) >= 100 else f"{figure.value:+,.1f}"


def difference_interval(figure: Figure, kind: str) -> str:
    """Its 95% interval."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = (difference(Figure(end), kind).removesuffix(" points") for end in (figure.low, figure.high))
    return f"{low} to {high}"


def money(amount: float) -> str:
    """An amount without its currency."""
    return f"{amount:,.0f}"


def is_clear(figure: Figure) -> bool:
    """Whether a difference's interval lies on one side of 0."""
    return figure.low is not None and figure.high is not None and (figure.low > 0 or figure.high < 0)


def headline(report: SimulationReport) -> str:
    """The first figure, beside the same people counting by hand and nobody."""
    right = {arm.arm: told(arm.figures["right_bins_at_end"], "share") for arm in report.arms}
    if OURS not in right:
        return "A simulated site"
    beside = {"hand": "where the same people count by hand", "nothing": "where nobody does"}
    others = [f"{right[arm]} {words}" for arm, words in beside.items() if arm in right]
    return ", ".join([f"With bintally {right[OURS]} of bins have a right record", *others])


def what_if(report: SimulationReport) -> Iterator[tuple[float, list[float]]]:
    """The cost of each arm, if a wrong record cost so much a day."""
    now = float(report.settings["money"]["wrong_record_day"])
    for day in sorted({*WRONG_DAYS, now}) if now else ():
        yield day, [_cost_if(arm, day / now) for arm in report.arms]


def losses(report: SimulationReport) -> Iterator[str]:
    """Where bintally does worse than another arm by more than chance, or no better, and what it can't see at all."""
    yield from _dearer(report)
    for versus in report.versus:
        if not is_clear(versus.figures["right_bins_at_end"]):
            change = difference(versus.figures["right_bins_at_end"], "share")
            yield f"Not clearly better than {ARM_WORDS[versus.arm]} at the end: right records {change}."
        for row in (row for row in ROWS if row.name not in EFFORT and _is_worse(versus, row)):
            change = difference(versus.figures[row.name], row.kind)
            yield f"Worse than {ARM_WORDS[versus.arm]}: {row.title}, {change}."
    yield from (
        "A camera counts items, not products: two products of one bin taken for each other stay unseen until a count.",
        "Who takes from or puts into the bin beside leaves that one wrong, too, and no robot looks there before its "
        "next touch or round.",
        "Of three and more items stowed at once it can hardly tell whether it was one more or fewer.",
        "Bins of 6 items and more look alike to the model: their records are never accepted, only ranked.",
    )


def _dearer(report: SimulationReport) -> Iterator[str]:
    """Prices at which something else is cheaper."""
    names = [arm.arm for arm in report.arms]
    for price, costs in what_if(report):
        cheapest = names[costs.index(min(costs))]
        if OURS in names and cheapest != OURS:
            currency, name = report.settings["money"]["currency"], ARM_WORDS[cheapest]
            yield f"At {price:.2f} {currency} a day for a wrong record, beside short picks, the cheapest is: {name}."


def _cost_if(arm: ArmFigures, times: float) -> float:
    parts = {part: spent.value or 0.0 for part, spent in arm.cost.items()}
    return sum(parts.values()) + (times - 1.0) * parts["wrong records"]


def _is_worse(versus: Versus, row: Row) -> bool:
    figure = versus.figures[row.name]
    return is_clear(figure) and (figure.value or 0.0) * row.better < 0


def _number(value: float, kind: str) -> str:
    if kind == "share":
        return f"{100 * value:.1f}%"
    if kind == "money" or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}"
