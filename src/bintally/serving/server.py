"""Runs the service: takes the port, loads the model, serves until it is told to stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bintally.serving.listening import Serving as Serving
from bintally.serving.listening import listening
from bintally.serving.operation.logs import logging_to_stderr
from bintally.serving.settings import ServeConfig


def serve(*, on_ready: Callable[[Serving], None] = lambda _: None, **settings: Any) -> None:
    """Serves the page and the API until Ctrl-C or SIGTERM; requests under way are answered first.

    `settings` as in `serving.settings.ServeConfig`; what is not given is taken from the environment. `on_ready` is told
    the address as soon as the service answers there.

    Raises:
        ConfigError: a setting, or a BINTALLY_SERVE_ variable, is wrong.
        UsageError: the port is taken, or the address is none of this machine's.
        BundleError: no usable model.
    """
    config = ServeConfig.from_environment(settings)
    with (
        logging_to_stderr(level=config.log_level, form=config.log_format),
        _signals_during_the_start(),
        suppress(KeyboardInterrupt),  # a stop that comes before anything is answered is one in good order, too
        listening(config.host, config.port) as listener,
    ):
        # Imported here: it takes a second, in which a busy port is told and a stop is heard.
        if config.workers == 1:
            from bintally.serving.http_server import serve_on

            serve_on(listener, config, on_ready=on_ready)
        else:
            from bintally.serving.workers import supervise

            supervise(listener, config, on_ready=on_ready)


@contextmanager
def _signals_during_the_start() -> Iterator[None]:
    """SIGTERM (a container's stop) ends the service as Ctrl-C does; SIGHUP finds a model that is just being loaded."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    handlers: dict[int, Any] = {signal.SIGTERM: signal.default_int_handler}
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = signal.SIG_IGN
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
