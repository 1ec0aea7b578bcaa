"""`FolderConnector`: each posting is a file that somebody picks up."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from bintally.errors import ErpRefusedError
from bintally.inventory.erp.folder.drops import Drop, Drops, is_name
from bintally.inventory.erp.folder.settings import FolderSettings
from bintally.inventory.erp.folder.stock import StockFiles
from bintally.inventory.erp.folder.tables import content_of, formula_in
from bintally.inventory.erp.protocol import About, Answer, Draft, Posting, Stock


class FolderConnector:
    """A `Connector` of a folder."""

    def __init__(self, settings: FolderSettings) -> None:
        self._settings = settings
        self._drops, self._files = Drops(settings.path), StockFiles(settings.path)

    def about(self) -> About:
        """Looks whether files can be dropped, and stock be read where that is asked for."""
        with self._drops.locked():
            self._drops.check()
            if self._settings.reads_stock:
                self._files.newest()
        return About("Folder", "", str(self._settings.path), reads=self._settings.reads_stock)

    def read(self, bins: Sequence[str] | None = None) -> Iterator[Stock]:
        """What the newest file says, and what was dropped since or waits to be taken."""
        if not self._settings.reads_stock:
            raise ErpRefusedError("The folder does not tell what is in stock.", hint="--set reads_stock=true.")
        with self._drops.locked():
            return iter(self._stocks(bins))

    def find(self, keys: Sequence[str]) -> dict[str, Draft]:
        """Drafts, and what was dropped, whoever has taken it since."""
        with self._drops.locked():
            states = {key: self._drops.state(key) for key in keys if is_name(key)}
        return {key: _draft(*state) for key, state in states.items() if state is not None}

    def prepare(self, postings: Sequence[Posting]) -> dict[str, Draft]:
        """Files that nobody sees yet; what was dropped already is left as it is."""
        drafts, wanted = {}, []
        with self._drops.locked():
            for posting in postings:
                why = self._why_not(posting)
                state = None if why else self._drops.state(posting.key)
                if why:
                    drafts[posting.key] = Draft(posting.key, "", "refused", reason=why)
                elif state is not None and state[1]:
                    drafts[posting.key] = _draft(*state)
                else:
                    content = content_of(posting, self._settings.format, formulas=self._settings.formulas)
                    wanted.append((posting, content, hashlib.sha256(content).hexdigest()))
            made = self._drops.prepare(wanted, self._settings.format, datetime.now(UTC))
        return drafts | {key: _draft(drop, False) for key, drop in made.items()}

    def commit(self, drafts: Sequence[Draft]) -> dict[str, Answer]:
        """Drops files, where the bins hold what they start from."""
        with self._drops.locked():
            states = {draft.key: self._drops.state(draft.key) for draft in drafts if is_name(draft.key)}
            fresh = {
                draft.key: state[0]
                for draft in drafts
                if (state := states.get(draft.key)) and not state[1] and state[0].name == draft.reference
            }
            moved = self._moved(fresh)
            self._drops.drop({key: drop.name for key, drop in fresh.items() if key not in moved})
            after = {key: self._drops.state(key) for key in states}
        return {draft.key: _answer(draft, after.get(draft.key), moved) for draft in drafts}

    def cancel(self, drafts: Sequence[Draft]) -> None:
        """Deletes files that were not dropped."""
        with self._drops.locked():
            states = {draft.key: self._drops.state(draft.key) for draft in drafts if is_name(draft.key)}
            mine = {
                draft.key for draft in drafts if (state := states.get(draft.key)) and state[0].name == draft.reference
            }
            self._drops.throw_away(mine)

    def close(self) -> None:
        """Nothing is open."""

    def _why_not(self, posting: Posting) -> str | None:
        if not is_name(posting.key):
            return f"the key {posting.key!r} can't be a file's name"
        formula = formula_in(posting)
        if formula is not None and self._settings.format == "csv" and not self._settings.formulas:
            return f"a spreadsheet would take {formula!r} for a formula: set format=parquet, or formulas=true"
        return None

    def _stocks(self, bins: Sequence[str] | None) -> list[Stock]:
        """The newest file's stock, with the changes that it can't know of yet."""
        newest = self._files.newest()
        held = newest.lines(bins)
        as_of: dict[str, datetime] = {}
        for drop in self._drops.unread(newest.as_of):
            code = drop.posting.bin
            if bins is None or code in bins:
                held[code] = _changed(held.get(code, {}), drop.posting)
                as_of[code] = max(drop.made_at, as_of.get(code, newest.as_of))
        return [Stock(bin=code, lines=lines, as_of=as_of.get(code, newest.as_of)) for code, lines in held.items()]

    def _moved(self, drops: Mapping[str, Drop]) -> dict[str, str]:
        """How bins differ from what drafts start from, by key."""
        if not (self._settings.reads_stock and drops):
            return {}
        stocks = {stock.bin: stock for stock in self._stocks(sorted({drop.posting.bin for drop in drops.values()}))}
        words = {key: _difference(drop.posting, stocks.get(drop.posting.bin)) for key, drop in drops.items()}
        return {key: why for key, why in words.items() if why}


def _draft(drop: Drop, is_dropped: bool) -> Draft:
    return Draft(drop.posting.key, drop.name, "done" if is_dropped else "draft", _evidence(drop))


def _answer(draft: Draft, state: tuple[Drop, bool] | None, moved: Mapping[str, str]) -> Answer:
    if state is None:
        return Answer(draft.key, "refused", draft.reference, "its file was thrown away")
    drop, is_dropped = state
    if is_dropped:
        return Answer(draft.key, "done", drop.name, "", _evidence(drop))
    if draft.key in moved:
        return Answer(draft.key, "stale", draft.reference, moved[draft.key])
    return Answer(draft.key, "refused", draft.reference, "a newer draft has taken its place")


def _evidence(drop: Drop) -> dict[str, str]:
    return {"file": drop.name, "sha256": drop.sha256, "made_at": drop.made_at.isoformat()}


def _changed(lines: Mapping[str, int], posting: Posting) -> dict[str, int]:
    """A bin's stock after a correction; one of all products together counts where there is but one."""
    after = dict(lines)
    for line in posting.lines:
        for sku in [line.product] if line.product is not None else list(after) if len(after) == 1 else []:
            after[sku] = max(after.get(sku, 0) + line.change, 0)
    return after


def _difference(posting: Posting, stock: Stock | None) -> str:
    for line in posting.lines:
        held = (stock.quantity if line.product is None else stock.lines.get(line.product, 0)) if stock else 0
        if held != line.before:
            return f"its stock moved: {held} of {line.product or 'all'} there, {line.before} expected"
    return ""
