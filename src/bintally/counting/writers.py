"""How estimates are written, line by line: JSON lines, CSV, or a table for people."""

import csv
import io
from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeAlias

from bintally.records import CountEstimate

Style: TypeAlias = Literal["table", "jsonl", "csv"]

_BARS: Final = " ▁▂▃▄▅▆▇█"


class Writer(Protocol):
    """One way to write estimates down, line by line."""

    def header(self) -> str:
        """What stands above the first line."""

    def line(self, estimate: CountEstimate) -> str:
        """One estimate, with its line's end."""


class JsonLines:
    """One CountEstimate a line."""

    def header(self) -> str:
        """JSON lines need none."""
        return ""

    def line(self, estimate: CountEstimate) -> str:
        """The estimate's one JSON."""
        return estimate.to_json() + "\n"


class Csv:
    r"""A row an estimate, a column `p_<count>` for each count asked for; a line break in a path is written as `\n`.

    With `pairs`, what was known before and whether it changed comes last.
    """

    def __init__(self, keys: Sequence[str], *, pairs: bool = False) -> None:
        self._keys = keys
        self._pairs = pairs

    def header(self) -> str:
        """The names of the columns."""
        shares = [f"p_{key}" for key in self._keys]
        before = _BEFORE if self._pairs else ()
        return _csv_row(["path", "bin_image_id", "count", "expected_count", *shares, "count_set", *_LAST, *before])

    def line(self, estimate: CountEstimate) -> str:
        """The estimate's row; a missing number is an empty cell."""
        shares = [_digits(estimate.probabilities.get(key), 4) for key in self._keys]
        times = estimate.timings
        before = [estimate.previous, estimate.previous_count, _digits(estimate.unchanged, 4)] if self._pairs else []
        return _csv_row(
            [
                estimate.path,
                estimate.bin_image_id,
                estimate.count,
                _digits(estimate.expected_count, 3),
                *shares,
                "|".join(estimate.count_set),
                estimate.abstain,
                estimate.error,
                estimate.model,
                _digits(times.decode_ms if times else None, 2),
                _digits(times.inference_ms if times else None, 2),
                *before,
            ]
        )


_LAST: Final = ("abstain", "error", "model", "decode_ms", "inference_ms")
_BEFORE: Final = ("previous", "previous_count", "unchanged")


class Table:
    """Rows for people, streamed; paths come last, so that their length never bends a column."""

    def __init__(self, keys: Sequence[str], *, pairs: bool = False) -> None:
        self._keys = keys
        self._pairs = pairs

    def header(self) -> str:
        """The names of the columns; the counts stand over the bars of their probabilities."""
        likely = f"{'likely':<{self._likely_width}}"
        before, paths = ("previous_count  unchanged  ", "photo  previous") if self._pairs else ("", "photo")
        bars = f"{''.join(key[0] for key in self._keys)}{self._open_top}"
        return f"count  sure  expected  {likely}  {bars}  {before}{paths}\n"

    def line(self, estimate: CountEstimate) -> str:
        """Count, its probability, expected count, count set, the distribution as bars, path and what is wrong."""
        path = self._before(estimate) + one_line(estimate.path or "")
        if estimate.previous is not None:
            path += f"  {one_line(estimate.previous)}"
        width = len(self._keys) + len(self._open_top)
        if estimate.error:
            return f"{'-':>5}  {'':4}  {'':8}  {'':{self._likely_width}}  {'':{width}}  {path}  {estimate.error}\n"
        key = max(estimate.probabilities, key=estimate.probabilities.__getitem__)
        bars = "".join(_BARS[round(8 * estimate.probabilities[key])] for key in self._keys)
        numbers = f"{key:>5}  {estimate.probability:>4.0%}  {estimate.expected_count:>8.2f}"
        doubt = f"  abstains: {estimate.abstain}" if estimate.abstain else ""
        likely = f"{' '.join(estimate.count_set):<{self._likely_width}}"
        return f"{numbers}  {likely}  {bars:<{width}}  {path}{doubt}\n"

    def _before(self, estimate: CountEstimate) -> str:
        if not self._pairs:
            return ""
        count = "" if estimate.previous_count is None else str(estimate.previous_count)
        unchanged = "" if estimate.unchanged is None else f"{estimate.unchanged:.0%}"
        return f"{count:>14}  {unchanged:>9}  "

    @property
    def _likely_width(self) -> int:
        return max(len("likely"), len(" ".join(self._keys)))

    @property
    def _open_top(self) -> str:
        return "+" * self._keys[-1].endswith("+")


def writer_of(style: Style, keys: Sequence[str], *, pairs: bool = False) -> Writer:
    """The writer of a style for answers over `keys`; `pairs`: photos that were held against earlier ones."""
    return JsonLines() if style == "jsonl" else Csv(keys, pairs=pairs) if style == "csv" else Table(keys, pairs=pairs)


def _csv_row(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([one_line(c) if isinstance(c, str) else c for c in cells])
    return buffer.getvalue()


def one_line(text: str) -> str:
    r"""Text without line breaks, which are written as `\n` and `\r`."""
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _digits(number: float | None, digits: int) -> str:
    return "" if number is None else f"{number:.{digits}f}"
