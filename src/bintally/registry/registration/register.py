"""The `register` verb: a bundle and where it comes from -> a version of a model.

First files, then the database: a kill anywhere leaves files that nothing speaks of, which may be
removed, and never a version without its files. The same bundle again is the version it was.
"""

import re
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from bintally import __version__
from bintally.bundle import Bundle, Card
from bintally.errors import StorageError, UsageError
from bintally.records import to_plain
from bintally.registry.acting import actor
from bintally.registry.bundles import Copied, no_changes, size_of
from bintally.registry.place import Registry
from bintally.registry.registration.learnt import keep_learnt
from bintally.registry.registration.run_files import RunFiles, read_run_files, without_logins
from bintally.registry.versions import MODEL, Version, add_version, of_bundle

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")


class Registered(msgspec.Struct, frozen=True):
    """A version, and whether it is new: the same bundle may have been registered before."""

    version: Version
    is_new: bool


def register(
    registry: Registry,
    bundle: Path,
    *,
    model: str = MODEL,
    by: str,
    run: Path | None = None,
    data: Path | None = None,
    report: Path | None = None,
    run_id: str | None = None,
    reason: str = "",
) -> Registered:
    """Checks a bundle, copies it into the registry and writes it down as the model's next version.

    `run`: the training's folder; what it tells becomes the version's lineage. `data`: the data folder of that training
    (default: beside the run, as the pipeline has it), so that it is known which photos the model learnt from.
    `report`: what `bintally evaluate` found, for the version's card. `run_id`: the tracking server's name of the
    training.

    Raises:
        UsageError: `model` is no name; run, data, report and bundle don't belong together; the bundle was forgotten.
        ModelError: the bundle can't be used.
        CheckpointError: `run` is no finished run.
        StorageError: the copy can't be written.
    """
    from bintally.registry.card.judged import read_evaluation  # here: a rollback needs no templates
    from bintally.registry.card.kept import keep_card

    by, model = actor(by), checked_name(model)
    files = None if run is None else read_run_files(run)
    with Copied(registry, bundle) as copied:
        checked = copied.checked()
        if files is not None:
            must_belong(checked, run, files)
        if report is not None:
            read_evaluation(report, checked.card)
        with registry.read() as connection:
            _must_not_be_forgotten(connection, copied.sha256)
        learnt = keep_learnt(registry, checked.card, run=run, files=files, data=data)
        size, place = size_of(copied.folder), copied.keep()
    lineage = _lineage(checked.card, files) | {"learnt": to_plain(learnt)}
    card = msgspec.convert(without_logins(msgspec.to_builtins(checked.card)), Card)
    with registry.write() as connection:
        no_changes(connection)
        if not place.is_dir():
            raise StorageError(f"{place} was removed just now.", hint="Register it again.")
        version, is_new = add_version(
            connection, model=model, bundle_sha256=place.name, bundle_bytes=size, card=card,
            lineage=lineage, run_id=run_id, by=by, reason=reason,
        )  # fmt: skip
    keep_card(registry, version, report=report)
    return Registered(version, is_new)


def checked_name(model: str) -> str:
    """A model's name.

    Raises:
        UsageError: it is none.
    """
    if not _NAME.fullmatch(model):
        raise UsageError(
            f"{model[:50]!r} is no name for a model.", hint="Use letters, digits, '.', '_' and '-', a letter first."
        )
    return model


def _must_not_be_forgotten(connection: Connection, bundle_sha256: str) -> None:
    for version in of_bundle(connection, bundle_sha256):
        if version.state == "Forgotten":
            raise UsageError(
                f"This bundle is {version.name}, which was forgotten.",
                hint="A forgotten bundle is not taken again: train another one.",
            )


def must_belong(bundle: Bundle, run: Path | None, files: RunFiles) -> None:
    """Looks whether the bundle was exported from that run.

    Raises:
        UsageError: it was not.
    """
    card = bundle.card
    told = (card.dataset.get("fingerprint"), card.recipe.get("name"), card.recipe.get("seed"))
    if told != (files.dataset, files.recipe.get("name"), files.recipe.get("seed")):
        raise UsageError(
            f"The bundle is not of the run {run}: another recipe, seed or split.", hint="Name the run it is of."
        )


def _lineage(card: Card, files: RunFiles | None) -> dict[str, Any]:
    """Where a model comes from, as far as that is known; without a run, what its card tells."""
    lineage: dict[str, Any] = {
        "recipe": card.recipe if files is None else files.recipe,
        "dataset": card.dataset,
        "code": {
            "version": card.code_version,
            "identity": None if files is None else files.report.get("identity"),
            "registered_with": __version__,
        },
        "environment": None if files is None else files.environment,
        "training": None if files is None else files.training,
        "findings": None if files is None else files.findings,
    }
    told: dict[str, Any] = without_logins(lineage)
    return told
