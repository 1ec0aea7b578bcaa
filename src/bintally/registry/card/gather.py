"""A model card from what is known of a bundle: its own card, a version's lineage, an evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bintally.bundle import Bundle, Card
from bintally.registry.card.energy import estimate
from bintally.registry.card.judged import results_of
from bintally.registry.card.settings import CardSettings
from bintally.registry.card.told import Data, Evaluation, ModelCard, Training
from bintally.registry.registration.run_files import without_logins
from bintally.registry.versions import Version
from bintally.signatures.digest import SIGNATURE, digest_over, files_of
from bintally.signatures.envelope import read_envelope

_SPLITS: Final = ("train", "val", "test")


def of_bundle(
    bundle: Bundle, *, evaluation: Evaluation | None = None, settings: CardSettings | None = None
) -> ModelCard:
    """The model card of a bundle that no registry knows, as far as its own card tells.

    Raises:
        BundleError: its files can't be read.
    """
    files = files_of(bundle.folder)
    size = sum((bundle.folder / name).stat().st_size for name in files)
    card = _card(bundle.card, {}, evaluation, settings or CardSettings())
    return msgspec.structs.replace(
        card, bundle_sha256=digest_over(files), bundle_bytes=size, signers=_signers(bundle.folder)
    )


def of_version(
    version: Version, folder: Path, *, evaluation: Evaluation | None = None, settings: CardSettings | None = None
) -> ModelCard:
    """The model card of a registered version; `folder`: its bundle's, which may be gone.

    Raises:
        BundleError: its signature can't be read.
    """
    return msgspec.structs.replace(
        _card(version.card, version.lineage, evaluation, settings or CardSettings()),
        name=version.name,
        registered=f"{version.registered_at:%Y-%m-%d %H:%M} UTC by {version.registered_by}",
        bundle_sha256=version.bundle_sha256,
        bundle_bytes=version.bundle_bytes,
        signers=_signers(folder),
    )


def _card(card: Card, lineage: Mapping[str, Any], evaluation: Evaluation | None, settings: CardSettings) -> ModelCard:
    recipe = without_logins(lineage.get("recipe") or card.recipe)
    training = _training(card, recipe, lineage)
    return ModelCard(
        name=card.name,
        model=card.name,
        created=card.created,
        registered=None,
        contact=settings.contact,
        licence=card.licence,
        bundle_sha256="",
        bundle_bytes=0,
        counts=card.count_keys,
        tells=_tells(card),
        thresholds=_thresholds(card),
        data=_data(card, recipe, evaluation),
        training=training,
        results=results_of(card, evaluation),
        evaluation=evaluation,
        energy=estimate(training.seconds, settings),
        versions=_versions(card, lineage),
        signers=(),
        recipe=recipe,
    )


def _signers(folder: Path) -> tuple[str, ...]:
    envelope = read_envelope(folder / SIGNATURE)
    return () if envelope is None else tuple(each.keyid for each in envelope.signatures)


def _tells(card: Card) -> tuple[str, ...]:
    parts = {
        "how probable each count is, and a set of counts that holds the right one": True,
        "whether the photo shows a bin at all": card.novelty_threshold is not None,
        "what changed since an earlier photo of the bin": card.change is not None,
        "how probable it is that a stock record is right": card.verification is not None,
    }
    return tuple(words for words, is_told in parts.items() if is_told)


def _thresholds(card: Card) -> dict[str, float]:
    told = {
        "temperature": card.temperature,
        "set_coverage": card.set_coverage,
        "set_threshold": card.set_threshold,
        "novelty_threshold": card.novelty_threshold,
        "record_threshold": None if card.verification is None else card.verification.threshold,
    }
    return {name: value for name, value in told.items() if value is not None}


def _data(card: Card, recipe: Mapping[str, Any], evaluation: Evaluation | None) -> Data:
    dataset: dict[str, Any] = without_logins(card.dataset)
    photos = dict(dataset.get("photos") or {})
    for split in _SPLITS:
        if f"{split}_photos" in dataset:
            photos[split] = dataset[f"{split}_photos"]
    for results in results_of(card, evaluation):
        photos.setdefault(results.split, results.photos)
    return Data(
        source=dataset.get("source") or recipe.get("source") or None,
        fingerprint=dataset.get("fingerprint"),
        photos={split: photos[split] for split in _SPLITS if split in photos},
        priors=card.train_prior,
        target=card.target_prior,
    )


def _training(card: Card, recipe: Mapping[str, Any], lineage: Mapping[str, Any]) -> Training:
    told = lineage.get("training") or {}
    network = recipe.get("network") or {}
    return Training(
        network=str(network.get("backbone") or "not stated"),
        weights=network.get("start") or told.get("weights") or card.dataset.get("weights"),
        input_px=f"{card.width_px} x {card.height_px}",
        epochs=told.get("epochs"),
        seconds=told.get("seconds"),
        machine=_machine(lineage.get("environment") or {}),
        findings=tuple(_finding(each) for each in lineage.get("findings") or ()),
    )


def _finding(found: Mapping[str, Any]) -> str:
    words = found.get("message") or found.get("meaning") or found.get("title") or ""
    return f"{found.get('rule', '?')}: {words}".rstrip(": ")


def _machine(environment: Mapping[str, Any]) -> str | None:
    if not environment:
        return None
    cores, memory = environment.get("cores"), environment.get("memory_gb")
    parts = [
        *(str(gpu) for gpu in environment.get("gpus") or ()),
        str(environment.get("processor") or ""),
        "" if cores is None else f"{cores:g} cores",
        "" if memory is None else f"{memory:g} GB",
    ]
    return ", ".join(part for part in parts if part) or None


def _versions(card: Card, lineage: Mapping[str, Any]) -> dict[str, str]:
    """Of the code that trained, as far as that is known."""
    environment, code = lineage.get("environment") or {}, lineage.get("code") or {}
    versions = {"bintally": card.code_version, **(environment.get("versions") or {})}
    if environment.get("python"):
        versions["Python"] = environment["python"]
    if code.get("registered_with"):
        versions["bintally at registration"] = code["registered_with"]
    return {name: str(version) for name, version in versions.items()}
