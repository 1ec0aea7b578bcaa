"""Which version answers first: the champion, unless it was refused; else the last good one; else one before it."""

import logging
import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bintally.errors import BundleError, StorageError, UsageError
from bintally.registry import identity
from bintally.serving.following.follower import Limits, RegistryFollower, what_said
from bintally.serving.following.memory import FOLDER, Memory
from bintally.serving.following.registry_view import RegistryView
from bintally.serving.following.trial import must_answer, must_be_whole
from bintally.serving.following.wanted import Wanted
from bintally.serving.models import Models
from bintally.serving.settings import ServeConfig

MOST_EARLIER: Final = 5
"""Champions of before that are tried where neither the champion nor the last good version can be used."""

_LOG: Final = logging.getLogger(__name__)


def begin(config: ServeConfig, load: Callable[[Path], Models]) -> RegistryFollower:
    """The follower of `config.registry`, with the first version loaded. `load` makes models of its bundle.

    Raises:
        UsageError: a bundle is named, too; there is no such registry or model, or its alias points to nothing.
        StorageError: the registry can't be reached, and no version is known that answered before.
        BundleError: no version can be used.
    """
    view = _view(config)
    try:
        return _Start(config, view, load).follower()
    except BaseException:
        view.close()
        raise


def first_choice(config: ServeConfig) -> Wanted:
    """The version that the followed alias points to.

    Raises:
        UsageError: as `begin`.
        StorageError: the registry can't be used.
    """
    view = _view(config)
    try:
        view.open()
        return _champion(view)
    finally:
        view.close()


def _view(config: ServeConfig) -> RegistryView:
    assert config.registry is not None  # noqa: S101 - or nobody would ask
    if config.bundle is not None:
        raise UsageError("A bundle and a registry are named: which is to be served?", hint="Leave one of them out.")
    return RegistryView(config.registry.absolute(), config.registry_model, config.registry_alias)


def _champion(view: RegistryView) -> Wanted:
    view.must_have_model()
    champion = view.look().champion
    if champion is None:
        raise UsageError(
            f"The {view.alias} of {view.model!r} is none of its versions yet.",
            hint="`bintally models promote VERSION` makes one the champion.",
        )
    return champion


class _Start:
    def __init__(self, config: ServeConfig, view: RegistryView, load: Callable[[Path], Models]) -> None:
        self._config, self._view, self._load = config, view, load
        self._memory = _memory(config, view)
        self._champion: Wanted | None = None
        self._whys: dict[int, str] = {}  # why versions can't be served, by the alias' change
        self._known: frozenset[int] = frozenset()  # those of them that were refused before this start
        self._away: str | None = None

    def follower(self) -> RegistryFollower:
        for wanted in _each_version_once(self._candidates()):
            models = self._tried(wanted)
            if models is not None:
                return self._made(models, wanted)
        whys = " ".join(f"{why.rstrip('.')}." for why in self._whys.values())
        if self._away is not None:
            raise StorageError(f"{self._away} {whys}".strip(), hint="Is the registry mounted, its database running?")
        raise BundleError(f"No version can be served: {whys}", hint="Promote another one, or roll back.")

    def _made(self, models: Models, wanted: Wanted) -> RegistryFollower:
        config, champion = self._config, self._champion
        limits = Limits(config.follow_s, config.max_slower, config.keep_mb * 2**20, config.policy)
        follower = RegistryFollower(models, wanted, self._view, self._memory, service=_name(config), limits=limits)
        follower.away = self._away
        if champion is not None and champion.change in self._whys:
            is_news = champion.change not in self._known
            follower.has_refused(champion, self._whys[champion.change], is_news=is_news)
        return follower

    def _candidates(self) -> Iterator[Wanted]:
        """The versions to try, the best first."""
        good = self._memory.good
        try:
            self._champion = self._view.look().champion if good is not None else _champion(self._view)
            earlier = self._view.earlier()[: MOST_EARLIER + 1]
        except StorageError as error:
            if good is None:
                self._view.open()  # which says it in its own words
                raise
            self._away, earlier = error.message, []
        if self._champion is not None:
            yield self._champion
        if good is not None:
            yield good
        yield from earlier

    def _tried(self, wanted: Wanted) -> Models | None:
        """The models with this version loaded; None: it can't be used."""
        why = self._memory.why_not(wanted.change)
        if why is None:
            try:
                return self._loaded(wanted)
            except Exception as error:  # whatever it is, another version may work
                why = what_said(error)
        else:
            self._known |= {wanted.change}
        if wanted is self._champion:
            _quietly(lambda: self._memory.refuses(wanted.change, why))
        else:
            _LOG.error("%s can't be served: %s", wanted.name, why)
        self._whys[wanted.change] = why
        return None

    def _loaded(self, wanted: Wanted) -> Models:
        must_be_whole(wanted)
        _quietly(lambda: self._memory.tries(wanted.change))
        models = self._load(wanted.bundle)
        must_answer(models.default.counter, self._config.policy)
        _quietly(lambda: self._memory.serves(wanted))
        return models


def _each_version_once(candidates: Iterator[Wanted]) -> Iterator[Wanted]:
    seen = set()
    for wanted in candidates:
        if wanted.version_id not in seen:
            seen.add(wanted.version_id)
            yield wanted


def _memory(config: ServeConfig, view: RegistryView) -> Memory:
    try:
        known = identity.of_folder(view.place)
    except (StorageError, OSError):
        known = None
    of = (str(view.place), view.model, view.alias)
    return Memory(config.state_folder / FOLDER / f"{_worker()}.json", of, known)


def _name(config: ServeConfig) -> str:
    """What the registry calls this worker: the same after a restart, unless its port is any that is free."""
    return f"{socket.gethostname()}:{config.port or f'process-{os.getpid()}'}/{_worker()}"


def _worker() -> str:
    """`serving.workers` calls its processes bintally-0, bintally-1 ..."""
    place = multiprocessing.current_process().name.rpartition("-")[2]
    return f"worker-{int(place) + 1 if place.isdecimal() else 1}"


def _quietly(write: Callable[[], None]) -> None:
    """A state folder that can't be written keeps no service from starting: the log says so."""
    try:
        write()
    except StorageError as error:
        _LOG.warning("What is known of versions can't be kept: %s", error)
