"""The one inference path: CLI, service, evaluation and ledger all count through `Counter`.

Shapes: N photos, H x W the model's size, K the counts asked for. pixels_nhwc uint8 [N, H, W, 3], RGB.
"""

import copy
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self, TypeAlias

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from bintally.bundle import Bundle, Card, find_bundle
from bintally.counting.decode import decode, to_pixels
from bintally.counting.frames import empty_frames
from bintally.counting.sets import count_sets
from bintally.errors import BundleError, ModelError, PhotoError, UsageError
from bintally.photos import read_photo
from bintally.records import CountEstimate, Timings, parse_counts
from bintally.settings import cpu_count

INPUT: Final = "photos"
PROBABILITIES: Final = "probabilities"
NOVELTY: Final = "novelty"

MAX_BATCH: Final = 16
"""Photos in one inference: more are no faster on a CPU (benchmarks/count.py) and only take memory."""

Photo: TypeAlias = str | Path | bytes | Image.Image | NDArray[np.uint8]


class Counter:
    """A loaded bundle that counts photos; threads may share one.

    `bundle` is a bundle's folder, or the name of a model that ships with the package: "champion" or "fast" (default:
    $BINTALLY_BUNDLE, else the champion). `counts` restricts the answer, e.g. "1-5", `threads` work on one inference
    (default: every core this process may use).

    Raises:
        BundleError: the bundle is missing, damaged, or its network is not the one its card describes.
        UsageError: `counts` names a count the model does not know.
    """

    def __init__(
        self, bundle: Path | str | None = None, *, counts: str | None = None, threads: int | None = None
    ) -> None:
        self.bundle = Bundle.open(find_bundle(bundle))
        self.card: Card = self.bundle.card
        self.keys: tuple[str, ...]
        self._columns: list[int]
        self._values_k: NDArray[np.float64]
        self._ask(_asked(counts, self.card))
        self._session = _session(self.bundle, threads or cpu_count())
        self._outputs = [PROBABILITIES] + [NOVELTY] * (self.card.novelty_threshold is not None)

    def restricted(self, counts: str | None) -> Self:
        """The same loaded model, asked for `counts` only (None: for all it knows): made per request, it costs nothing.

        Raises:
            UsageError: `counts` names a count the model does not know.
        """
        other = copy.copy(self)
        other._ask(_asked(counts, self.card))
        return other

    def _ask(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self._columns = [self.card.count_keys.index(key) for key in keys]
        self._values_k = np.array([self.card.count_values[key] for key in keys])

    def count(self, photo: Photo) -> CountEstimate:
        """Counts one photo: a path, a file's bytes, a Pillow image, or uint8 [H, W, 3] of any size.

        Raises:
            PhotoError: it can't be read.
        """
        started = time.perf_counter()
        pixels_hwc = self._pixels(photo)
        decode_ms = 1000 * (time.perf_counter() - started)
        [estimate] = self.count_pixels(pixels_hwc[None], decode_ms=[decode_ms])
        if not isinstance(photo, str | Path):
            return estimate
        return msgspec.structs.replace(estimate, path=str(photo), bin_image_id=Path(photo).stem)

    def count_pixels(
        self, pixels_nhwc: NDArray[np.uint8], *, decode_ms: Sequence[float] | None = None
    ) -> list[CountEstimate]:
        """Counts photos already brought to the model's size by `counting.decode`; `decode_ms` is what each took."""
        started = time.perf_counter()
        raw_nk, novelty_n = self._run(pixels_nhwc)
        probabilities_nk, mass_n = _restrict(raw_nk, self._columns)
        reasons = self._abstentions(pixels_nhwc, novelty_n, mass_n)
        inference_ms = 1000 * (time.perf_counter() - started) / max(len(pixels_nhwc), 1)
        timings = [Timings(decode_ms=ms, inference_ms=inference_ms) for ms in decode_ms or [0.0] * len(pixels_nhwc)]
        return self._estimates(probabilities_nk, reasons, timings)

    def distribution(self, pixels_nhwc: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Probabilities of `keys` [N, K], restricted and summing to 1, and novelty [N] where the model tells it."""
        raw_nk, novelty_n = self._run(pixels_nhwc)
        return _restrict(raw_nk, self._columns)[0].astype(np.float32), novelty_n

    def _pixels(self, photo: Photo) -> NDArray[np.uint8]:
        height_px, width_px = self.card.height_px, self.card.width_px
        if isinstance(photo, str | Path):
            photo = read_photo(Path(photo))
        if isinstance(photo, bytes):
            return decode(photo, height_px=height_px, width_px=width_px)
        if isinstance(photo, np.ndarray):
            if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or not photo.size:
                raise PhotoError(f"Pixels are {photo.dtype} {list(photo.shape)}, not uint8 [H, W, 3].")
            photo = Image.fromarray(photo)
        return to_pixels(photo.convert("RGB"), height_px=height_px, width_px=width_px)

    def _run(self, pixels_nhwc: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What the network says of all its counts: [N, all K], and novelty [N]."""
        wanted = (self.card.height_px, self.card.width_px, 3)
        if pixels_nhwc.shape[1:] != wanted or pixels_nhwc.dtype != np.uint8:
            raise UsageError(
                f"Pixels are {pixels_nhwc.dtype} {list(pixels_nhwc.shape)}, not uint8 {['N', *wanted]}.",
                hint="`bintally.counting.decode` brings a photo to the model's size.",
            )
        if not len(pixels_nhwc):
            nothing_n = np.empty(0, np.float32)
            return np.empty((0, len(self.card.count_keys)), np.float32), nothing_n if NOVELTY in self._outputs else None
        chunks = [
            self._session.run(self._outputs, {INPUT: np.ascontiguousarray(pixels_nhwc[start : start + MAX_BATCH])})
            for start in range(0, len(pixels_nhwc), MAX_BATCH)
        ]
        columns = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
        if not all(np.isfinite(column).all() for column in columns):
            raise ModelError(
                f"The model {self.card.name!r} answered with NaN or infinity.",
                hint=f"{self.bundle.folder} is broken though its parts agree: export it again.",
            )
        return columns[0], columns[1] if len(columns) > 1 else None

    def _abstentions(
        self, pixels_nhwc: NDArray[np.uint8], novelty_n: NDArray[np.float32] | None, mass_n: NDArray[np.float64]
    ) -> list[str | None]:
        """Why each photo is not taken for a bin with one of the asked counts; None where it is."""
        reasons = empty_frames(pixels_nhwc)
        limit = self.card.novelty_threshold
        for index, reason in enumerate(reasons):
            if reason is None and limit is not None and novelty_n is not None and novelty_n[index] > limit:
                reasons[index] = f"does not look like a bin (novelty {novelty_n[index]:.1f} > {limit:.1f})"
            elif reason is None and not mass_n[index]:
                reasons[index] = f"the model gives no probability to any of the counts {', '.join(self.keys)}"
        return reasons

    def _estimates(
        self, probabilities_nk: NDArray[np.float64], reasons: Sequence[str | None], timings: Sequence[Timings]
    ) -> list[CountEstimate]:
        sets = count_sets(probabilities_nk, self.keys, self.card.set_threshold)
        best_n = probabilities_nk.argmax(axis=1)
        expected_n = probabilities_nk @ self._values_k
        return [
            CountEstimate(
                count=int(self.keys[best].removesuffix("+")),
                expected_count=float(expected),
                probabilities=dict(zip(self.keys, row.tolist(), strict=True)),
                count_set=chosen,
                abstain=reason,
                model=self.card.name,
                timings=times,
            )
            for best, expected, row, chosen, reason, times in zip(
                best_n, expected_n, probabilities_nk, sets, reasons, timings, strict=True
            )
        ]


def _restrict(raw_nk: NDArray[np.float32], columns: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of `columns` summing to 1 [N, K], and the mass they had before [N]; uniform where that was none."""
    kept_nk = raw_nk[:, list(columns)].astype(np.float64)
    mass_n = kept_nk.sum(axis=1)
    none_n = mass_n <= 0
    kept_nk[none_n] = 1.0
    return kept_nk / kept_nk.sum(axis=1, keepdims=True), np.where(none_n, 0.0, mass_n)


def _asked(counts: str | None, card: Card) -> tuple[str, ...]:
    if counts is None:
        return card.count_keys
    try:
        return parse_counts(counts, card.count_keys)
    except ValueError as error:
        raise UsageError(f"{error}.", hint="Ask like this: --counts 1-5, or --counts 0,2,6+.") from None


def _session(bundle: Bundle, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads would spin: 40-80% more CPU time for one photo, taken from those that decode the next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors are raised; warnings about a graph help nobody who counts
    try:
        session = ort.InferenceSession(str(bundle.model_path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no public base class
        raise BundleError(f"{bundle.model_path} can't be loaded: {error}", hint="Export the model again.") from error
    _check_network(session, bundle)
    return session


def _check_network(session: ort.InferenceSession, bundle: Bundle) -> None:
    """The card's promises about the network, held against the network; a size it leaves open fits any."""
    card = bundle.card
    inputs = {node.name: node.shape for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    promised: dict[str, tuple[int, ...]] = {
        INPUT: (card.height_px, card.width_px, 3),
        PROBABILITIES: (len(card.count_keys),),
    }
    if card.novelty_threshold is not None:
        promised[NOVELTY] = ()
    for name, sizes in promised.items():
        has = (inputs if name == INPUT else outputs).get(name)
        if has is None or len(has) != 1 + len(sizes) or not all(map(_fits, has[1:], sizes)):
            told = "is missing" if has is None else f"is {has}"
            raise BundleError(
                f"{bundle.model_path} is not what its card describes: {name!r} {told}, not {['N', *sizes]}.",
                hint="Export the model again.",
            )


def _fits(has: int | str | None, promised: int) -> bool:
    return not isinstance(has, int) or has == promised
