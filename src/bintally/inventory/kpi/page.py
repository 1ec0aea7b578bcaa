"""The KPIs as one self-contained page: figures with what they are measured on, and their course over the weeks."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from bintally.inventory.kpi.report import Cut, Figures, KpiReport, Measured
from bintally.inventory.kpi.words import arithmetic, cautions, hours, interval, money, percent, rows
from bintally.pages import ACCENT, BAD, MUTED, SECOND, axes, render, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES: Final[dict[Cut, str]] = {
    "week": "By week of the verdict",
    "class": "By ABC class",
    "site": "By site",
    "product": "By product, the most gross variance first",
}
_LABELS: Final = 8  # weeks named under a plot


def kpi_page(report: KpiReport) -> str:
    """The page of `report`."""
    return render(
        "kpi.html",
        report=report,
        total=report.total,
        rows=rows(report.total, report.currency),
        cautions=list(cautions(report)),
        cuts=[(cut, _TITLES[cut], report.by[cut]) for cut in _TITLES if cut in report.by],
        plots=_plots(report),
        arithmetic=arithmetic,
        percent=percent,
        interval=interval,
        money=money,
        hours=hours,
    )


def _plots(report: KpiReport) -> list[tuple[str, Markup, str]]:
    """Title, plot and explanation; none where there is no week."""
    weeks = report.by.get("week", ())
    if not weeks:
        return []
    return [
        (
            "Inventory record accuracy",
            _ira(weeks),
            "All records, with 95% intervals; dots: only those counted, the doubtful ones.",
        ),
        ("Accepted without a person", _coverage(weeks), "Share of the judged records."),
        (
            "Escape",
            _escape(weeks),
            "Wrong among the accepted, by blind checks, against the policy's promise; tall intervals are cut off.",
        ),
        ("Review yield", _yield(weeks), "Share of the decided reviews that found the record wrong."),
        (
            "Gross variance",
            _gross(weeks, report.currency),
            "What people found; the dot is net, which hides what cancels out.",
        ),
        ("The queue", _queue(report), "Age of what waits at the end of each week, in days."),
    ]


def _ira(weeks: Sequence[Figures]) -> Markup:
    figure, plot = axes(5.2, 2.7)
    _course(plot, weeks, lambda week: week.ira, ACCENT)
    counted = [
        (place, week.ira_counted.value) for place, week in enumerate(weeks) if week.ira_counted.value is not None
    ]
    if counted:
        plot.plot(*zip(*counted, strict=True), "o", color=SECOND, markersize=3.5, label="counted by a person")
    _shares(plot, weeks)
    known = [week.ira.value for week in weeks if week.ira.value is not None] + [value for _, value in counted]
    plot.set_ylim(max(min(known, default=1.0) - 0.1, 0.0), 1.003)
    return svg(figure)


def _coverage(weeks: Sequence[Figures]) -> Markup:
    figure, plot = axes(5.2, 2.7)
    _course(plot, weeks, lambda week: week.coverage, ACCENT)
    _shares(plot, weeks)
    plot.set_ylim(0, 1.01)
    return svg(figure)


def _escape(weeks: Sequence[Figures]) -> Markup:
    figure, plot = axes(5.2, 2.7)
    _course(plot, weeks, lambda week: week.escape, ACCENT)
    promised = [(place, week.promised) for place, week in enumerate(weeks) if week.promised is not None]
    if promised:
        plot.plot(
            *zip(*promised, strict=True), color=BAD, linewidth=1.2, linestyle=(0, (4, 3)), label="promised at most"
        )
        plot.legend(frameon=False, fontsize=8, loc="upper right")
    _shares(plot, weeks)
    known = [week.escape.value for week in weeks if week.escape.value is not None]
    plot.set_ylim(0, max(1.5 * max(known, default=0.0), 6 * max((share for _, share in promised), default=0.01)))
    return svg(figure)


def _yield(weeks: Sequence[Figures]) -> Markup:
    figure, plot = axes(5.2, 2.7)
    _course(plot, weeks, lambda week: week.review_yield, ACCENT)
    _shares(plot, weeks)
    plot.set_ylim(bottom=0)
    return svg(figure)


def _gross(weeks: Sequence[Figures], currency: str | None) -> Markup:
    figure, plot = axes(5.2, 2.7)
    has_money = all(week.variance.gross_money is not None for week in weeks)
    found = [
        (week.variance.gross_money, week.variance.net_money)
        if has_money
        else (week.variance.gross_units, week.variance.net_units)
        for week in weeks
    ]
    plot.bar(range(len(weeks)), [gross or 0.0 for gross, _ in found], color=ACCENT, width=0.7)
    plot.plot(range(len(weeks)), [net or 0.0 for _, net in found], "o", color=SECOND, markersize=4)
    plot.axhline(0, color=MUTED, linewidth=0.8)
    plot.set_ylabel(currency or "items" if has_money else "items", fontsize=8)
    plot.yaxis.set_major_formatter(lambda amount, _: f"{amount:,.0f}")
    _weeks(plot, [week.name for week in weeks])
    return svg(figure)


def _queue(report: KpiReport) -> Markup:
    figure, plot = axes(5.2, 2.7)
    places = range(len(report.queue))
    for ages, colour, label in (
        ([at.oldest_h for at in report.queue], SECOND, "oldest"),
        ([at.median_age_h for at in report.queue], ACCENT, "median"),
    ):
        days = [float("nan") if age is None else age / 24 for age in ages]
        plot.plot(places, days, "o-", color=colour, linewidth=1.8, markersize=3.5, label=label)
    if all(at.waiting == 0 for at in report.queue):
        _say(plot, "nothing waited at the end of any week")
    else:
        plot.legend(frameon=False, fontsize=8, loc="upper left")
    plot.set_ylim(bottom=0)
    plot.set_ylabel("days", fontsize=8)
    _weeks(plot, [at.week for at in report.queue])
    return svg(figure)


def _course(plot: "Axes", weeks: Sequence[Figures], of: Callable[[Figures], Measured], colour: str) -> None:
    """A line with its intervals; a week that is not known is a gap."""
    found = [of(week) for week in weeks]
    low, value, high = (
        [float("nan") if one is None else one for one in ends]
        for ends in zip(*((each.low, each.value, each.high) for each in found), strict=True)
    )
    if all(each.value is None for each in found):
        _say(plot, "not known yet")
    places = list(range(len(weeks)))
    plot.vlines(places, low, high, color=colour, alpha=0.35, linewidth=4)
    plot.plot(places, value, "o-", color=colour, linewidth=1.8, markersize=4)


def _say(plot: "Axes", words: str) -> None:
    plot.text(0.5, 0.5, words, transform=plot.transAxes, ha="center", va="center", color=MUTED, fontsize=9)


def _shares(plot: "Axes", weeks: Sequence[Figures]) -> None:
    plot.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    _weeks(plot, [week.name for week in weeks])


def _weeks(plot: "Axes", names: Sequence[str]) -> None:
    """Some weeks' names, the last one's among them."""
    step = -(-len(names) // _LABELS)
    shown = list(range(len(names) - 1, -1, -step))
    plot.set_xticks(shown, [names[place].replace("-", "\n") for place in shown])
    plot.set_xlim(-0.6, len(names) - 0.4)
