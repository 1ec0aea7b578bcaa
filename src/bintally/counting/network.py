"""A bundle's graphs at work: what they tell of photos and of pairs, whatever counts are asked for.

Shapes: N photos, P pairs of them, H x W the model's size, K the counts the model knows. pixels_nhwc uint8 [N, H, W, 3],
RGB; maps float32 [N, V, C, h, w]; attributes_na float32 [N, A].
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bintally.bundle import BESIDE, CHANGE, MODEL, Bundle, Card, ChangeCard
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
        self._outputs = [PROBABILITIES] + [NOVELTY] * (self.card.novelty_threshold is not None)
        told = {MAPS: self.card.change is not None, ATTRIBUTES: self.card.verification is not None}
        self._beside = [name for name, is_told in told.items() if is_told]
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._session(MODEL)

    def see(self, pixels_nhwc: NDArray[np.uint8], *, beside: bool = False) -> Seen:
        """What is told of photos already brought to the model's size; `beside`: also what is told beside the count."""
        wanted = (self.card.height_px, self.card.width_px, 3)
        if pixels_nhwc.shape[1:] != wanted or pixels_nhwc.dtype != np.uint8:
            raise UsageError(
                f"Pixels are {pixels_nhwc.dtype} {list(pixels_nhwc.shape)}, not uint8 {['N', *wanted]}.",
                hint="`bintally.counting.decode` brings a photo to the model's size.",
            )
        told = self._run(MODEL, self._outputs, pixels_nhwc)
        if beside and self._beside:
            told |= self._run(BESIDE, self._beside, pixels_nhwc)
        return Seen(told[PROBABILITIES], told.get(NOVELTY), told.get(MAPS), told.get(ATTRIBUTES))

    def _run(self, name: str, outputs: Sequence[str], pixels_nhwc: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        # No photo at all is asked as one that is then left out: so each output has its shape.
        asked_nhwc = pixels_nhwc if len(pixels_nhwc) else np.zeros((1, *pixels_nhwc.shape[1:]), np.uint8)
        chunks = [
            self._session(name).run(outputs, {INPUT: np.ascontiguousarray(asked_nhwc[start : start + MAX_BATCH])})
            for start in range(0, len(asked_nhwc), MAX_BATCH)
        ]
        columns = [np.concatenate(parts)[: len(pixels_nhwc)] for parts in zip(*chunks, strict=True)]
        if not all(np.isfinite(column).all() for column in columns):
            raise ModelError(
                f"The model {self.card.name!r} answered with NaN or infinity.",
                hint=f"{self._bundle.folder} is broken though its parts agree: export it again.",
            )
        return dict(zip(outputs, columns, strict=True))

    def _session(self, name: str) -> ort.InferenceSession:
        """A graph, loaded when it is first asked."""
        if name not in self._sessions:
            session = _session(self._bundle, name, self._threads)
            if name != CHANGE:
                _check_graph(session, self._bundle, name)
            self._sessions[name] = session
        return self._sessions[name]

    def evidence(self, earlier: Seen, later: Seen) -> NDArray[np.float32]:
        """Log likelihoods [P, 2D+1], up to a constant, of each pair's changes.

        Raises:
            ModelError: this model does not compare photos.
        """
        change = change_card(self.card)
        if not len(later.raw_nk):
            return np.empty((0, 2 * change.max_change + 1), np.float32)
        assert earlier.maps is not None and later.maps is not None  # noqa: S101 - the card has `change`
        chunks = [
            self._session(CHANGE).run(
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


def _session(bundle: Bundle, name: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads would spin: 40-80% more CPU time for one photo, taken from those that decode the next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors are raised; warnings about a graph help nobody who counts
    graph = bundle.graph(name)
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise BundleError(f"{bundle.path_of(name)} can't be loaded: {error}", hint="Export the model again.") from error


def _check_graph(session: ort.InferenceSession, bundle: Bundle, name: str) -> None:
    """The card's promises about a graph, held against the graph; a size it leaves open fits any."""
    card = bundle.card
    inputs = {node.name: node.shape for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    promised: dict[str, tuple[int | None, ...]] = {INPUT: (card.height_px, card.width_px, 3)}  # None: whatever it has
    if name == MODEL:
        promised[PROBABILITIES] = (len(card.count_keys),)
        if card.novelty_threshold is not None:
            promised[NOVELTY] = ()
    else:
        if card.change is not None:
            promised[MAPS] = (None,) * 4
        if card.verification is not None:
            promised[ATTRIBUTES] = (None,)
    for node, sizes in promised.items():
        has = (inputs if node == INPUT else outputs).get(node)
        if has is None or len(has) != 1 + len(sizes) or not all(map(_fits, has[1:], sizes)):
            told = "is missing" if has is None else f"is {has}"
            raise BundleError(
                f"{bundle.path_of(name)} is not what its card describes: {node!r} {told}, not "
                f"{['N', *('any' if size is None else size for size in sizes)]}.",
                hint="Export the model again.",
            )


def _fits(has: int | str | None, promised: int | None) -> bool:
    return not isinstance(has, int) or promised is None or has == promised
