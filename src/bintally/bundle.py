"""The contract between training and counting: a folder with `model.onnx` and `card.json`. No pickle, ever.

`model.onnx` takes `photos`, uint8 [N, H, W, 3] (RGB), does its own normalisation, flip averaging, temperature and prior
correction, and returns
- `probabilities`, float32 [N, K]: of the counts named by the card's `count_keys`;
- `novelty`, float32 [N] (where the card has a `novelty_threshold`): how far a photo is from the bins it was trained on.

`beside.onnx`, where the card has `beside`, takes the same and is only asked where more than a count is wanted:
- `maps`, float32 [N, V, C, h, w] (where the card has `change`): what `change.onnx` compares; V views, a photo alone and
  mirrored;
- `attributes`, float32 [N, A] (where the card has `verification`): what the record is likely to say, beside the count.

`change.onnx` takes `earlier` and `later`, the maps of two photos of one bin, and returns `evidence`, float32 [N, 2D+1]:
log likelihoods, up to a constant, of the count's change by -D..D. Whatever is known of the earlier count is added
afterwards (`counting.change`).

Graphs may be kept compressed, as `model.onnx.gz` and so on: a fifth to a quarter smaller. Version 1, which is still
read, had neither that nor `beside.onnx` and `change.onnx`.

SageMaker's `model.tar.gz` is the tar of such a folder.
"""

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import Any, Self

import msgspec

from bintally.errors import BundleError, did_you_mean
from bintally.settings import BUNDLED, BUNDLED_CHAMPION, champion_folder

SCHEMA_VERSION = 2
READABLE = (1, 2)
MODEL = "model.onnx"
BESIDE = "beside.onnx"
CHANGE = "change.onnx"
COMPRESSED = ".gz"
CARD = "card.json"


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A measured figure with its 95% interval (bootstrap over photos)."""

    value: float
    low: float
    high: float


class SplitMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of one split, and of the best answer that never looks at a photo beside them."""

    photos: int
    counts: str  # which counts were asked about, e.g. "1-5"
    figures: dict[str, Figure]
    blind: dict[str, float]


class GraphCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which graph a card speaks of; as it is when it is not compressed."""

    model_sha256: str
    model_bytes: int


class ChangeCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a distribution of the new count from two photos of a bin and the earlier count."""

    max_change: int  # D: changes of -D..D are told apart
    prior: tuple[tuple[float, ...], ...]  # [B, 2D+1]: P(change | earlier count b), what one who sees no photo would
    # say; the last row is for that count and all above
    unchanged: float  # share of untouched bins among those photographed again, mixed into `prior`
    temperature: float  # the evidence is divided by it
    photo_weight: float  # how much the later photo's own probabilities count beside the comparison
    set_threshold: float  # as the card's own, for counts told from pairs
    model_sha256: str
    model_bytes: int


class VerificationCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes P(record right) from what a photo shows and a record (`counting.verification`)."""

    measures: dict[str, tuple[float, float]]  # mean and deviation that the graph's measures are told in
    spread: dict[str, float]  # how far each is usually off, in those deviations
    products_prior: tuple[float, ...]  # of the numbers of products, without a photo
    products_weight: float  # how much the number of products counts beside the number of items
    measures_weight: float  # and how much the measures
    slope: float  # log odds of a record, for each unit of its log likelihood beside the errors it may hold
    bias: float
    threshold: float  # at or above it a record is taken for right: so are 10% of the wrong ones export made for val


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one must know to use a model and to judge it."""

    schema_version: int
    name: str
    created: str  # ISO 8601, UTC
    height_px: int
    width_px: int
    count_keys: tuple[str, ...]
    count_values: dict[str, float]  # what each key counts as in the expected count; "6+" has its mean in train
    temperature: float
    train_prior: dict[str, float]
    target_prior: dict[str, float]  # the mix of counts the probabilities are corrected to
    flip_averaging: bool
    set_coverage: float  # share of photos whose recorded count is in `count_set`, promised ...
    set_threshold: float  # ... by taking counts, most probable first, up to this total probability
    novelty_threshold: float | None  # a photo above it is not taken for a bin; None: the model has no such output
    metrics: dict[str, SplitMetrics]
    dataset: dict[str, Any]  # fingerprint of the manifest, photos per split, source
    recipe: dict[str, Any]
    code_version: str
    licence: str
    model_sha256: str
    model_bytes: int
    beside: GraphCard | None = None
    change: ChangeCard | None = None
    verification: VerificationCard | None = None

    def graph(self, name: str) -> "Card | GraphCard | ChangeCard | None":
        """What is told of a graph: its digest and size."""
        return {MODEL: self, BESIDE: self.beside, CHANGE: self.change}[name]


