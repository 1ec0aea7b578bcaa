"""Which of a source's photos are fetched: a list, ids, counts, a limit."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import msgspec

from bintally.data.abid import Label, Labels, is_file_name
from bintally.data.sources.base import REACH_HINT, Entry, ObjectBrokenError, Source
from bintally.data.transfer import Transfer
from bintally.errors import ConfigError, SourceError
from bintally.progress import Progress
from bintally.records import key_of

LARGEST_RANGE: Final = 10_000_000
BATCH: Final = 1000  # photos whose metadata is asked for before --limit is looked at again


class Wanted(msgspec.Struct, frozen=True):
    """What the person asked for; None: no such limit. Photos are taken in order of their ids."""

    listed: Labels | None = None
    ids: tuple[str, ...] | None = None
    count_keys: tuple[str, ...] | None = None
    limit: int | None = None

    def chosen(self) -> list[str] | None:
        """The ids named, if any were."""
        if self.listed is None:
            return None if self.ids is None else list(self.ids)
        return sorted(self.listed.by_id if self.ids is None else self.listed.by_id.keys() & set(self.ids))


class Plan(msgspec.Struct, frozen=True):
    """The photos to fetch, what lists and tables tell of them, and what in those could not be used."""

    entries: list[Entry]
    labels: Mapping[str, Label]
    problems: tuple[str, ...] = ()
    uncounted: int = 0  # left out by --counts, since nobody told their count


async def select(wanted: Wanted, source: Source, transfer: Transfer, progress: Progress) -> Plan:
    """Works out which photos to fetch. With --counts, metadata is fetched to know.

    Raises:
        SourceError: the source can't be reached or listed.
    """
    told = await _labels(source, transfer)
    listed = wanted.listed or Labels()
    labels = {
        known: listed.by_id.get(known, Label()).or_else(told.by_id.get(known, Label()))
        for known in told.by_id.keys() | listed.by_id.keys()
    }
    entries: dict[str, Entry] = {}
    uncounted = 0
    with progress.task("look", total=None, unit="photos") as task:
        async for batch in _batches(wanted.chosen(), source):
            if wanted.count_keys is not None:
                quantities = await transfer.quantities(batch, task)
                counts = {
                    known: labels.get(known, Label()).count if quantity is None else quantity
                    for known, quantity in quantities.items()
                }
                uncounted += sum(count is None for count in counts.values())
                batch = [entry for entry in batch if _fits(counts[entry.bin_image_id], wanted.count_keys)]
            else:
                task.advance(len(batch))
            entries.update((entry.bin_image_id, entry) for entry in batch if entry.bin_image_id not in entries)
            if wanted.limit is not None and len(entries) >= wanted.limit:
                break
    chosen = sorted(entries.values(), key=lambda entry: entry.bin_image_id)[: wanted.limit]
    return Plan(chosen, labels, (*listed.problems, *told.problems), uncounted)


async def _labels(source: Source, transfer: Transfer) -> Labels:
    try:
        return await transfer.patiently(source.labels)
    except ObjectBrokenError as error:
        raise SourceError(f"{source.name} can't be reached: {error}.", hint=REACH_HINT) from error


async def _batches(chosen: Sequence[str] | None, source: Source) -> AsyncIterator[list[Entry]]:
    if chosen is not None:
        for start in range(0, len(chosen), BATCH):
            yield [source.entry(known) for known in chosen[start : start + BATCH]]
        return
    async for page in source.entries():
        for start in range(0, len(page), BATCH):
            yield page[start : start + BATCH]


def _fits(count: int | None, keys: tuple[str, ...]) -> bool:
    return count is not None and key_of(count) in keys


def parse_ids(text: str) -> tuple[str, ...]:
    """`"00001-00500"` or `"1,00007,00010-00012"` as ids, in order; zeros count, so a range's ends are equally long.

    Raises:
        ConfigError: nothing selected, or a range whose ends don't fit.
    """
    chosen: dict[str, None] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        chosen.update(dict.fromkeys(_range(part)))
    if not chosen:
        raise ConfigError(f"There is no id in {text!r}.", hint="Write 00001-00500, or ids separated by commas.")
    return tuple(sorted(chosen))


def _range(part: str) -> list[str]:
    first, dash, last = part.partition("-")
    if not dash or not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        if not is_file_name(part):
            raise ConfigError(
                f"{part!r} can't be an id: it is no file name.", hint="Write 00001-00500, or ids separated by commas."
            )
        return [part]  # own photos' ids may have a dash
    if len(first) != len(last):
        raise ConfigError(
            f"The ids {first!r} and {last!r} differ in length: zeros count in ids, so {part!r} is no range.",
            hint=f"Write {first.zfill(len(last))}-{last.zfill(len(first))} if that is what you mean.",
        )
    low, high = int(first), int(last)
    if low > high or high - low >= LARGEST_RANGE:
        raise ConfigError(f"{part!r} is an empty or endless range of ids.", hint="Write it like 00001-00500.")
    return [str(number).zfill(len(first)) for number in range(low, high + 1)]
