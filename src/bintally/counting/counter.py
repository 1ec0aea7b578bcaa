"""The one inference path: CLI, service, evaluation and ledger all count through `Counter`.

Shapes: N photos, P pairs of them, H x W the model's size, K the counts asked for. pixels_nhwc uint8 [N, H, W, 3], RGB;
maps float32 [N, V, C, h, w]; attributes_na float32 [N, A].
"""

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeAlias

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from bintally.bundle import Bundle, Card, ChangeCard, VerificationCard, find_bundle
from bintally.counting.change import change_shares, new_counts
from bintally.counting.decode import decode, to_pixels
from bintally.counting.facts import facts_of
from bintally.counting.frames import empty_frames
from bintally.counting.sets import count_sets
from bintally.counting.stock_record import StockRecord, read_record
from bintally.counting.verification import Verdict, probability, reasons_of, signs_of, standardised
from bintally.errors import BundleError, ModelError, PhotoError, UsageError
from bintally.photos import read_photo
from bintally.records import CountEstimate, Timings, parse_counts
from bintally.settings import cpu_count

INPUT: Final = "photos"
PROBABILITIES: Final = "probabilities"
NOVELTY: Final = "novelty"
MAPS: Final = "maps"
ATTRIBUTES: Final = "attributes"
EVIDENCE: Final = "evidence"

MAX_BATCH: Final = 16
"""Photos in one inference: more are no faster on a CPU (benchmarks/count.py) and only take memory."""

