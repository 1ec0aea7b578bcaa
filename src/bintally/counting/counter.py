"""The one inference path: CLI, service, evaluation and ledger all count through `Counter`.

Shapes: N photos, P pairs of them, H x W the model's size, K the counts asked for. pixels_nhwc uint8 [N, H, W, 3], RGB;
attributes_a float32 [A].
"""

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bintally.bundle import Bundle, Card, VerificationCard, find_bundle
from bintally.counting import events
from bintally.counting.change import change_tables, told_by_pairs
from bintally.counting.decode import decode, to_pixels
from bintally.counting.follow_settings import FollowSettings
from bintally.counting.frames import empty_frames
from bintally.counting.network import Network, Seen, change_card
from bintally.counting.sets import count_sets
from bintally.counting.stock_record import StockRecord, read_record
from bintally.counting.verification import Shown, Verification, judged
from bintally.errors import ModelError, PhotoError, UsageError
from bintally.photos import read_photo, upright
from bintally.records import CountEstimate, Timings, parse_counts
from bintally.settings import cpu_count

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
        self.network = Network(self.bundle, threads=threads or cpu_count())

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
        _check_previous(previous, previous_count)
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
        seen = self.network.see(pixels_nhwc)
        return self.read(pixels_nhwc, seen, _timings(len(pixels_nhwc), decode_ms, started))

    def read(self, pixels_nhwc: NDArray[np.uint8], seen: Seen, timings: Sequence[Timings]) -> list[CountEstimate]:
        """What a network told of photos, as estimates of the counts asked for: photos of one batch may ask for others.

        `seen` may come from any `Network` of this bundle; `timings` is what each photo took.
        """
        probabilities_nk, mass_n = _restrict(seen.raw_nk, self._columns)
        reasons = self._abstentions(pixels_nhwc, seen.novelty_n, mass_n)
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
        _check_counts(before_counts)
        started = time.perf_counter()
        seen, before = self.network.see(pixels_nhwc, beside=True), self.network.see(before_nhwc, beside=True)
        evidence_pd = self.network.evidence(before, seen)
        raw_pk, unchanged_p = told_by_pairs(self.card, seen.raw_nk, before.raw_nk, evidence_pd, before_counts)
        probabilities_pk, mass_p = _restrict(raw_pk, self._columns)
        reasons = self._abstentions(pixels_nhwc, seen.novelty_n, mass_p)
        for place, reason in enumerate(self._of_earlier(before_nhwc, before)):
            reasons[place] = reasons[place] or reason
        timings = _timings(len(pixels_nhwc), decode_ms, started)
        threshold = change_card(self.card).set_threshold
        estimates = self._estimates(probabilities_pk, reasons, timings, threshold)
        return [
            msgspec.structs.replace(estimate, previous_count=count, unchanged=float(unchanged))
            for estimate, count, unchanged in zip(estimates, before_counts, unchanged_p, strict=True)
        ]

    def event(
        self,
        photo: Photo,
        *,
        time: float | str,
        id: str | None = None,  # noqa: A002 - the event's own name
        previous: Photo | None = None,
        previous_id: str | None = None,
        bin: str | None = None,  # noqa: A002
    ) -> events.Photo:
        """A photo as `bintally.History` and `bintally.follow` want it: what it shows alone, and beside an earlier one.

        `previous_id` is the `id` of the earlier photo's own event.

        Raises:
            PhotoError: one can't be read.
            UsageError: `previous` without `previous_id`.
            ModelError: `previous` is given, but this model does not compare photos.
        """
        if (previous is None) != (previous_id is None):
            raise UsageError("An earlier photo goes by its event's id.", hint="Give `previous` and `previous_id`.")
        seen = self.network.see(self._pixels(photo)[None], beside=previous is not None)
        shares = dict(zip(self.card.count_keys, map(float, seen.raw_nk[0]), strict=True))
        known: dict[str, Any] = {"time": time, "id": id, "bin": bin, "prior": dict(self.card.target_prior)}
        if previous is None:
            return events.Photo(probabilities=shares, **known)
        evidence_pd = self.network.evidence(self.network.see(self._pixels(previous)[None], beside=True), seen)
        change, change_prior = change_tables(self.card, evidence_pd[0], seen.raw_nk[0], FollowSettings().max_count)
        return events.Photo(
            probabilities=shares, previous=previous_id, change=change, change_prior=change_prior, **known
        )

    def verify(
        self,
        photo: Photo,
        record: StockRecord | Mapping[str, Any] | Path | str | bytes,
        *,
        previous: Photo | None = None,
        previous_count: int | None = None,
    ) -> Verification:
        """Whether a stock record is right, by a photo of the bin (and an earlier one, where there is one).

        `record` is a dict, JSON or a JSON file's path: product -> quantity, or ABID's metadata with measures.

        Raises:
            PhotoError: a photo can't be read.
            DataError: no record.
            UsageError: the record's file does not exist; `previous_count` without `previous`, or below 0.
            ModelError: this model does not judge records.
        """
        _check_previous(previous, previous_count)
        told = read_record(record)
        pixels_hwc = self._pixels(photo)
        before_hwc = None if previous is None else self._pixels(previous)
        [verdict] = self.verify_pixels(pixels_hwc[None], [told], [before_hwc], [previous_count])
        return msgspec.structs.replace(
            verdict, path=_path_of(photo), previous=_path_of(previous), previous_count=previous_count
        )

    def verify_pixels(
        self,
        pixels_nhwc: NDArray[np.uint8],
        records: Sequence[StockRecord],
        before: Sequence[NDArray[np.uint8] | None],
        before_counts: Sequence[int | None],
    ) -> list[Verification]:
        """Whether records are right, by photos already brought to the model's size; `before`: earlier photos, or None.

        Raises:
            UsageError: a count below 0.
            ModelError: this model does not judge records.
        """
        card = self.card.verification
        if card is None:
            raise ModelError(
                f"The model {self.card.name!r} does not judge records.",
                hint="Use one that does, such as the bundled champion, or train with network.tells = ['record'].",
            )
        _check_counts(before_counts)
        seen = self.network.see(pixels_nhwc, beside=True)
        raw_nk = seen.raw_nk.copy()
        reasons = self._abstentions(pixels_nhwc, seen.novelty_n, np.ones(len(pixels_nhwc)))
        paired = [place for place, earlier in enumerate(before) if earlier is not None]
        if paired:
            before_nhwc = np.stack([earlier for earlier in before if earlier is not None])
            earlier_seen = self.network.see(before_nhwc, beside=True)
            later_seen = seen.only(paired)
            evidence_pd = self.network.evidence(earlier_seen, later_seen)
            counts = [before_counts[place] for place in paired]
            raw_nk[paired], _ = told_by_pairs(self.card, later_seen.raw_nk, earlier_seen.raw_nk, evidence_pd, counts)
            for place, reason in zip(paired, self._of_earlier(before_nhwc, earlier_seen), strict=True):
                reasons[place] = reasons[place] or reason
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
    ) -> Verification:
        shares = dict(zip(self.card.count_keys, (raw_k / raw_k.sum()).tolist(), strict=True))
        right, reasons = judged(card, record.products, Shown(shares, self.card.target_prior, attributes_a))
        best = max(shares, key=lambda key: shares[key])
        return Verification(
            record=record.name,
            recorded_count=record.items,
            record_is_right=right,
            reasons=reasons,
            count=int(best.removesuffix("+")),
            probability=shares[best],
            abstain=abstain,
            model=self.card.name,
        )

    def distribution(self, pixels_nhwc: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Probabilities of `keys` [N, K], restricted and summing to 1, and novelty [N] where the model tells it."""
        seen = self.network.see(pixels_nhwc)
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
        return to_pixels(upright(photo), height_px=height_px, width_px=width_px)

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

    def _of_earlier(self, before_nhwc: NDArray[np.uint8], before: Seen) -> list[str | None]:
        """Why an earlier photo is not taken for a bin; None where it is."""
        reasons = self._abstentions(before_nhwc, before.novelty_n, np.ones(len(before_nhwc)))
        return [reason and f"the earlier photo: {reason}" for reason in reasons]

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


def _check_previous(previous: Photo | None, previous_count: int | None) -> None:
    if previous is None and previous_count is not None:
        raise UsageError("A previous count needs the photo it is of.", hint="Give `previous`, too.")
    _check_counts([previous_count])


def _check_counts(before_counts: Sequence[int | None]) -> None:
    if any(count is not None and count < 0 for count in before_counts):
        raise UsageError("A previous count is below 0.", hint="A bin holds 0 items or more.")


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
