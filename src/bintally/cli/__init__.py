"""The command line: one thin command per verb.

A command parses, calls its verb's keyword-only function and shows the report; it knows nothing else. Verb modules
import their wing inside the command, so that `bintally --help` stays fast.
"""

import sys

import typer

from bintally.cli import (
    audit,
    check,
    compare,
    count,
    diagnose,
    erp,
    evaluate,
    evaluate_bins,
    evidence,
    explore,
    export,
    fetch,
    follow,
    keys,
    kpi,
    ledger,
    models,
    pipeline,
    plan,
    policy,
    reconcile,
    report,
    review,
    search,
    serve,
    simulate,
    split,
    train,
    tune,
    verify,
)
from bintally.cli.common import show_error
from bintally.errors import BintallyError

app = typer.Typer(
    name="bintally",
    help="Counts the items in photos of warehouse bins, and says how sure it is.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    fetch,
    check,
    explore,
    split,
    diagnose,
    train,
    search,
    tune,
    report,
    export,
    evaluate,
    evaluate_bins,
    compare,
    count,
    verify,
    follow,
    reconcile,
    kpi,
    plan,
    simulate,
    serve,
):
    app.command()(getattr(verb, verb.__name__.rpartition(".")[2]))
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(ledger.app, name="ledger")
app.add_typer(audit.app, name="audit")
app.add_typer(policy.app, name="policy")
app.add_typer(review.app, name="review")
app.add_typer(erp.app, name="erp")
app.add_typer(evidence.app, name="evidence")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")


STOPPED = 130


def main() -> None:
    """Runs the command line; errors become a sentence on stderr and their exit code, Ctrl-C becomes 130."""
    try:
        app(standalone_mode=True)
    except BintallyError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == STOPPED:  # typer has turned Ctrl-C into this
            _say_stopped()
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except ImportError as error:
        # Ctrl-C while a compiled module is being imported: what the module makes of it is an ImportError.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        _say_stopped()
        sys.exit(STOPPED)


def _say_stopped() -> None:
    sys.stderr.write("Stopped. Run the same command again to go on where it stopped.\n")
