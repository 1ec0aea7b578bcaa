"""The photo bank: what the model really saw on real photos, and between two photos of one bin, to be drawn from.

A simulated bin walks through the bank. When it is photographed, a real pair of photos is drawn whose counts are those
of the bin then and now: among those whose earlier photo the model saw most alike to the bin's last one, and of bins
that the model takes for as much too full, or too empty, as this one so far. So its errors run on from photo to photo as
they do in real bins (`likeness` measures how far). Where nothing was moved, the pair is a photo held against itself
taken again (`counting.remade`). A pair serves either way round: what was picked from one bin is stowed into another.
Where the bank has no pair of two counts, a photo of the new count is drawn, and the pair tells nothing of the change.

Shapes: N photos, K count keys, D the largest change told apart.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bintally.artifacts import write_bytes
from bintally.bundle import Card
from bintally.counting.sets import count_sets
from bintally.errors import DataError
from bintally.records import CountEstimate

Floats: TypeAlias = NDArray[np.float32]
Source: TypeAlias = Literal["pair", "taken again", "alone", "first"]

ALIKE: Final = 5
"""One of so many pairs is drawn, those most alike to the bin's last photo; never of more than a quarter of all."""

LEAN: Final = 0.6
"""How much a difference of one item between two bins' mean errors weighs, beside a difference of 1 in probabilities."""

FEW: Final = 3
"""With fewer real pairs of two counts than this, those with the same change among neighbouring counts join."""

_SCHEMA: Final[dict[str, Any]] = {
    "group": pl.Int32,
    "count": pl.Int32,
    "kind": pl.String,
    "abstain": pl.String,
    "probabilities": pl.List(pl.Float32),
    "previous": pl.Int32,  # row of the bin's photo before
    "evidence": pl.List(pl.Float32),
}
KINDS: Final = ("photo", "backwards", "again")
"""A photo; the earlier photo of a pair once more, as the later one; a photo taken again of the one before."""

_TOP: Final = 6  # counts from here on look alike to the model ("6+")


@dataclass(frozen=True)
class Drawn:
    """A photo of the bank, and what was seen beside the bin's photo before: `evidence_d`; None: nothing more."""

    photo: int
    source: Source
    evidence_d: Floats | None


