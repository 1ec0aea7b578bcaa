"""`bintally erp`: stock systems: connected, told of corrections, read, and looked after."""

from collections.abc import Callable
from typing import Final

import typer

from bintally.cli.erp import acting, connecting, looking, posting, pulling

app = typer.Typer(
    help="Stock systems: told each correction exactly once, read, and looked after.", no_args_is_help=True
)
_VERBS: Final[tuple[Callable[..., None], ...]] = (
    connecting.connect,
    connecting.list_,
    looking.status,
    posting.post,
    pulling.pull,
    looking.dead_letters,
    looking.show,
    acting.retry,
    acting.drop,
    acting.recount,
    connecting.pause,
    connecting.resume,
)
for verb in _VERBS:
    app.command(verb.__name__.rstrip("_").replace("_", "-"))(verb)
