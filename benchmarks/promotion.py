"""How often the gate "better" promotes a model that is only as good, and how often one that is truly better.

    python benchmarks/promotion.py [--data DIR] [--simulations N] [--save]

Without photos: two simulated models, as right and as alike as the bundled ones are on the benchmark's test photos
(right on 0.46 of photos of counts 1-5; 0.23 of them only one of both gets right; bins of one to three photos). A photo
shows a noisy count; part of the noise is the photo's (and part of that, the bin's), part the model's own. Each answers
with the exact posterior, so that both are calibrated, and a better one sees with less noise.

With --data (a data folder with a split): the bundled champion and `fast` count its test photos. Bins are drawn with
replacement; for equal models the two answers of each bin are swapped by a coin.

Shapes: S simulations, N photos, G bins, K counts.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from bintally.artifacts import write_json
from bintally.bundle import Figure
from bintally.counting import metrics
from bintally.counting.batch import estimates
from bintally.counting.counter import Counter
from bintally.counting.intervals import share
from bintally.pages import ACCENT, MUTED, SECOND, axes_row
from bintally.registry.gates.frozen import frozen_photos
from bintally.registry.gates.non_inferiority import Discordant, discordant, non_inferiority, score
from bintally.registry.gates.settings import BetterSettings
from bintally.registry.gates.sign_flip import sign_flips

ROOT: Final = Path(__file__).parent.parent
RESULT: Final = ROOT / "benchmarks" / "results" / "promotion.json"
PLOT: Final = ROOT / "docs" / "images" / "promotion.png"

PHOTOS: Final = (100, 250, 500, 1000, 2000, 4000)
POINTS: Final = (1, 2, 3, 5)
MIX: Final = np.array([0.113, 0.218, 0.253, 0.245, 0.171])  # counts 1-5 on the benchmark's test photos
SPREAD: Final = np.array([0.70, 0.95, 1.15, 1.30, 1.45])  # of what a photo of each count looks like, in items
OWN: Final = {"hardly": 0.002, "as the bundled ones": 0.13, "much": 0.4}
"""How much models differ: the share of the noise that is a model's own."""
TYPICAL: Final = "as the bundled ones"

_BIN: Final = 0.3  # share of the photos' noise that all photos of a bin have in common
_BIN_SIZES: Final = np.array([0.51, 0.44, 0.05])  # shares of bins with 1, 2 and 3 photos
_FLIPS: Final = 499
_AT_ONCE: Final = 100  # simulations, for memory

Floats = NDArray[np.float64]


class Gains(NamedTuple):
    """How much better the candidate is on each photo, and the photos' bins: numbers from 0, below N. All [S, N]."""

    log_loss_sn: Floats
    accuracy_sn: Floats
    bins_sn: NDArray[np.intp]

    def first(self, photos: int) -> "Gains":
        """Of the first photos alone."""
        return Gains(self.log_loss_sn[:, :photos], self.accuracy_sn[:, :photos], self.bins_sn[:, :photos])

    def by_bin(self, terms_sn: Floats) -> Floats:
        """Sums of terms over each bin's photos, [S, G]."""
        simulations, bins = len(terms_sn), int(self.bins_sn.max()) + 1
        cells = self.bins_sn + bins * np.arange(simulations)[:, None]
        sums = np.bincount(cells.ravel(), terms_sn.ravel(), simulations * bins).astype(np.float64)
        return sums.reshape(simulations, bins)


Draw: TypeAlias = Callable[[int, int, int], Gains]
"""Draws gains: (simulations, photos, seed)."""


class Row(msgspec.Struct, frozen=True):
    """How often one kind of candidate passes, by metric; `differing`: photos that only one model gets right."""

    candidate: str
    photos: int
    differing: float
    passes: dict[str, Figure]


def simulated(simulations: int, photos: int, seed: int, *, own: float, points: float = 0.0) -> Gains:
    """Two simulated models; `own`: share of noise that is a model's own; the candidate is right on `points` % more."""
    rng = np.random.default_rng(seed)
    bins_n = _numbered(rng.choice(3, size=photos, p=_BIN_SIZES) + 1, photos)
    scale = scale_for(points)
    parts = [_models(rng, min(_AT_ONCE, simulations - s), bins_n, own, scale) for s in range(0, simulations, _AT_ONCE)]
    log_loss_sn, accuracy_sn = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Gains(log_loss_sn, accuracy_sn, np.broadcast_to(bins_n, log_loss_sn.shape))