@dataclass
class PhotoBank:
    """Photos by their counts, and pairs by theirs."""

    model: str
    model_sha256: str
    about: str  # where it comes from, in words
    probabilities_nk: Floats
    count_n: NDArray[np.int32]
    group_n: NDArray[np.int32]
    kind_n: NDArray[np.uint8]  # of `KINDS`
    abstain: tuple[str | None, ...]
    previous_n: NDArray[np.int32]  # -1: none
    evidence_nd: Floats

    def first(self, count: int, luck: float) -> Drawn:
        """A photo of a bin that was never photographed."""
        return Drawn(_pick(self._photos(count), luck), "first", None)

    def next(self, last: int, before: int, now: int, luck: float, *, lean: float | None = None) -> Drawn:
        """The next photo of a bin whose last one was `last`, and which held `before` items then and holds `now`.

        `lean`: the mean `error_n` of the bin's photos so far; None: that of the last one.
        """
        rows = self._rows(before, now)
        if not len(rows):
            return Drawn(_pick(self._photos(now), luck), "alone", None)
        apart = np.abs(self.probabilities_nk[self.previous_n[rows]] - self.probabilities_nk[last]).sum(axis=1)
        apart += LEAN * np.abs(self._lean_n[rows] - (self.error_n[last] if lean is None else lean))
        alike = rows[np.argsort(apart, kind="stable")[: min(ALIKE, -(-len(rows) // 4))]]
        row = _pick(alike, luck)
        return Drawn(row, "taken again" if before == now else "pair", self.evidence_nd[row])

    def estimate(self, photo: int, card: Card) -> CountEstimate:
        """What the model saw on a photo alone."""
        shares_k = self.probabilities_nk[photo].astype(np.float64)
        shares_k /= shares_k.sum()
        keys = card.count_keys
        [chosen] = count_sets(shares_k[None], keys, card.set_threshold)
        return CountEstimate(
            count=int(keys[int(shares_k.argmax())].removesuffix("+")),
            expected_count=float(shares_k @ [card.count_values[key] for key in keys]),
            probabilities=dict(zip(keys, shares_k.tolist(), strict=True)),
            count_set=chosen,
            abstain=self.abstain[photo],
            model=self.model,
        )

    def digest(self) -> str:
        """SHA-256 of what it holds."""
        digest = hashlib.sha256(self.model_sha256.encode())
        for part in (self.probabilities_nk, self.count_n, self.kind_n, self.previous_n, self.evidence_nd):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """As Parquet, whose metadata say of which model and photos it is."""
        table = pl.DataFrame(
            {
                "group": self.group_n,
                "count": self.count_n,
                "kind": [KINDS[kind] for kind in self.kind_n.tolist()],
                "abstain": list(self.abstain),
                "probabilities": self.probabilities_nk.tolist(),
                "previous": [int(row) if row >= 0 else None for row in self.previous_n],
                "evidence": [
                    row if before >= 0 else None
                    for row, before in zip(self.evidence_nd.tolist(), self.previous_n.tolist(), strict=True)
                ],
            },
            schema=_SCHEMA,
        )
        known = {"model": self.model, "model_sha256": self.model_sha256, "about": self.about}
        buffer = io.BytesIO()
        table.write_parquet(buffer, metadata=known, compression="zstd", compression_level=19)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        """A bank that was written.

        Raises:
            DataError: no such bank.
        """
        try:
            known, table = pl.read_parquet_metadata(path), pl.read_parquet(path)
            told = {name: known[name] for name in ("model", "model_sha256", "about")}
        except (OSError, KeyError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path} is no photo bank: {error}.", hint="Remove it: it is made again.") from error
        if table.schema != _SCHEMA:
            raise DataError(f"{path} has other columns than a photo bank.", hint="Remove it: it is made again.")
        width = max(map(len, table["evidence"].drop_nulls().to_list()), default=1)
        evidence = [[0.0] * width if row is None else row for row in table["evidence"].to_list()]
        return cls(
            **told,
            probabilities_nk=np.array(table["probabilities"].to_list(), np.float32),
            count_n=table["count"].to_numpy(),
            group_n=table["group"].to_numpy(),
            kind_n=np.array([KINDS.index(kind) for kind in table["kind"].to_list()], np.uint8),
            abstain=tuple(table["abstain"].to_list()),
            previous_n=table["previous"].fill_null(-1).to_numpy(),
            evidence_nd=np.array(evidence, np.float32),
        )

    @cached_property
    def error_n(self) -> NDArray[np.float64]:
        """[N] how many items too many the model sees on each photo, beside photos of the same count. 6+ counts as 6."""
        seen_n = self.probabilities_nk.astype(np.float64) @ np.arange(self.probabilities_nk.shape[1])
        known_n, error_n = np.minimum(self.count_n, _TOP), np.zeros(len(seen_n))
        for count in np.unique(known_n):
            error_n[known_n == count] = (
                seen_n[known_n == count] - seen_n[(known_n == count) & (self.kind_n == 0)].mean()
            )
        return error_n

    @cached_property
    def _lean_n(self) -> NDArray[np.float64]:
        """[N] the mean error of all photos of each photo's bin."""
        real = self.kind_n == 0
        many = np.bincount(self.group_n[real], minlength=int(self.group_n.max()) + 1)
        total = np.bincount(self.group_n[real], self.error_n[real], minlength=len(many))
        lean_n: NDArray[np.float64] = (total / np.maximum(many, 1))[self.group_n]
        return lean_n

    @cached_property
    def _by_count(self) -> dict[int, NDArray[np.intp]]:
        real = np.flatnonzero(self.kind_n == KINDS.index("photo"))
        return {int(count): real[self.count_n[real] == count] for count in np.unique(self.count_n[real])}

    @cached_property
    def _by_pair(self) -> dict[tuple[int, int], NDArray[np.intp]]:
        rows = np.flatnonzero(self.previous_n >= 0)
        known: dict[tuple[int, int], list[int]] = {}
        for row in rows.tolist():
            before, now = int(self.count_n[self.previous_n[row]]), int(self.count_n[row])
            if (before == now) == (KINDS[self.kind_n[row]] == "again"):  # a real pair without a change: a rare swap
                known.setdefault((before, now), []).append(row)
        return {counts: np.array(rows) for counts, rows in known.items()}

    def _photos(self, count: int) -> NDArray[np.intp]:
        nearest = min(self._by_count, key=lambda known: (abs(known - count), known))
        return self._by_count[nearest]

    def _rows(self, before: int, now: int) -> NDArray[np.intp]:
        """The pairs of two counts; of large ones, which look alike, those with the same change."""
        rows = self._by_pair.get((before, now), np.array([], np.intp))
        if len(rows) < FEW and min(before, now) >= _TOP:
            alike = [
                held
                for (earlier, later), held in self._by_pair.items()
                if later - earlier == now - before and min(earlier, later) >= _TOP
            ]
            rows = np.concatenate([rows, *alike])
        return rows


def _pick(rows: NDArray[np.intp], luck: float) -> int:
    return int(rows[min(int(luck * len(rows)), len(rows) - 1)])