Photo: TypeAlias = str | Path | bytes | Image.Image | NDArray[np.uint8]


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
        self._comparing: ort.InferenceSession | None = None  # loaded when first two photos are compared
        self._threads = threads or cpu_count()
        self._session = _session(self.bundle.model_path, self._threads)
        _check_network(self._session, self.bundle)
        told = {
            NOVELTY: self.card.novelty_threshold is not None,
            MAPS: self.card.change is not None,
            ATTRIBUTES: self.card.verification is not None,
        }
        self._outputs = [PROBABILITIES, *(name for name, is_told in told.items() if is_told)]

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

    def count(self, photo: Photo, *, previous: Photo | None = None, previous_count: int | None = None) -> CountEstimate:
        """Counts one photo: a path, a file's bytes, a Pillow image, or uint8 [H, W, 3] of any size.

        `previous` is an earlier photo of the same bin and `previous_count` the count it was confirmed to show (None:
        only what it looks like): what changed since says far more than a photo alone.

        Raises:
            PhotoError: one can't be read.
            UsageError: `previous_count` without `previous`, or below 0.
            ModelError: `previous` is given, but this model does not compare photos.
        """
        if previous is None and previous_count is not None:
            raise UsageError("A previous count needs the photo it is of.", hint="Give `previous`, too.")
        started = time.perf_counter()
        pixels_hwc = self._pixels(photo)
        before_hwc = None if previous is None else self._pixels(previous)
        decode_ms = 1000 * (time.perf_counter() - started)
        if before_hwc is None:
            [estimate] = self.count_pixels(pixels_hwc[None], decode_ms=[decode_ms])
        else:
            [estimate] = self.count_pairs(pixels_hwc[None], before_hwc[None], [previous_count], decode_ms=[decode_ms])
        return msgspec.structs.replace(estimate, **_named(photo), previous=_path_of(previous))

    def count_pixels(
        self, pixels_nhwc: NDArray[np.uint8], *, decode_ms: Sequence[float] | None = None
    ) -> list[CountEstimate]:
        """Counts photos already brought to the model's size by `counting.decode`; `decode_ms` is what each took."""
        started = time.perf_counter()
        seen = self.see(pixels_nhwc)
        probabilities_nk, mass_n = _restrict(seen.raw_nk, self._columns)
        reasons = self._abstentions(pixels_nhwc, seen.novelty_n, mass_n)
        timings = _timings(len(pixels_nhwc), decode_ms, started)
        return self._estimates(probabilities_nk, reasons, timings, self.card.set_threshold)

    def count_pairs(
        self,
        pixels_nhwc: NDArray[np.uint8],
        before_nhwc: NDArray[np.uint8],
        before_counts: Sequence[int | None],
        *,
        decode_ms: Sequence[float] | None = None,
    ) -> list[CountEstimate]:
        """Counts each photo beside an earlier one of its bin, whose count was confirmed (None: was not).

        Raises:
            UsageError: a count below 0.
            ModelError: this model does not compare photos.
        """
        if any(count is not None and count < 0 for count in before_counts):
            raise UsageError("A previous count is below 0.", hint="A bin holds 0 items or more.")
        started = time.perf_counter()
        seen, before = self.see(pixels_nhwc), self.see(before_nhwc)
        evidence_pd = self.evidence(before, seen)
        raw_pk, unchanged_p = self.told_by_pairs(seen, before, evidence_pd, before_counts)
        probabilities_pk, mass_p = _restrict(raw_pk, self._columns)
        reasons = self._abstentions(pixels_nhwc, seen.novelty_n, mass_p)
        whole_p = np.ones(len(before_nhwc))
        for place, reason in enumerate(self._abstentions(before_nhwc, before.novelty_n, whole_p)):
            if reason is not None and reasons[place] is None:
                reasons[place] = f"the earlier photo {reason}"
        timings = _timings(len(pixels_nhwc), decode_ms, started)
        threshold = self._change_card().set_threshold
        estimates = self._estimates(probabilities_pk, reasons, timings, threshold)
        return [
            msgspec.structs.replace(estimate, previous_count=count, unchanged=float(unchanged))
            for estimate, count, unchanged in zip(estimates, before_counts, unchanged_p, strict=True)
        ]

    def verify(
        self,
        photo: Photo,
        record: StockRecord | Mapping[str, Any] | Path | str | bytes,
        *,
        previous: Photo | None = None,
        previous_count: int | None = None,
    ) -> Verdict:
        """Whether a stock record is right, by a photo of the bin (and an earlier one, where there is one).

        `record` is a dict, JSON or a JSON file's path: product -> quantity, or ABID's metadata with measures.

        Raises:
            PhotoError: a photo can't be read.
            DataError: no record.
            ModelError: this model does not judge records.
        """
        told = read_record(record)
        pixels_hwc = self._pixels(photo)
        before_hwc = None if previous is None else self._pixels(previous)
        [verdict] = self.verify_pixels(pixels_hwc[None], [told], [before_hwc], [previous_count])
        return msgspec.structs.replace(verdict, path=_path_of(photo))

    def verify_pixels(
        self,
        pixels_nhwc: NDArray[np.uint8],
        records: Sequence[StockRecord],
        before: Sequence[NDArray[np.uint8] | None],
        before_counts: Sequence[int | None],
    ) -> list[Verdict]:
        """Whether records are right, by photos already brought to the model's size; `before`: earlier photos, or None.

        Raises:
            ModelError: this model does not judge records.
        """
        card = self.card.verification
        if card is None:
            raise ModelError(
                f"The model {self.card.name!r} does not judge records.",
                hint="Use one that does, such as the bundled champion, or train with network.tells = ['record'].",
            )
        seen = self.see(pixels_nhwc)
        raw_nk = seen.raw_nk.copy()
        paired = [place for place, earlier in enumerate(before) if earlier is not None]
        if paired:
            earlier_seen = self.see(np.stack([earlier for earlier in before if earlier is not None]))
            later_seen = seen.only(paired)
            evidence_pd = self.evidence(earlier_seen, later_seen)
            counts = [before_counts[place] for place in paired]
            raw_nk[paired], _ = self.told_by_pairs(later_seen, earlier_seen, evidence_pd, counts)
        reasons = self._abstentions(pixels_nhwc, seen.novelty_n, np.ones(len(pixels_nhwc)))
        assert seen.attributes_na is not None  # noqa: S101 - the card has `verification`
        return [
            self._verdict(card, record, raw_k, attributes_a, abstain)
            for record, raw_k, attributes_a, abstain in zip(records, raw_nk, seen.attributes_na, reasons, strict=True)
        ]

    def _verdict(
        self,
        card: VerificationCard,
        record: StockRecord,
        raw_k: NDArray[np.float32],
        attributes_a: NDArray[np.float32],
        abstain: str | None,
    ) -> Verdict:
        facts = standardised(card, facts_of(record.products))
        shares = dict(zip(self.card.count_keys, (raw_k / raw_k.sum()).tolist(), strict=True))
        signs = signs_of(facts, shares, self.card.target_prior, attributes_a)
        best = max(shares, key=lambda key: shares[key])
        return Verdict(
            record=record.name,
            recorded_count=facts.items,
            record_is_right=probability(card, signs),
            reasons=reasons_of(card, facts, signs, shares, attributes_a),
            count=int(best.removesuffix("+")),
            probability=shares[best],
            abstain=abstain,
            model=self.card.name,
        )

    def evidence(self, earlier: Seen, later: Seen) -> NDArray[np.float32]:
        """Log likelihoods [P, 2D+1], up to a constant, of each pair's changes.

        Raises:
            ModelError: this model does not compare photos.
        """
        card = self._change_card()
        if self._comparing is None:
            self._comparing = _session(self.bundle.change_path, self._threads)
        if not len(later.raw_nk):
            return np.empty((0, 2 * card.max_change + 1), np.float32)
        assert earlier.maps is not None and later.maps is not None  # noqa: S101 - the card has `change`
        chunks = [
            self._comparing.run(
                [EVIDENCE],
                {"earlier": earlier.maps[start : start + MAX_BATCH], "later": later.maps[start : start + MAX_BATCH]},
            )[0]
            for start in range(0, len(later.raw_nk), MAX_BATCH)
        ]
        evidence_pd = np.concatenate(chunks)
        if evidence_pd.shape[1:] != (2 * card.max_change + 1,) or not np.isfinite(evidence_pd).all():
            raise ModelError(
                f"The comparison of {self.card.name!r} answered {list(evidence_pd.shape)}, or NaN.",
                hint=f"{self.bundle.folder} is broken though its parts agree: export it again.",
            )
        return evidence_pd

    def told_by_pairs(
        self,
        later: Seen,
        earlier: Seen,
        evidence_pd: NDArray[np.floating],
        before_counts: Sequence[int | None],
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Probabilities [P, all K] of the new counts, and [P] that the count is still the same.

        Where the earlier count is not known, over all that the earlier photo may show.
        """
        card = self._change_card()
        known = self.card.count_keys
        raw_pk, unchanged_p = np.zeros((len(evidence_pd), len(known)), np.float32), np.zeros(len(evidence_pd))
        prior_k = np.array([self.card.target_prior[key] for key in known])
        for place, count in enumerate(before_counts):
            ratios = dict(zip(known, (later.raw_nk[place] / prior_k).tolist(), strict=True))
            guesses = {count: 1.0} if count is not None else self._guesses(earlier.raw_nk[place])
            for guess, share in guesses.items():
                shares_d = change_shares(card, evidence_pd[place], guess, ratios)
                raw_pk[place] += share * new_counts(card, shares_d, guess, known)
                unchanged_p[place] += share * shares_d[card.max_change]
        return raw_pk, unchanged_p

    def _guesses(self, raw_k: NDArray[np.float32]) -> dict[int, float]:
        """Counts that a photo may show, the open top as its mean."""
        values = [round(self.card.count_values[key]) for key in self.card.count_keys]
        return dict(zip(values, (raw_k / raw_k.sum()).tolist(), strict=True))

    def _change_card(self) -> ChangeCard:
        if self.card.change is None:
            raise ModelError(
                f"The model {self.card.name!r} does not compare photos.",
                hint="Use one that does, such as the bundled champion, or train with network.tells = ['change'].",
            )
        return self.card.change

    def distribution(self, pixels_nhwc: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Probabilities of `keys` [N, K], restricted and summing to 1, and novelty [N] where the model tells it."""
        seen = self.see(pixels_nhwc)
        return _restrict(seen.raw_nk, self._columns)[0].astype(np.float32), seen.novelty_n

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
                hint=f"{self.bundle.folder} is broken though its parts agree: export it again.",
            )
        told = dict(zip(self._outputs, columns, strict=True))
        return Seen(columns[0], told.get(NOVELTY), told.get(MAPS), told.get(ATTRIBUTES))

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
        self,
        probabilities_nk: NDArray[np.float64],
        reasons: Sequence[str | None],
        timings: Sequence[Timings],
        set_threshold: float,
    ) -> list[CountEstimate]:
        sets = count_sets(probabilities_nk, self.keys, set_threshold)
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


def _named(photo: Photo) -> dict[str, str]:
    """What an estimate calls its photo, if it has a name."""
    return {"path": str(photo), "bin_image_id": Path(photo).stem} if isinstance(photo, str | Path) else {}


def _path_of(photo: Photo | None) -> str | None:
    return str(photo) if isinstance(photo, str | Path) else None


def _timings(photos: int, decode_ms: Sequence[float] | None, started: float) -> list[Timings]:
    """Of each photo: its own decoding, and its share of the inference since `started`."""
    inference_ms = 1000 * (time.perf_counter() - started) / max(photos, 1)
    return [Timings(decode_ms=ms, inference_ms=inference_ms) for ms in decode_ms or [0.0] * photos]


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
