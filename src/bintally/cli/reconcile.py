"""`bintally reconcile`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import Json, LedgerOption, SiteOption, console, emit_json, progress_for, say_model
from bintally.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from bintally.inventory.judging.reconcile import ReconcileReport as LedgerReport
    from bintally.inventory.reconcile.report import ReconcileReport


def reconcile(
    photos: Annotated[
        list[str] | None, typer.Option(help="Photos, a folder or a pattern: counted first. May be repeated.")
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option(help="What bintally count wrote (.jsonl, .csv, .parquet), or a table bin, count.", metavar="FILE"),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Photos with earlier ones, counted first: as bintally count --pairs.", metavar="FILE"),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet: bin, quantity[, product, unit, unit_value, abc, as_of]; or a folder."),
    ] = None,
    bins: Annotated[
        Path | None, typer.Option(help="Whose bin each photo is of: photo, bin[, taken_at].", metavar="FILE")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "--model", help="A model's name or folder (else $BINTALLY_BUNDLE, else champion)."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="A TOML file of promises, tolerances and costs.")] = None,
    promise: Annotated[
        float | None, typer.Option(help="Share of wrong records among the accepted, at most.  [default: 0.02]")
    ] = None,
    out: Annotated[
        list[Path] | None, typer.Option(help="Write to this .csv, .jsonl, .parquet or .html file. May be repeated.")
    ] = None,
    ledger: LedgerOption = None,
    site: SiteOption = None,
    follow: Annotated[
        Path | None, typer.Option(help="With --ledger: a TOML file of what the site's bins are like.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Work it out again though nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Holds stock records against photos or counts of their bins, and says which need no person.

    Accepted are only records that the promise can be kept for; the others come with reasons. A bin's latest photo
    counts; a record that changed after it is stale. The exit code is 1 when lines could not be used: they are listed
    with their numbers, all of them in OUT.rejected.csv, and the rest goes in.

    Example: `bintally reconcile --photos bins/ --records stock.csv --out result.csv --out result.html`

    Example: `bintally reconcile --counts counts.jsonl --records stock.parquet --promise 0.01 --json`

    With a ledger instead of files, what is new in it is counted, judged, and put up for review.

    Example: `bintally reconcile --ledger ledger.sqlite --site S1`
    """
    if records is None and not (photos or counts or pairs):
        _by_ledger(ledger, site, bundle, policy, promise, follow, out=out, as_json=as_json)
        return
    if records is None or ledger or site or follow:
        raise UsageError(
            "Files of photos or counts go with --records, and a ledger with neither.",
            hint="Add --records FILE, or leave out --ledger, --site and --follow.",
        )
    from bintally.inventory.reconcile.run import reconcile as run
    from bintally.records import to_plain

    report = run(
        records=records,
        photos=photos or (),
        pairs=pairs,
        counts=counts,
        bins=bins,
        bundle=bundle,
        policy=policy,
        promise=promise,
        out=tuple(out or ()),
        force=force,
        progress=progress_for(json_output=as_json),
    )
    if as_json:
        emit_json(to_plain(report))
    else:
        show(report)
    _say_rejected(report)
    if report.rejected:
        raise typer.Exit(1)


def _by_ledger(
    ledger: str | None,
    site: str | None,
    bundle: Path | None,
    policy: Path | None,
    promise: float | None,
    follow: Path | None,
    *,
    out: list[Path] | None,
    as_json: bool,
) -> None:
    from bintally.inventory.judging.reconcile import reconcile_ledger
    from bintally.inventory.reconcile.policy import policy_of
    from bintally.records import to_plain
    from bintally.settings import ledger_place

    place = ledger_place(ledger)
    if out:
        raise UsageError("A ledger's verdicts are exported.", hint="bintally ledger export verdicts FILE.parquet")
    report = reconcile_ledger(
        ledger=place,
        site=site,
        bundle=bundle,
        policy=policy_of(bundle, policy, promise),
        follow=follow,
        progress=progress_for(json_output=as_json),
    )
    if as_json:
        emit_json(to_plain(report))
    else:
        _show_ledger(report)


def _show_ledger(report: "LedgerReport") -> None:
    out = console()
    out.print(_outcomes(f"{report.verdicts:,} new verdicts at {_plain(', '.join(report.sites))}", report.outcomes))
    out.print(
        f"{report.photos:,} photos looked at ({report.unreadable:,} unreadable), {report.pairs:,} pairs compared, "
        f"{report.bins:,} bins with new facts, {report.reviews:,} reviews opened; {report.seconds:,.1f} s."
    )


def show(report: "ReconcileReport") -> None:
    """Totals, what is promised, and the bins most worth a look, as tables on stderr."""
    out = console()
    out.print(_outcomes(f"{report.judged:,} records judged", report.outcomes))
    out.print(_promised(report))
    for note in report.notes:
        out.print(f"[yellow]{_plain(note)}[/]")
    if report.worth_a_look:
        out.print(_worth(report))
    if report.out:
        again = "[dim]Nothing changed since the last time.[/] " if report.is_repeated else ""
        out.print(f"{again}[dim]{_plain(', '.join(report.out))}[/]")
    if report.model is not None and report.licence is not None:
        say_model(report.model, report.licence)


def _outcomes(title: str, outcomes: dict[str, int]) -> "Table":
    from rich.table import Table

    from bintally.inventory.reconcile.page import MEANS

    table = Table(title=title, title_justify="left", box=None)
    table.add_column("")
    table.add_column("bins", justify="right")
    table.add_column("")
    for name, number in outcomes.items():
        if number or name in ("match", "mismatch", "uncertain"):
            table.add_row(name.replace("_", " "), f"[bold]{number:,}[/]", f"[dim]{MEANS[name]}[/]")
    return table


def _promised(report: "ReconcileReport") -> str:
    promise = report.promise
    if promise is None:
        return "Nothing is promised, so nothing is accepted."
    drawn = f" {report.blind_recounts:,} are drawn for a blind recount." if report.blind_recounts else ""
    return (
        f"Of the accepted at most {100 * promise.escape:.3g}% are wrong, if no more than "
        f"{promise.wrong_records:.1%} of records are.{drawn}"
    )


def _worth(report: "ReconcileReport") -> "Table":
    from rich.table import Table

    table = Table(title="Most worth a look", title_justify="left", box=None)
    table.add_column("bin", overflow="fold")
    for name in ("recorded", "seen", "right", "off", report.difference.currency):
        table.add_column(name, justify="right")
    table.add_column("outcome")
    table.add_column("why", overflow="fold")
    for each in report.worth_a_look:
        table.add_row(
            _plain(each.bin),
            str(each.recorded_count),
            each.count or "-",
            "-" if each.right is None else f"{each.right:.0%}",
            f"{each.expected_off:.1f}",
            "-" if each.expected_value is None else f"{each.expected_value:,.2f}",
            each.outcome,
            _plain("; ".join(each.reasons[1:] or each.reasons)),
        )
    return table


def _say_rejected(report: "ReconcileReport") -> None:
    if not report.rejected:
        return
    for line in report.rejected_first:
        where = line.file if line.line is None else f"{line.file}:{line.line}"
        cell = f" {line.column} {line.value!r}" if line.column else f" {line.value!r}" * bool(line.value)
        sys.stderr.write(f"{where}:{cell}: {line.why}\n")
    rest = report.rejected - len(report.rejected_first)
    more = f" ({rest:,} more not shown here)" if rest else ""
    sys.stderr.write(f"{report.rejected:,} lines could not be used{more}.\n")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