def _numbered(sizes_g: NDArray[np.integer[Any]], photos: int) -> NDArray[np.intp]:
    """The number of each photo's bin."""
    return np.repeat(np.arange(len(sizes_g)), sizes_g)[:photos]


def _models(
    rng: np.random.Generator, simulations: int, bins_n: NDArray[np.intp], own: float, scale: float
) -> tuple[Floats, Floats]:
    shape = (simulations, len(bins_n))
    labels_sn, shared_sn = rng.choice(len(MIX), size=shape, p=MIX), _noise(rng, simulations, bins_n)
    champion, candidate = (
        np.sqrt(1 - own) * shared_sn + np.sqrt(own) * _noise(rng, simulations, bins_n) for _ in range(2)
    )
    (theirs, their_rights), (mine, my_rights) = (
        judged(noise_sn, labels_sn, noise) for noise_sn, noise in ((champion, 1.0), (candidate, scale))
    )
    return theirs - mine, my_rights - their_rights


def _noise(rng: np.random.Generator, simulations: int, bins_n: NDArray[np.intp]) -> Floats:
    """Noise with variance 1, [S, N], of which photos of a bin have a part in common."""
    of_bin_sn = rng.normal(size=(simulations, bins_n[-1] + 1))[:, bins_n]
    of_photo_sn = rng.normal(size=of_bin_sn.shape)
    noise_sn: Floats = np.sqrt(_BIN) * of_bin_sn + np.sqrt(1 - _BIN) * of_photo_sn
    return noise_sn


def judged(noise_sn: Floats, labels_sn: NDArray[np.intp], scale: float) -> tuple[Floats, Floats]:
    """Log loss and rightness of each photo, [S, N], of a model that sees with `scale` times the usual noise."""
    spread_k = scale * SPREAD
    seen_sn = labels_sn + spread_k[labels_sn] * noise_sn
    scores_snk = np.log(MIX / spread_k) - 0.5 * ((seen_sn[..., None] - np.arange(len(MIX))) / spread_k) ** 2
    highest_sn = scores_snk.max(axis=-1)
    of_label_sn = np.take_along_axis(scores_snk, labels_sn[..., None], axis=-1)[..., 0]
    whole_sn = highest_sn + np.log(np.exp(scores_snk - highest_sn[..., None]).sum(axis=-1))
    return whole_sn - of_label_sn, (scores_snk.argmax(axis=-1) == labels_sn).astype(np.float64)


