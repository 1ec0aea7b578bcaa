"""A bundle's graphs at work: what they tell of photos and of pairs, whatever counts are asked for.

Shapes: N photos, P pairs of them, H x W the model's size, K the counts the model knows. pixels_nhwc uint8 [N, H, W, 3],
RGB; maps float32 [N, V, C, h, w]; attributes_na float32 [N, A].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bintally.bundle import Bundle, Card, ChangeCard
from bintally.errors import BundleError, ModelError, UsageError

INPUT: Final = "photos"
PROBABILITIES: Final = "probabilities"
NOVELTY: Final = "novelty"
MAPS: Final = "maps"
ATTRIBUTES: Final = "attributes"
EVIDENCE: Final = "evidence"

MAX_BATCH: Final = 16
"""Photos in one inference: more are no faster on a CPU (benchmarks/count.py) and only take memory."""


class Seen(NamedTuple):
    """All that a network tells of photos; None: this one does not tell it."""

    raw_nk: NDArray[np.float32]  # probabilities of all counts it knows
    novelty_n: NDArray[np.float32] | None
    maps: NDArray[np.float32] | None
    attributes_na: NDArray[np.float32] | None

    def only(self, rows: Sequence[int]) -> "Seen":
        """What was told of some of the photos."""
        chosen = list(rows)
        rest = (None if told is None else told[chosen] for told in self[1:])
        return Seen(self.raw_nk[chosen], *rest)


class Network:
    """The loaded graphs of a bundle; threads may share one.

    Raises:
        BundleError: a graph can't be loaded, or is not the one the card describes.
    """

    def __init__(self, bundle: Bundle, *, threads: int) -> None:
        self.card: Card = bundle.card
        self._bundle, self._threads = bundle, threads
        self._comparing: ort.InferenceSession | None = None  # loaded when first two photos are compared
        self._session = _session(bundle.model_path, threads)
        _check_network(self._session, bundle)
        told = {
            NOVELTY: self.card.novelty_threshold is not None,
            MAPS: self.card.change is not None,
            ATTRIBUTES: self.card.verification is not None,
        }
        self._outputs = [PROBABILITIES, *(name for name, is_told in told.items() if is_told)]

    def see(self, pixels_nhwc: NDArray[np.uint8]) -> Seen:
        """What the network tells of photos already brought to its size, whatever counts are asked for."""
        wanted = (self.card.height_px, self.card.width_px, 3)
        if pixels_nhwc.shape[1:] != wanted or pixels_nhwc.dtype != np.uint8:
            raise UsageError(
                f"Pixels are {pixels_nhwc.dtype} {list(pixels_nhwc.shape)}, not uint8 {['N', *wanted]}.",
                hint="`bintally.counting.decode` brings a photo to the model's size.",
            )
        # No photo at all is asked as one that is then left out: so each output has its shape.
        asked_nhwc = pixels_nhwc if len(pixels_nhwc) else np.zeros((1, *wanted), np.uint8)
        chunks = [
            self._session.run(self._outputs, {INPUT: np.ascontiguousarray(asked_nhwc[start : start + MAX_BATCH])})
            for start in range(0, len(asked_nhwc), MAX_BATCH)
        ]
        columns = [np.concatenate(parts)[: len(pixels_nhwc)] for parts in zip(*chunks, strict=True)]
        if not all(np.isfinite(column).all() for column in columns):
            raise ModelError(
                f"The model {self.card.name!r} answered with NaN or infinity.",
                hint=f"{self._bundle.folder} is broken though its parts agree: export it again.",
            )
        told = dict(zip(self._outputs, columns, strict=True))
        return Seen(columns[0], told.get(NOVELTY), told.get(MAPS), told.get(ATTRIBUTES))

    def evidence(self, earlier: Seen, later: Seen) -> NDArray[np.float32]:
        """Log likelihoods [P, 2D+1], up to a constant, of each pair's changes.

        Raises:
            ModelError: this model does not compare photos.
        """
        change = change_card(self.card)
        if self._comparing is None:
            self._comparing = _session(self._bundle.change_path, self._threads)
        if not len(later.raw_nk):
            return np.empty((0, 2 * change.max_change + 1), np.float32)
        assert earlier.maps is not None and later.maps is not None  # noqa: S101 - the card has `change`
        chunks = [
            self._comparing.run(
                [EVIDENCE],
                {"earlier": earlier.maps[start : start + MAX_BATCH], "later": later.maps[start : start + MAX_BATCH]},
            )[0]
            for start in range(0, len(later.raw_nk), MAX_BATCH)
        ]
        evidence_pd = np.concatenate(chunks)
        if evidence_pd.shape[1:] != (2 * change.max_change + 1,) or not np.isfinite(evidence_pd).all():
            raise ModelError(
                f"The comparison of {self.card.name!r} answered {list(evidence_pd.shape)}, or NaN.",
                hint=f"{self._bundle.folder} is broken though its parts agree: export it again.",
            )
        return evidence_pd


def change_card(card: Card) -> ChangeCard:
    """What the card says of comparisons.

    Raises:
        ModelError: this model does not compare photos.
    """
    if card.change is None:
        raise ModelError(
            f"The model {card.name!r} does not compare photos.",
            hint="Use one that does, such as the bundled champion, or train with network.tells = ['change'].",
        )
    return card.change


def _session(model: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads would spin: 40-80% more CPU time for one photo, taken from those that decode the next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors are raised; warnings about a graph help nobody who counts
    try:
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise BundleError(f"{model} can't be loaded: {error}", hint="Export the model again.") from error


def _check_network(session: ort.InferenceSession, bundle: Bundle) -> None:
    """The card's promises about the network, held against the network; a size it leaves open fits any."""
    card = bundle.card
    inputs = {node.name: node.shape for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    promised: dict[str, tuple[int | None, ...]] = {  # None: whatever size it has
        INPUT: (card.height_px, card.width_px, 3),
        PROBABILITIES: (len(card.count_keys),),
    }
    if card.novelty_threshold is not None:
        promised[NOVELTY] = ()
    if card.change is not None:
        promised[MAPS] = (None,) * 4
    if card.verification is not None:
        promised[ATTRIBUTES] = (None,)
    for name, sizes in promised.items():
        has = (inputs if name == INPUT else outputs).get(name)
        if has is None or len(has) != 1 + len(sizes) or not all(map(_fits, has[1:], sizes)):
            told = "is missing" if has is None else f"is {has}"
            raise BundleError(
                f"{bundle.model_path} is not what its card describes: {name!r} {told}, not "
                f"{['N', *('any' if size is None else size for size in sizes)]}.",
                hint="Export the model again.",
            )


def _fits(has: int | str | None, promised: int | None) -> bool:
    return not isinstance(has, int) or promised is None or has == promised