class Bundle(msgspec.Struct, frozen=True):
    """A bundle on disk, whose parts were checked against each other."""

    folder: Path
    card: Card

    @property
    def model_path(self) -> Path:
        """The ONNX file that counts."""
        return self.path_of(MODEL)

    def path_of(self, name: str) -> Path:
        """The file of a graph, compressed or not."""
        return _stored(self.folder, name)

    def graph(self, name: str) -> bytes:
        """A graph that the card speaks of, as ONNX bytes.

        Raises:
            BundleError: it is missing, damaged, or another one.
        """
        path, told = self.path_of(name), self.card.graph(name)
        try:
            data = path.read_bytes()
            data = gzip.decompress(data) if path.suffix == COMPRESSED else data
        except (OSError, EOFError, zlib.error) as error:
            raise BundleError(f"{path} can't be read: {error}.", hint=_REMAKE) from error
        if told is None or len(data) != told.model_bytes or hashlib.sha256(data).hexdigest() != told.model_sha256:
            raise BundleError(f"{path} is truncated or not the model {self.folder / CARD} speaks of.", hint=_REMAKE)
        return data

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Reads a bundle's card and looks whether its parts are there; each is checked when it is read (`graph`).

        Raises:
            BundleError: a part is missing or truncated, or the card is of another version.
        """
        card_path = folder / CARD
        for path in (card_path, _stored(folder, MODEL)):
            if not path.is_file():
                raise BundleError(f"{folder} is no bundle: it has no {path.name}.", hint=_REMAKE)
        card = read_card(card_path)
        if card.schema_version not in READABLE:
            raise BundleError(
                f"{card_path} has schema version {card.schema_version}; this bintally reads "
                f"{' and '.join(map(str, READABLE))}.",
                hint="Export the model again, or use the bintally that made it.",
            )
        if card.beside is None and (card.change is not None or card.verification is not None):
            raise BundleError(f"{card_path} speaks of changes or records, but of no {BESIDE}.", hint=_REMAKE)
        for name in (MODEL, BESIDE, CHANGE):
            if (told := card.graph(name)) is None:
                continue
            path = _stored(folder, name)
            if not path.is_file():
                raise BundleError(f"{folder} lacks {name}, which {card_path} speaks of.", hint=_REMAKE)
            if _bytes_of(path) != told.model_bytes:
                raise BundleError(f"{path} is truncated or not the model {card_path} speaks of.", hint=_REMAKE)
        return cls(folder, card)


def _stored(folder: Path, name: str) -> Path:
    compressed = folder / f"{name}{COMPRESSED}"
    return compressed if compressed.is_file() else folder / name


def _bytes_of(path: Path) -> int:
    """How large a graph is, told by the last four bytes of a compressed file (RFC 1952)."""
    if path.suffix != COMPRESSED:
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-min(4, path.stat().st_size), os.SEEK_END)
        return int.from_bytes(file.read(), "little")


def find_bundle(called: Path | str | None = None) -> Path:
    """The folder of a bundle: `called` by its folder, else by a bundled model's name ("champion", "fast").

    None: $BINTALLY_BUNDLE, else the bundled champion.

    Raises:
        BundleError: it is neither, or this installation has no such model.
    """
    folder = Path(called) if called is not None else champion_folder()
    if folder.exists():
        return folder
    name = next((name for name, place in BUNDLED.items() if str(folder) == name or folder == place), None)
    if name is not None and BUNDLED[name].is_dir():
        return BUNDLED[name]
    if name is not None:
        which = "bundled model" if BUNDLED[name] == BUNDLED_CHAMPION else f"bundled model {name!r}"
        raise BundleError(
            f"This installation has no {which}.",
            hint="Name one with --bundle FOLDER or $BINTALLY_BUNDLE; `bintally export RUN --out FOLDER` makes one.",
        )
    if len(folder.parts) == 1:
        raise BundleError(
            f"{folder} is no bundle: there is no such folder, and no bundled model of that name.",
            hint=did_you_mean(str(folder), [name for name, place in BUNDLED.items() if place.is_dir()]),
        )
    return folder


def read_card(path: Path) -> Card:
    """The card of a bundle.

    Raises:
        BundleError: not a card.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{path} is no readable card: {error}.", hint=_REMAKE) from error


def card_json(card: Card) -> bytes:
    """A card as indented JSON, as it stands in a bundle."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


_REMAKE = "Make it with `bintally export RUN --out FOLDER`."
