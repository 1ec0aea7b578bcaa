"""What a version must stand before it answers anybody. Whoever fails is refused, and the old version stays."""

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from bintally.bundle import Card
from bintally.counting.counter import Counter
from bintally.errors import BundleError
from bintally.serving.bins.recorded import RecordJudge
from bintally.serving.following.wanted import Wanted
from bintally.signatures.digest import digest_of

if TYPE_CHECKING:
    from bintally.records import CountEstimate

COUNTS: Final = (0, 1, 3, 6)
"""Rendered photos of so many items are counted."""

ROUNDS: Final = (5, 10, 20)
"""How often each of two models counts a photo, in turn. The quickest of them is compared, which other work on the
machine disturbs least; whoever seems too slow is measured again, longer."""

_SUM: Final = 1e-3  # probabilities sum to 1 within this


def must_be_whole(wanted: Wanted) -> None:
    """Looks whether the files are those that were registered.

    Raises:
        BundleError: they are not, or are not there.
    """
    if not wanted.bundle.is_dir():
        raise BundleError(f"its bundle {wanted.folder} is gone.", hint="Put it back, or roll back.")
    if digest_of(wanted.bundle) != wanted.bundle_sha256:
        raise BundleError(
            f"the files in {wanted.folder} are not those that were registered.",
            hint="Something changed or damaged them: register the bundle again.",
        )


def must_answer(counter: Counter, policy: Path | None) -> None:
    """Looks whether it counts rendered photos, and whether records can be judged by what it tells.

    Raises:
        ModelError: it answers with NaN.
        BundleError: its probabilities are none, or its acceptance file can't be used.
        ConfigError: the policy's settings are wrong.
    """
    for photo in _photos():
        _check(counter.count(photo), counter.card)
    RecordJudge(policy).policies(counter)


def must_fit(card: Card, before: Card) -> None:
    """Looks whether it tells all that the version before has told.

    Raises:
        BundleError: it does not.
    """
    if card.count_keys != before.count_keys:
        raise BundleError(
            f"it tells the counts {', '.join(card.count_keys)}, not {', '.join(before.count_keys)}.",
            hint="Clients ask for those: start the service anew with the version if they no longer do.",
        )
    lost = [
        what
        for what, told, told_before in (
            ("compare photos of a bin", card.change, before.change),
            ("judge records by products", card.verification, before.verification),
            ("tell photos that show no bin", card.novelty_threshold, before.novelty_threshold),
        )
        if told is None and told_before is not None
    ]
    if lost:
        raise BundleError(
            f"it does not {' or '.join(lost)}, as the version before does.", hint="Train it with network.tells."
        )


def must_be_quick(counter: Counter, before: Counter, *, most: float) -> None:
    """Looks whether a photo takes it at most `most` times as long as the version before.

    Raises:
        BundleError: it takes longer.
    """
    ratio = float("inf")
    for rounds in ROUNDS:
        ratio = min(ratio, _slower(counter, before, rounds))
        if ratio <= most:
            return
    raise BundleError(
        f"a photo takes it {ratio:.2g} times as long as the version before; {most:g} times is allowed.",
        hint="Serve it with more cores, or raise --max-slower.",
    )


def _slower(counter: Counter, before: Counter, rounds: int) -> float:
    both = [(each.network, _grey(each.card)) for each in (counter, before)]
    took_s = [float("inf"), float("inf")]
    for _ in range(rounds):
        for place, (network, grey_nhwc) in enumerate(both):
            started = time.perf_counter()
            network.see(grey_nhwc)
            took_s[place] = min(took_s[place], time.perf_counter() - started)
    return took_s[0] / max(took_s[1], 1e-9)


def _check(estimate: "CountEstimate", card: Card) -> None:
    shares = list(estimate.probabilities.values())
    if tuple(estimate.probabilities) != card.count_keys or abs(sum(shares) - 1) > _SUM or min(shares) < 0:
        raise BundleError(f"it answers a photo with {shares}.", hint="Export it again.")


def _grey(card: Card) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One photo at the model's size: uint8 [1, H, W, 3]."""
    return np.full((1, card.height_px, card.width_px, 3), 127, np.uint8)


def _photos() -> list[bytes]:
    from bintally.data.rendered import render_photo

    photos = []
    for count in COUNTS:
        file = io.BytesIO()
        render_photo(count, seed=count).save(file, "JPEG", quality=90)
        photos.append(file.getvalue())
    return photos
