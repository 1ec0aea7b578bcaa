"""`bintally evidence`: why a record was corrected, in a bundle that anybody can check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bintally.cli.common import (
    MOST_NUMBER,
    AsOption,
    Json,
    LedgerOption,
    SiteOption,
    console,
    emit_json,
    moment_of,
    progress_for,
)

if TYPE_CHECKING:
    from bintally.inventory.evidence.export import ExportReport
    from bintally.inventory.evidence.verify import VerifyReport

app = typer.Typer(help="Why records were corrected: bundles that anybody can check.", no_args_is_help=True)

UNVOUCHED: Final = 1
"""Exit code of `verify` where a bundle agrees with itself, and nothing more is known."""
BROKEN: Final = 3
"""... where something was changed, or what was asked for does not hold."""

_SHOWN: Final = 20  # names and sentences of one kind


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder, or with --zip a new file.")],
    adjustment: Annotated[
        int | None, typer.Argument(max=MOST_NUMBER, help="An adjustment's number.", show_default=False)
    ] = None,
    decision: Annotated[
        int | None, typer.Option(max=MOST_NUMBER, help="Or the number of the decision that asked for it.")
    ] = None,
    code: Annotated[str | None, typer.Option("--bin", help="Or all corrections of this bin.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="... or decided from then on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="... and before then.")] = None,
    zipped: Annotated[bool, typer.Option("--zip", help="One file instead of a folder.")] = False,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sign it with this private key of `bintally models keygen`.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Where photos are kept, if not where the ledger says.", metavar="FOLDER")
    ] = None,
    site: SiteOption = None,
    ledger: LedgerOption = None,
    person: AsOption = None,
    json_output: Json = False,
) -> None:
    """Export why a record was corrected: photos, counts, policy, people, the stock system's answer, the audit log.

    The digest that is printed proves later that the bundle is this one: keep it somewhere else. It is in the audit log,
    too. Exit code 1: photos were not to be had; everything else is in the bundle.

    Example: `bintally evidence export 17 --out evidence-17 --as vera`

    Example: `bintally evidence export --since 2026-11-01 --out november --zip --key release --as vera`
    """
    from bintally.inventory.evidence.export import Wanted, export_evidence
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain
    from bintally.settings import acting_person, ledger_place

    wanted = Wanted(adjustment=adjustment, decision=decision, bin=code, since=moment_of(since), until=moment_of(until))
    with Ledger.open(ledger_place(ledger)) as opened:
        report = export_evidence(
            ledger=opened,
            wanted=wanted,
            out=out,
            by=acting_person(person),
            site=site,
            photos=photos,
            zipped=zipped,
            key=key,
            progress=progress_for(json_output=json_output),
        )
    if json_output:
        emit_json(to_plain(report))
    else:
        _show_export(report)
    if report.missing:
        raise typer.Exit(1)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A folder or .zip of `bintally evidence export`.")],
    trust: Annotated[
        list[Path] | None, typer.Option(metavar="PUB", help="A public key; one of those given must have signed.")
    ] = None,
    expect: Annotated[str | None, typer.Option(metavar="DIGEST", help="The digest that the export printed.")] = None,
    ledger: Annotated[
        str | None, typer.Option("--ledger", help="Also hold it against this ledger's audit log.", show_default=False)
    ] = None,
    json_output: Json = False,
) -> None:
    """Check every byte of a bundle, and who vouches for it; without --ledger no ledger is needed.

    Exit code 0: it is as it was exported, says a trusted key, the expected digest or the ledger. 1: it agrees with
    itself, and that is all one can say. 3: it was changed, or something that was asked for does not hold.

    Example: `bintally evidence verify evidence-17 --trust release.pub`
    """
    from bintally.inventory.evidence.verify import verify_evidence
    from bintally.inventory.ledger import Ledger
    from bintally.records import to_plain

    if ledger is None:
        report = verify_evidence(bundle=bundle, trust=trust or (), expect=expect)
    else:
        with Ledger.open(ledger) as opened:
            report = verify_evidence(bundle=bundle, trust=trust or (), expect=expect, ledger=opened)
    if json_output:
        emit_json(to_plain(report))
    else:
        _show_verified(report)
    if report.outcome != "vouched":
        raise typer.Exit(UNVOUCHED if report.outcome == "unvouched" else BROKEN)


def _show_export(report: "ExportReport") -> None:
    out = console()
    signed = ", signed" if report.signed_by else ""
    out.print(
        f"{report.corrections:,} correction(s) with {report.photos:,} photo(s) in {report.bundle}{signed}.",
        markup=False,
    )
    if report.removed:
        out.print(f"{report.removed:,} photo(s) were removed by retention: their hashes are in it.")
    if report.missing:
        out.print(f"[red]{report.missing:,} photo(s) were not where the ledger says, or not the same any more.[/]")
    out.print(f"Digest: {report.sha256}", soft_wrap=True)
    if not report.signed_by:
        out.print(
            "It is not signed: keep the digest where nobody can change it together with the bundle. It is also in line"
            f" {report.line} of the audit log."
        )


def _show_verified(report: "VerifyReport") -> None:
    from rich.markup import escape

    out = console()
    words = {
        "vouched": "[green]As it was exported.[/]",
        "unvouched": "[yellow]It agrees with itself, and nobody vouches for it.[/]",
        "broken": "[bold red]No:[/] it is not as it was exported, or not what was asked for.",
    }
    out.print(words[report.outcome])
    if report.files:
        out.print(
            f"{report.files:,} files, {report.corrections:,} correction(s), {report.audit_lines:,} lines of the audit"
            f" log. Digest: {report.sha256}",
            soft_wrap=True,
        )
    lists = (
        ("[red]changed[/]", report.changed),
        ("[red]missing[/]", report.missing),
        ("[red]not of it[/]", report.extra),
        ("[red]problem[/]", report.problems),
        ("[green]says so[/]", report.vouched_by),
        ("[yellow]not checked[/]", report.unchecked),
        ("removed", tuple(f"photo {sha256}, on {at:%Y-%m-%d} by retention" for sha256, at in report.removed.items())),
    )
    for word, sentences in lists:
        for sentence in sentences[:_SHOWN]:
            out.print(f"  {word}: {escape(sentence)}", soft_wrap=True)
        if len(sentences) > _SHOWN:
            out.print(f"  {word}: and {len(sentences) - _SHOWN:,} more")
