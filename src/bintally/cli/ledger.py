"""`bintally ledger`: the ledger itself: made, filled, shown, exported, backed up."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bintally.cli.common import AsOption, Json, LedgerOption, SiteOption, console, emit_json, progress_for

if TYPE_CHECKING:
    from bintally.inventory.bulk.run import ImportReport

app = typer.Typer(help="The ledger of a site's bins: made, filled, shown, backed up.", no_args_is_help=True)


@app.command()
def init(
    place: Annotated[str, typer.Argument(help="A new file, a folder, or postgresql://USER@HOST/NAME.")],
    site: Annotated[str, typer.Option(help="The site's code, such as STR1.")],
    name: Annotated[str, typer.Option(help="The site's name.")] = "",
    currency: Annotated[str | None, typer.Option(help="Of all its money, by ISO 4217.  [default: USD]")] = None,
    admin: Annotated[str | None, typer.Option(help="Somebody who may do everything, to begin with.")] = None,
    json_output: Json = False,
) -> None:
    """Make a ledger, bring an older one up to date, or add a site to one.

    Example: `bintally ledger init stock.sqlite --site STR1 --admin mara`
    """
    from bintally.inventory.set_up import init_ledger

    report = init_ledger(place=place, site=site, name=name, currency=currency, admin=admin)
    if json_output:
        from bintally.records import to_plain

        emit_json(to_plain(report))
        return
    out = console()
    out.print(f"Ledger [bold]{report.place}[/] has the site {report.site} ({report.currency}).")
    if not report.admins:
        out.print("Nobody may do anything yet: [cyan]bintally ledger init PLACE --site CODE --admin NAME[/]")


@app.command()
def person(
    name: Annotated[str, typer.Argument(help="By which the person acts.")],
    role: Annotated[str, typer.Option(help="viewer, reviewer, approver or admin.")],
    site: Annotated[str | None, typer.Option(help="The only site the person may act at; default: all.")] = None,
    ledger: LedgerOption = None,
    acting: AsOption = None,
    json_output: Json = False,
) -> None:
    """Add somebody, or give them another role.

    Example: `bintally ledger person tom --role reviewer --as mara`
    """
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.set_up import set_person
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        held = set_person(ledger=opened, name=name, role=role, site=site, by=acting_person(acting))
    if json_output:
        from bintally.records import to_plain

        emit_json(to_plain(held))
    else:
        console().print(f"{held.name} is {held.role} of {site or 'all sites'}.")


@app.command()
def show(ledger: LedgerOption = None, json_output: Json = False) -> None:
    """Show what is in the ledger: its sites, how many of what, and when the last came in.

    Example: `bintally ledger show --ledger stock.sqlite`
    """
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.set_up import show_ledger
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        shown = show_ledger(ledger=opened)
    if json_output:
        from bintally.records import to_plain

        emit_json(to_plain(shown))
        return
    from rich.table import Table

    table = Table(title=shown.place)
    for heading in ("table", "rows", "last"):
        table.add_column(heading, justify="right" if heading == "rows" else "left")
    for name, content in shown.tables.items():
        table.add_row(name, f"{content.rows:,}", "" if content.last is None else f"{content.last:%Y-%m-%d %H:%M:%S}")
    out = console()
    out.print(table)
    out.print(f"Sites: {', '.join(shown.sites) or 'none'}. Audit log: {shown.head}")
    for name, many in shown.not_posted.items():
        if many:
            out.print(f"{many:,} corrections are not in {name} yet: [cyan]bintally erp status[/]")


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="bins, products, records, movements, photos or counts.")],
    file: Annotated[Path, typer.Argument(help="CSV or Parquet.")],
    site: SiteOption = None,
    create_bins: Annotated[bool, typer.Option("--create-bins", help="Add bins that the site does not have.")] = False,
    rejected: Annotated[
        Path | None, typer.Option(help="Where lines that can't go in are listed; default: FILE.rejected.csv.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Where photos are kept; default: photos/ beside a ledger that is a file.")
    ] = None,
    ledger: LedgerOption = None,
    acting: AsOption = None,
    json_output: Json = False,
) -> None:
    """Take in a file. Lines that can't go in are listed, the rest goes in; exit code 1 says that there were some.

    Columns: bins: bin. products: product, name, abc, unit, unit_value, height_in, length_in, width_in, weight_lb.
    records: bin, quantity, effective_at, product, unit, key, source. movements: bin, quantity, moved_at, product, unit,
    key. photos: photo (a path, from the file's folder on), bin, taken_at; their bytes are kept by hash. counts, by who
    has counted at the bins, such as a plan's: bin, count (empty: not counted), counted_at, product, note, key. Times
    are ISO 8601, without an offset UTC. Lines of one bin and time are the products of one record.

    Example: `bintally ledger import records stock.csv --site STR1 --as mara`
    """
    from bintally.inventory.bulk.run import import_file
    from bintally.inventory.ledger import Ledger
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        report = import_file(
            ledger=opened,
            kind=kind,  # type: ignore[arg-type]  # checked there
            file=file,
            by=acting_person(acting),
            site=site,
            create_bins=create_bins,
            rejected=rejected,
            photos=photos,
            progress=progress_for(json_output=json_output),
        )
    if json_output:
        from bintally.records import to_plain

        emit_json(to_plain(report))
    else:
        _show_import(report)
    if report.rejected:
        raise typer.Exit(1)


def _show_import(report: "ImportReport") -> None:
    out = console()
    if report.is_again:
        out.print(f"{report.file} was taken in before, whole. Nothing was done.")
        return
    for line in report.first:
        out.print(str(line), style="yellow", markup=False)
    if report.rejected:
        out.print(f"{report.rejected:,} line(s) could not go in; all are in {report.rejects}.", style="yellow")
    if any("is no bin of" in line.why for line in report.first):
        out.print("Bins that are new: add [cyan]--create-bins[/], or [cyan]bintally ledger import bins FILE[/] first.")
    words = "of them corrected the record" if report.kind == "counts" else "values changed"
    changed = f", {report.changed:,} {words}" if report.changed else ""
    bins = f", {report.bins:,} bins created" if report.bins else ""
    out.print(
        f"{report.kind}: [bold]{report.new:,} new[/]{changed}{bins}, {report.held:,} were there "
        f"({report.lines:,} lines, {report.seconds:,.1f} s)."
    )
    if report.ignored:
        out.print(f"Columns that say nothing here: {', '.join(report.ignored)}.", markup=False)


@app.command()
def export(
    table: Annotated[
        str,
        typer.Argument(
            help="bins, products, records, movements, photos, estimates, verdicts, reviews, decisions, adjustments, "
            "postings, labels or audit."
        ),
    ],
    file: Annotated[Path, typer.Argument(help="Where to: .csv or .parquet.")],
    site: SiteOption = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
            help="What was so then; without an offset UTC. Default: everything.",
        ),
    ] = None,
    ledger: LedgerOption = None,
    json_output: Json = False,
) -> None:
    """Write a table of the ledger. Bins, products, records, movements and photos can be imported again.

    Example: `bintally ledger export records stock.csv --as-of 2026-03-01`
    """
    from datetime import UTC

    from bintally.inventory.exports import export_table
    from bintally.inventory.ledger import Ledger
    from bintally.settings import ledger_place

    moment = as_of.replace(tzinfo=UTC) if as_of is not None and as_of.tzinfo is None else as_of
    with Ledger.open(ledger_place(ledger)) as opened:
        report = export_table(ledger=opened, table=table, file=file, site=site, as_of=moment)
    if json_output:
        from bintally.records import to_plain

        emit_json(to_plain(report))
    else:
        console().print(f"{report.rows:,} rows of {report.table} in {report.file} ({report.seconds:,.1f} s).")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, such as stock.zip.")],
    ledger: LedgerOption = None,
    json_output: Json = False,
) -> None:
    """Back up the whole ledger into one file, while others write. Photos' files are not in it.

    Example: `bintally ledger backup stock-2026-03-01.zip`
    """
    from bintally.inventory.backup import backup as back_up
    from bintally.inventory.ledger import Ledger
    from bintally.settings import ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        report = back_up(ledger=opened, file=file, progress=progress_for(json_output=json_output))
    if json_output:
        from bintally.records import to_plain

        emit_json(to_plain(report))
    else:
        console().print(
            f"{report.rows:,} rows in {report.file} ({report.bytes / 1e6:,.1f} MB, {report.seconds:,.1f} s). "
            f"Audit log: {report.head}"
        )


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    place: Annotated[str, typer.Argument(help="An empty place: a new file, or an empty PostgreSQL database.")],
    json_output: Json = False,
) -> None:
    """Make a ledger from a backup, on either database. Checks it, and the audit log, before it stands.

    Example: `bintally ledger restore stock-2026-03-01.zip postgresql://stock@db/stock`
    """
    from bintally.inventory.backup import restore as make_again

    report = make_again(file=file, place=place, progress=progress_for(json_output=json_output))
    if json_output:
        from bintally.records import to_plain

        emit_json(to_plain(report))
    else:
        console().print(f"{report.rows:,} rows restored ({report.seconds:,.1f} s). Audit log: {report.head}")


@app.command()
def retain(
    days: Annotated[int, typer.Option(help="Photos that were taken longer ago are removed.")],
    photos: Annotated[
        Path | None, typer.Option(help="Only files in this folder are touched; default: photos/ beside the ledger.")
    ] = None,
    site: SiteOption = None,
    exported: Annotated[
        bool, typer.Option("--exported", help="Labels were exported with their photos: these may go too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    ledger: LedgerOption = None,
    acting: AsOption = None,
    json_output: Json = False,
) -> None:
    """Remove old photos' files. Estimates and hashes stay; photos of open reviews and standing labels stay too.

    Example: `bintally ledger retain --days 90 --dry-run --as mara`
    """
    from bintally.inventory.kept_photos import photos_folder
    from bintally.inventory.ledger import Ledger
    from bintally.inventory.retention import retain as remove_old
    from bintally.settings import acting_person, ledger_place

    with Ledger.open(ledger_place(ledger)) as opened:
        report = remove_old(
            ledger=opened,
            days=days,
            folder=photos or photos_folder(opened),
            by=acting_person(acting),
            site=site,
            exported=exported,
            dry_run=dry_run,
        )
    if json_output:
        from bintally.records import to_plain

        emit_json(to_plain(report))
        return
    out = console()
    out.print(
        f"{report.removed:,} photo(s) {'would be' if dry_run else 'were'} removed ({report.bytes / 1e6:,.1f} MB), "
        f"{report.kept_for_reviews:,} kept for open reviews, {report.kept_for_labels:,} for labels."
    )
    if report.outside:
        out.print(f"{report.outside:,} old photo(s) lie elsewhere and stay.", style="yellow")
