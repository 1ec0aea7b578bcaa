"""`bintally models`: the registry's verbs."""

from collections.abc import Callable
from typing import Final

import typer

from bintally.cli.models import (
    approval,
    card,
    compare,
    gc,
    keygen,
    log,
    looking,
    promoting,
    registering,
    shadow,
    sign,
    verify,
)

app = typer.Typer(
    help="Versions of models: which one serves, since when, and why; better ones take over.", no_args_is_help=True
)
_VERBS: Final[tuple[Callable[..., None], ...]] = (
    registering.init,
    registering.register,
    looking.list_,
    looking.show,
    looking.history,
    compare.compare,
    promoting.promote,
    promoting.rollback,
    *approval.VERBS,
    gc.gc,
    card.card,
    log.log,
    keygen.keygen,
    sign.sign,
    verify.verify,
)
for verb in _VERBS:
    app.command(verb.__name__.rstrip("_"))(verb)
app.add_typer(shadow.app, name="shadow")