@cache
def scale_for(points: float) -> float:
    """The noise of a model that is right on so many percent more photos than one with noise 1 (negative: fewer)."""
    rng = np.random.default_rng(0)
    labels, noise = rng.choice(len(MIX), size=(1, 100_000), p=MIX), rng.normal(size=(1, 100_000))
    wanted = float(judged(noise, labels, 1.0)[1].mean()) + points / 100
    low, high = 0.5, 2.0
    for _ in range(14 if points else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if judged(noise, labels, middle)[1].mean() > wanted else (low, middle)
    return low if points else 1.0


def resampled(simulations: int, photos: int, seed: int, *, real: Gains, swapped: bool) -> Gains:
    """Real answers, S = 1, with bins drawn with replacement; `swapped` by a coin, so that both models are alike."""
    rng = np.random.default_rng(seed)
    bins_n = real.bins_sn[0]
    order, sizes_g = np.argsort(bins_n, kind="stable"), np.bincount(bins_n)
    starts_g = np.cumsum(sizes_g) - sizes_g
    drawn: list[list[Any]] = [[], [], []]
    for _ in range(simulations):
        chosen = rng.integers(len(sizes_g), size=photos)
        bins = _numbered(sizes_g[chosen], photos)
        within = np.arange(photos) - (np.cumsum(sizes_g[chosen]) - sizes_g[chosen])[bins]
        signs = rng.choice([-1.0, 1.0], size=photos)[bins] if swapped else 1.0
        places = order[starts_g[chosen][bins] + within]
        for part, value in zip(drawn, (real.log_loss_sn[0][places], real.accuracy_sn[0][places]), strict=False):
            part.append(signs * value)
        drawn[2].append(bins)
    return Gains(*(np.array(part) for part in drawn))


def real_answers(data: Path) -> Gains:
    """Gains of the bundled champion beside `fast` on the test photos of counts 1-5, S = 1."""
    table = frozen_photos(data, "test").table
    photos = table.filter(table["recorded_count"].is_between(1, 5))
    labels_n = photos["recorded_count"].to_numpy().astype(np.intp) - 1
    losses, rights = [], []
    for name in ("champion", "fast"):
        counter = Counter(name, counts="1-5")
        told = estimates(counter, [str(data / path) for path in photos["path"]])
        shares_nk = np.array([[estimate.probabilities[key] for key in counter.keys] for estimate in told])
        losses.append(metrics.log_loss_terms(shares_nk, labels_n))
        rights.append(metrics.correct_terms(shares_nk, labels_n))
    _, bins_n = np.unique(photos["group"].to_numpy(), return_inverse=True)
    return Gains((losses[1] - losses[0])[None], (rights[0] - rights[1])[None], bins_n[None])


def passes(gains: Gains, *, level: float, seed: int) -> dict[str, NDArray[np.bool_]]:
    """Whether each candidate passes as better, [S], by the metric that is asked: better in it, and not worse else."""
    sums = {"log_loss": gains.by_bin(gains.log_loss_sn), "accuracy": gains.by_bin(gains.accuracy_sn)}
    test = partial(sign_flips, flips=_FLIPS, seed=seed)
    passed = {metric: test(sums_sg) <= level for metric, sums_sg in sums.items()}
    for metric, other in (("log_loss", "accuracy"), ("accuracy", "log_loss")):
        better = np.flatnonzero(passed[metric])
        passed[metric][better] = test(-sums[other][better]) > level
    return passed


def rows(candidate: str, draw: Draw, *, simulations: int, seed: int) -> list[Row]:
    """How often a kind of candidate passes, for each number of photos."""
    level, all_gains = BetterSettings().level, draw(simulations, PHOTOS[-1], seed)
    found = []
    for photos in PHOTOS:
        gains = all_gains.first(photos)
        passed = passes(gains, level=level, seed=seed + photos)
        differing = float(np.abs(gains.accuracy_sn).mean())
        rates = {metric: share(int(each.sum()), simulations) for metric, each in passed.items()}
        found.append(Row(candidate, photos, differing, rates))
    return found


def as_good(draw: Draw, *, simulations: int, seed: int, sizes: Sequence[int] = PHOTOS) -> dict[int, Figure]:
    """How often a kind of candidate passes as right on hardly fewer photos, by the number of photos."""
    settings, all_gains = BetterSettings(), draw(simulations, sizes[-1], seed)
    found = {}
    for photos in sizes:
        gains = all_gains.first(photos)
        seen = [discordant(*each) for each in zip(gains.accuracy_sn, gains.bins_sn, strict=True)]
        passed = sum(_is_as_good(each, settings.margin, settings.level) for each in seen)
        found[photos] = share(passed, simulations)
    return found


def _is_as_good(seen: Discordant, margin: float, level: float) -> bool:
    """What the gate asks; far from the limit the score alone decides, for the sake of time."""
    reached = float(score(seen.only_this, seen.only_other, seen.photos, margin))
    return reached > 2.2 or (reached > 1.5 and non_inferiority(seen, margin) <= level)


def nights(*, simulations: int, photos: int, nights: int, seed: int) -> tuple[float, float]:
    """Each night a candidate that is only as good, on the same photos.

    Returns promotions, and by how many nats the last champion then looks better on those photos than it is.
    """
    rng = np.random.default_rng(seed)
    bins_n = _numbered(rng.choice(3, size=photos, p=_BIN_SIZES) + 1, photos)
    labels_sn = rng.choice(len(MIX), size=(simulations, photos), p=MIX)
    shared_sn, own = _noise(rng, simulations, bins_n), OWN[TYPICAL]

    def trained() -> tuple[Floats, Floats]:
        own_sn = _noise(rng, simulations, bins_n)
        return judged(np.sqrt(1 - own) * shared_sn + np.sqrt(own) * own_sn, labels_sn, 1.0)

    loss_sn, right_sn = trained()
    fair, promotions = float(loss_sn.mean()), 0
    for night in range(nights):
        mine_sn, my_rights_sn = trained()
        gains = Gains(loss_sn - mine_sn, my_rights_sn - right_sn, np.broadcast_to(bins_n, loss_sn.shape))
        passed = passes(gains, level=BetterSettings().level, seed=seed + night)["log_loss"]
        promotions += int(passed.sum())
        loss_sn = np.where(passed[:, None], mine_sn, loss_sn)
        right_sn = np.where(passed[:, None], my_rights_sn, right_sn)
    return promotions / simulations, fair - float(loss_sn.mean())


def main() -> None:
    """Prints the tables; with --save keeps figures and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data folder whose test photos the bundled models count")
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/promotion.json and the plot")
    asked = parser.parse_args()
    started = time.perf_counter()
    found = _of_photos(asked.data, asked.simulations) if asked.data else _of_simulation(asked.simulations)
    for title, part in found.items():
        print(f"\n{title}\n\n{table(part)}")
    if not asked.data:
        print(f"\n{_others(asked.simulations)}")
    print(f"\n{asked.simulations:,} simulations each, {time.perf_counter() - started:.0f} s")
    if asked.save:
        plain = {title: msgspec.to_builtins(part) for title, part in found.items()}
        kept = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
        write_json(RESULT, kept | plain)
        if not asked.data:
            plot([row for part in found.values() for row in part])


def _of_simulation(simulations: int) -> dict[str, list[Row]]:
    how: dict[str, Any] = {"simulations": simulations}
    equal = [
        row
        for place, (name, own) in enumerate(OWN.items())
        for row in rows(f"as good, differs {name}", partial(simulated, own=own), seed=place, **how)
    ]
    better = [
        row
        for points in POINTS
        for row in rows(f"+{points}", partial(simulated, own=OWN[TYPICAL], points=points), seed=100 + points, **how)
    ]
    return {"Promoted though only as good": equal, "Promoted because better, by points of accuracy": better}


def _of_photos(data: Path, simulations: int) -> dict[str, list[Row]]:
    real = real_answers(data)
    alike, as_is = (partial(resampled, real=real, swapped=swapped) for swapped in (True, False))
    return {
        "Real photos, answers swapped: only as good": rows("swapped", alike, simulations=simulations, seed=1),
        "Real photos: the champion beside fast": rows("champion", as_is, simulations=simulations, seed=2),
    }


def _others(simulations: int) -> str:
    """What else was simulated, in sentences."""
    margin = BetterSettings().margin
    told = [f"Passes as right on at most {100 * margin:g} points fewer photos, by photos:"]
    for name, points in (("worse by just that", -100 * margin), ("as good", 0.0)):
        draw = partial(simulated, own=OWN[TYPICAL], points=points)
        rates = as_good(draw, simulations=min(simulations, 500), seed=7)
        told.append(f"- {name}: " + ", ".join(f"{photos:,}: {_told(rate)}" for photos, rate in rates.items()))
    promotions, too_good = nights(simulations=min(simulations, 300), photos=1000, nights=30, seed=8)
    told.append(
        f"30 nights, each with a candidate that is only as good, on the same 1,000 photos: {promotions:.2f} "
        f"promotions; the champion then looks {too_good:.4f} nats better than it is."
    )
    return "\n".join(told)


def table(part: Sequence[Row]) -> str:
    """Rows as Markdown."""
    lines = ["| candidate | photos | only one is right | passes by log loss | by accuracy |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.candidate} | {row.photos:,} | {row.differing:.1%} | {_told(row.passes['log_loss'])} "
        f"| {_told(row.passes['accuracy'])} |"
        for row in part
    ]
    return "\n".join(lines)


def _told(rate: Figure) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%}-{rate.high:.1%})"


def plot(all_rows: Sequence[Row]) -> None:
    """Power by the number of photos, one plot a metric."""
    figure, plots = axes_row(2, width_in=9.0, height_in=3.6)
    for axes, (metric, title) in zip(plots, (("log_loss", "by log loss"), ("accuracy", "by accuracy")), strict=True):
        for name in dict.fromkeys(row.candidate for row in all_rows):
            mine = [row for row in all_rows if row.candidate == name]
            is_better = name.startswith("+")
            strength = 0.35 + 0.13 * float(name[1:]) if is_better else 1.0
            rates = [row.passes[metric].value for row in mine]
            axes.plot(PHOTOS, rates, "o-", color=ACCENT if is_better else SECOND, alpha=strength, markersize=3, lw=1.4)
            if is_better:
                steep = int(np.argmin(np.abs(np.array(rates) - 0.55)))
                place = (PHOTOS[steep], rates[steep])
                axes.annotate(name, place, fontsize=9, color=ACCENT, xytext=(7, -6), textcoords="offset points")
        axes.axhline(BetterSettings().level, color=MUTED, lw=0.8, ls="--")
        axes.annotate("only as good", (PHOTOS[-1], 0.07), fontsize=8, color=SECOND, ha="right")
        axes.set(xscale="log", ylim=(0, 1.02), xlabel="photos", title=f"Promoted {title}, by points of accuracy gained")
        axes.set_xticks(PHOTOS, [f"{photos:,}" for photos in PHOTOS])
        axes.minorticks_off()
        axes.title.set_fontsize(9)
        axes.yaxis.set_major_formatter(lambda rate, _: f"{100 * rate:.0f}%")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=160)


if __name__ == "__main__":
    main()
