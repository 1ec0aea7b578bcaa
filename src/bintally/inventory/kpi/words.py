"""The KPIs in words: the same on a terminal and on a page."""

from collections.abc import Iterator
from typing import NamedTuple

from bintally.inventory.kpi.report import DEFINITIONS, Figures, KpiReport, Measured, NetValue

UNKNOWN = "not known"


class Row(NamedTuple):
    """A figure in words; `about`: what it is measured on, or why it is not known."""

    title: str
    value: str
    interval: str
    about: str
    formula: str


def rows(figures: Figures, currency: str | None) -> list[Row]:
    """All figures of some records, in the order they are read in."""
    return [
        _row("ira", figures.ira, "records"),
        _row("ira_counted", figures.ira_counted, "records counted"),
        _row("coverage", figures.coverage, "records judged"),
        _row("escape", figures.escape, "accepted records", checked=True),
        _row("escape_of_wrong", figures.escape_of_wrong, "wrong records"),
        _row("false_alarms", figures.false_alarms, "right records"),
        _row("review_yield", figures.review_yield, "reviews decided"),
        *_variance(figures, currency),
        _resolve(figures),
        *([_value(figures.value, currency)] if figures.value else []),
    ]


def cautions(report: KpiReport) -> Iterator[str]:
    """What a reader of the figures must know, a sentence each."""
    total = report.total
    waiting = total.mismatches + total.uncertain - (total.counted - total.checked)
    if total.if_waiting is not None:
        worst, best = total.if_waiting
        yield (
            f"Of {waiting:,} doubtful records nobody knows yet whether they are right; they are taken to be like those "
            f"looked at, though the queue shows the likeliest wrong first. If all were wrong, IRA would be "
            f"{percent(worst)}, if all were right {percent(best)}."
        )
    if total.stale:
        yield f"{total.stale:,} records were not judged, as stock moved after the photo: they are in no figure."
    if total.variance.unvalued:
        yield (
            f"No value is known of {total.variance.unvalued:,} of {total.variance.corrections:,} differences, so their "
            "money is missing: tell products' unit values with bintally ledger import."
        )
    if report.currency is None:
        yield "The sites use several currencies, so money is told by site only: name one with --site."
    if report.untold:
        yield (
            f"{report.untold:,} wrong records of several products were told by their total alone; they are in no row "
            "by product."
        )
    if report.not_posted:
        yield f"{report.not_posted:,} corrections are not in the stock system yet: look at bintally erp status."
    if report.without_product:
        yield f"{report.without_product:,} records name no product; they are in no row by product."


def percent(share: float | None) -> str:
    """0.9712 as "97.1%"; below 1% with a digit more; "not known" where there is none."""
    if share is None:
        return UNKNOWN
    return f"{100 * share:.{2 if 0 < abs(share) < 0.00995 else 1}f}%"


def interval(figure: Measured) -> str:
    """As in "95.1 to 98.0%"; empty where it is not known."""
    return "" if figure.low is None else f"{percent(figure.low)[:-1]} to {percent(figure.high)}"


def money(amount: float | None, currency: str | None, *, digits: int = 0) -> str:
    """1234.5 as "1,234 EUR"; "not known" where there is none."""
    return UNKNOWN if amount is None else f"{amount:,.{digits}f} {currency or ''}".strip()


def hours(duration_h: float | None) -> str:
    """0.4 as "24 min", 30.0 as "30 h", 60.0 as "2.5 days"."""
    if duration_h is None:
        return "-"
    if duration_h < 1:
        return f"{60 * duration_h:.0f} min"
    return f"{duration_h:.1f} h" if duration_h < 48 else f"{duration_h / 24:.1f} days"


def arithmetic(value: NetValue, currency: str | None) -> str:
    """The sum behind a net value; empty where a part is not known."""
    if value.escapes is None or value.false_alarms is None:
        return ""
    return (
        f"{value.avoided:,} counts avoided x {value.cost_per_count:,.2f} - {value.escapes:,.1f} escapes x "
        f"{value.cost_per_escape:,.2f} - {value.false_alarms:,.1f} false alarms x {value.cost_per_recount:,.2f} = "
        f"{money(value.money.value, currency)}"
    )


def _row(name: str, figure: Measured, of: str, *, checked: bool = False) -> Row:
    title, formula = DEFINITIONS[name]
    about = figure.why or f"of {figure.of:,} {of}"
    if not figure.why and figure.seen != figure.of:
        about += f", {figure.seen:,} {'of them counted' if checked else 'records looked at'}"
    return Row(title, percent(figure.value), interval(figure), about, formula)


def _variance(figures: Figures, currency: str | None) -> Iterator[Row]:
    found = figures.variance
    about = f"{found.corrections:,} differences in {found.records:,} records counted"
    for name, units, value in (
        ("gross", f"{found.gross_units:,}", found.gross_money),
        ("net", f"{found.net_units:+,}", found.net_money),
    ):
        title, formula = DEFINITIONS[name]
        yield Row(title, f"{units} items, {money(value, currency)}", "", about, formula)


def _resolve(figures: Figures) -> Row:
    found = figures.resolved
    title, formula = DEFINITIONS["resolve"]
    about = f"of {found.records:,} decided; {found.waiting:,} wait"
    if found.oldest_waiting_h is not None:
        about += f", the oldest {hours(found.oldest_waiting_h)}"
    if found.median_h is None:
        return Row(title, UNKNOWN, "", about, formula)
    return Row(title, f"median {hours(found.median_h)}, p90 {hours(found.p90_h)}", "", about, formula)


def _value(value: NetValue, currency: str | None) -> Row:
    title, formula = DEFINITIONS["value"]
    figure = value.money
    between = "" if figure.low is None else f"{money(figure.low, None)} to {money(figure.high, None)}"
    return Row(title, money(figure.value, currency), between, figure.why or arithmetic(value, currency), formula)
