"""`bintally review` in a terminal: shows a bin, opens its photo, asks, decides."""

import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape

from bintally.cli.common import console, show_error
from bintally.errors import AccessError, BintallyError, ConflictError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bintally.inventory.review.desk import Desk
    from bintally.inventory.review.leases import Leased
    from bintally.inventory.review.shown import Shown

_KEYS: Final = "a=accept  c COUNT=correct  b COUNT=counted at the bin  r=recount  u=uncountable  n=not this bin"
_BLIND_KEYS: Final = "c COUNT=count  b COUNT=counted at the bin  u=uncountable  n=not this bin"
_MORE: Final = "s=skip  z=undo last  q=quit"
_KINDS: Final[dict[str, Any]] = {
    "a": "accept", "c": "correct", "b": "correct", "r": "recount", "u": "uncountable", "n": "not_this_bin"
}  # fmt: skip
_VIEWERS: Final = ("xdg-open", "open")


class Terminal:
    """A person's session. `viewer` None: the system's, where there is a screen; "": none."""

    def __init__(self, desk: "Desk", *, viewer: str | None = None) -> None:
        self._desk, self._out = desk, console()
        self._viewer = viewer_of(viewer)
        self._skipped: set[int] = set()
        self._decided: list[int] = []
        self._back: int | None = None  # the review that undo has opened again
        self._done: Counter[str] = Counter()

    def run(self) -> None:
        """Until nothing waits, or the person stops. What is taken then is given back."""
        taken = self._next()
        while taken is not None:
            goes_on = False
            try:
                goes_on = self._look(taken)
            finally:
                if not goes_on:
                    self._desk.give_back(taken)
            if not goes_on:
                break
            taken = self._next()
        else:
            self._say_empty()
        if self._done:
            self._out.print("Done: " + ", ".join(f"{many} {kind}" for kind, many in self._done.items()) + ".")

    def _next(self) -> "Leased | None":
        back, self._back = self._back, None
        taken = None if back is None else self._desk.next(review_id=back)
        return taken or self._desk.next(skip=self._skipped)

    def _look(self, taken: "Leased") -> bool:
        """Shows a bin and asks until something is said that ends it; False: the person stops."""
        describe(self._out, taken.review)
        self._open(taken.review)
        while True:
            answer = self._ask(taken.review)
            if answer is None or answer == "q":
                return False
            try:
                if self._answer(taken, answer):
                    return True
            except ConflictError as error:
                show_error(error)
                return True
            except AccessError:
                raise
            except BintallyError as error:
                if error.exit_code not in (2, 3):  # what was typed: ask again
                    raise
                show_error(error)

    def _ask(self, review: "Shown") -> str | None:
        self._out.print(f"[dim]{_BLIND_KEYS if review.blind else _KEYS}  {_MORE}[/]")
        sys.stderr.write("> ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not sys.stdin.isatty():
            sys.stderr.write(line if line.endswith("\n") else f"{line}\n")
        return line.strip() if line else None

    def _answer(self, taken: "Leased", answer: str) -> bool:
        """Does what was typed; False: ask again."""
        said, _, note = (part.strip() for part in answer.partition("#"))
        key, *rest = said.split() or [""]
        key = key.lower()
        if key.isdecimal() and not rest:
            key, rest = "c", [key]
        if key == "s" and not rest:
            self._skipped.add(taken.review.review_id)
            self._desk.give_back(taken)
            return True
        if key == "z" and not rest:
            return self._undo(taken)
        if key not in _KINDS or (rest and key not in "cb"):
            raise UsageError(f"{answer!r} says nothing here.", hint="A # begins a note, as in: c 3 # one lies behind")
        count, lines = _count_of(rest)
        told = self._desk.decide(taken, _KINDS[key], count=count, lines=lines, note=note, at_the_bin=key == "b")
        self._decided.append(told.decision_id)
        self._done[told.kind] += 1
        self._out.print(f"[green]{escape(_words(told.kind, told.state))}[/] [dim](decision {told.decision_id})[/]")
        return True

    def _undo(self, taken: "Leased") -> bool:
        if not self._decided:
            raise UsageError("There is nothing to undo in this session.", hint="`bintally review undo` knows more.")
        told = self._desk.undo(self._decided[-1])
        self._decided.pop()
        self._done["undone"] += 1
        self._out.print("[green]Undone.[/]")
        if told is None or told.state != "open":
            return False
        self._back = told.review_id
        self._desk.give_back(taken)
        return True

    def _open(self, review: "Shown") -> None:
        if review.photo is None or not self._viewer:
            return
        if not Path(review.photo).is_file():
            self._out.print("[yellow]The photo is not there.[/]")
            return
        try:
            subprocess.Popen(  # noqa: S603 - the person's own viewer
                [*self._viewer, review.photo],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._out.print(f"[yellow]{escape(self._viewer[0])} can't be started: {error.strerror}.[/]")
            self._viewer = []

    def _say_empty(self) -> None:
        counts, others = self._desk.waits()
        self._out.print("[bold]Nothing waits for you.[/]")
        if self._skipped:
            self._out.print(f"You have skipped {len(self._skipped)}; start again to see them.")
        if others:
            self._out.print(f"{others:,} are being looked at, or need somebody else.")
        if counts.waiting:
            self._out.print(
                f"{counts.waiting:,} corrections wait for a second person: `bintally review list --waiting`."
            )


def describe(out: "Console", review: "Shown") -> None:
    """A review as it may be seen, for a terminal."""
    out.print()
    how = "blind count: the record is not shown" if review.blind else review.reason
    out.print(f"[bold]Bin {escape(review.bin)}[/] of {escape(review.site)}, review {review.review_id} ({how})")
    rows = [("record", _record(review)), ("products", _products(review)), *_model(review)]
    if review.counts:
        rows.append(("counted", f"blind, by two people: {' and '.join(map(str, review.counts))}"))
    if review.worth is not None:
        rows.append(("worth", f"{review.worth:,.2f} {review.currency} that a look is expected to save"))
    taken = "" if review.taken_at is None else f" (taken {review.taken_at:%Y-%m-%d %H:%M} UTC)"
    rows.append(("photo", "none" if review.photo is None and not taken else f"{review.photo or 'removed'}{taken}"))
    for name, text in rows:
        if text:
            out.print(f"  [dim]{name:<9}[/]{escape(text)}", soft_wrap=True)


def viewer_of(viewer: str | None) -> list[str]:
    """The command that opens a photo; empty: there is none, and its path must do."""
    if viewer is not None:
        return shlex.split(viewer)
    if not sys.stdin.isatty():
        return []
    if sys.platform == "win32":
        return ["cmd", "/c", "start", ""]
    if sys.platform != "darwin" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return []
    return next(([found] for name in _VIEWERS if (found := shutil.which(name))), [])


def _record(review: "Shown") -> str:
    return "" if review.recorded_count is None else f"{review.recorded_count} items"


def _products(review: "Shown") -> str:
    told = []
    for item in review.items:
        many = "" if item.recorded_count is None else f"{item.recorded_count} x "
        value = "" if item.unit_value is None else f" at {item.unit_value:,.2f} {review.currency}"
        told.append(f"{many}{item.name or item.sku} [{item.sku}]{value}")
    return "; ".join(told)


def _model(review: "Shown") -> list[tuple[str, str]]:
    verdict = review.verdict
    if verdict is None:
        return []
    seen = "nothing" if verdict.count is None else f"{verdict.count} items"
    right = "" if verdict.right is None else f"; the record is right with {verdict.right:.1%}"
    return [("model", seen + right), *(("why", reason) for reason in verdict.reasons)]


def _count_of(rest: list[str]) -> tuple[int | None, dict[str, int] | None]:
    if len(rest) == 1 and rest[0].isdecimal():
        return int(rest[0]), None
    return None, lines_of(rest) or None


def _words(kind: str, state: str) -> str:
    if state == "waiting":
        return "Kept; it needs a second person."
    return {
        "accept": "Accepted: the record is right.",
        "correct": "Corrected.",
        "count": "Kept. Where one blind count is not enough, somebody else is asked for another.",
        "recount": "Somebody else counts.",
        "uncountable": "Kept: the photo can't be counted.",
        "not_this_bin": "Kept: the photo shows another bin.",
    }[kind]


def lines_of(texts: list[str]) -> dict[str, int]:
    """`["B00X=2"]` as counts by product.

    Raises:
        UsageError: no such form, or a product twice.
    """
    lines: dict[str, int] = {}
    for text in texts:
        sku, _, many = text.rpartition("=")
        if not sku or not many.isdecimal():
            raise UsageError(f"{text!r} is no count of a product.", hint="Say it as SKU=2.")
        if sku in lines:
            raise UsageError(f"{sku} is counted twice.", hint="Say each product once.")
        lines[sku] = int(many)
    return lines
