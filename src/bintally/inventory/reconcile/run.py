"""`reconcile`: records held against photos or counts in files."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from bintally.artifacts import code_fingerprint, fingerprint
from bintally.bundle import CARD, Card, find_bundle, read_card
from bintally.errors import UsageError
from bintally.inventory.policy.acceptance import FILE, Acceptance
from bintally.inventory.policy.decide import Policy
from bintally.inventory.policy.settings import PolicySettings
from bintally.inventory.reconcile.counted import Counted, counted
from bintally.inventory.reconcile.done import digest_of, done_before, remember
from bintally.inventory.reconcile.judged import Judged, judge, worth_a_look
from bintally.inventory.reconcile.policy import settings_of
from bintally.inventory.reconcile.rejected import Rejections
from bintally.inventory.reconcile.report import ReconcileReport
from bintally.inventory.reconcile.seen import Seen, read_seen
from bintally.inventory.reconcile.settings import ReconcileConfig
from bintally.inventory.reconcile.stock import read_stock
from bintally.inventory.reconcile.summary import summary
from bintally.inventory.reconcile.written import PAGES, TABLES, check_suffix, write_tables
from bintally.progress import SILENT, Progress

_ON_PAGE: Final = 50  # photos
_CODE: Final = ("inventory", "templates/reconcile.html", "templates/base.html")


def reconcile(
    *,
    records: Path | str,
    photos: Sequence[str | Path] | str | Path = (),
    pairs: Path | str | None = None,
    counts: Path | str | None = None,
    bins: Path | str | None = None,
    bundle: Path | str | None = None,
    policy: Path | str | None = None,
    promise: float | None = None,
    out: Sequence[str | Path] | str | Path = (),
    force: bool = False,
    progress: Progress = SILENT,
) -> ReconcileReport:
    """Judges stock records by photos of their bins, or by counts made before, and writes the files `out`.

    Give `photos` (counted into a file beside the first `out`, where a killed run goes on), `pairs` (as `count --pairs`
    takes them) or `counts`. Lines that can't be used are left out and listed. Asked the same again, it writes
    nothing anew.

    Raises:
        UsageError: an input that does not exist, an output of an unknown kind, counts of another model than the bundle.
        DataError: no record or no count can be used.
        ModelError: the bundle or its acceptance file can't be used.
        StorageError: disk full, or no permission.
    """
    named = [photos] if isinstance(photos, str | Path) else photos
    config = ReconcileConfig.of(
        {
            "records": records,
            "photos": tuple(map(str, named)),
            "pairs": pairs,
            "counts": counts,
            "bins": bins,
            "bundle": bundle,
            "policy": policy,
            "promise": promise,
            "out": tuple(map(Path, [out] if isinstance(out, str | Path) else out)),
            "force": force,
        }
    )
    for path in config.out:
        check_suffix(path)
    with tempfile.TemporaryDirectory() as scratch:
        return _reconcile(config, Path(scratch), progress)


@dataclass
class _Clock:
    """Seconds by stage."""

    stages_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.stages_s[name] = round(time.perf_counter() - started, 3)


@dataclass(frozen=True)
class _Given:
    """What a reconciliation starts from. Counts were given or just made."""

    config: ReconcileConfig
    settings: PolicySettings
    counted: Counted
    folder: Path  # of the bundle
    card: Card

    def asked(self) -> str:
        """Fingerprint of all that decides the answer."""
        config = self.config
        files = [self.counted.path, config.records, config.bins, self.folder / CARD, self.folder / FILE]
        return fingerprint(
            {
                "files": [digest_of(path) if path is not None and path.exists() else None for path in files],
                "names": [config.source, str(config.records), sorted(self.counted.only or ())],
                "settings": self.settings.model_dump(mode="json"),
                "code": code_fingerprint(_CODE),
            }
        )


def _reconcile(config: ReconcileConfig, scratch: Path, progress: Progress) -> ReconcileReport:
    started, clock = time.perf_counter(), _Clock()
    _look(config)
    settings = settings_of(config.policy, config.promise)
    folder = find_bundle(config.bundle)
    with clock.stage("count"):
        found = counted(config, scratch, progress)
    given = _Given(config, settings, found, folder, read_card(folder / CARD))
    with clock.stage("look whether it was done"):
        asked = given.asked() if config.out else ""
        before = None if config.force else done_before(config.out, asked)
    if before is not None:
        return before
    rejections = Rejections()
    with progress.task("read", total=2, unit="files") as task:
        with clock.stage("read records"):
            stock = read_stock(config.records, rejections)
            task.advance()
        with clock.stage("read counts"):
            seen = read_seen(found.path, config.bins, rejections, only=found.only)
            task.advance()
    acceptance, notes = _acceptance(given, seen)
    with clock.stage("decide"):
        judged = judge(stock, seen, Policy(settings, acceptance), given.card, settings.wrong_records)
    report = summary(config, settings, given.card, judged, seen, stock, acceptance, rejections, notes)
    with clock.stage("write"):
        made = _write(given, judged, report, rejections, progress)
    report = msgspec.structs.replace(report, seconds=round(time.perf_counter() - started, 3), stages_s=clock.stages_s)
    if config.out:
        remember(config.out, made, asked, report)
    return report


def _look(config: ReconcileConfig) -> None:
    for path in (config.counts, config.pairs, config.records, config.bins, config.policy):
        if path is not None and not path.exists():
            raise UsageError(f"There is no {path}.", hint="Look at the path.")


def _acceptance(given: _Given, seen: Seen) -> tuple[Acceptance | None, list[str]]:
    """What may be promised of these counts, and what else one should know.

    Raises:
        UsageError: another model counted than the bundle's.
        BundleError: the acceptance file can't be used.
    """
    card, notes = given.card, list[str]()
    _same_model(given.counted.path, card)
    others = [model for model in seen.models if model != card.name]
    if others:
        raise UsageError(
            f"{given.counted.path} was counted by {', '.join(others)}, but the bundle is {card.name}.",
            hint="Name the model that counted: --bundle FOLDER.",
        )
    if not seen.keys:
        notes.append("Plain counts have no probabilities: nothing can be promised, so nothing is accepted.")
        return None, notes
    if seen.keys != card.count_keys:
        notes.append(
            f"Only the counts {' '.join(seen.keys)} were asked about, but promises are made for all that the model "
            "knows: nothing is accepted. Count without --counts."
        )
        return None, notes
    if not seen.models:
        notes.append(f"No line says which model counted; {card.name} is taken to be it.")
    acceptance = Acceptance.of_bundle(given.folder, card)
    if acceptance is None:
        notes.append(f"{given.folder} has no {FILE}: nothing is accepted. Make it with `bintally policy fit`.")
    return acceptance, notes


def _same_model(counts: Path, card: Card) -> None:
    """Looks at what `bintally count` left beside its results; names of models can be alike, digests can't.

    Raises:
        UsageError: the counts are of another model than the bundle's.
    """
    try:
        told = json.loads(counts.with_name(f"{counts.name}.settings.json").read_bytes())
    except (OSError, ValueError):
        return
    if isinstance(told, dict) and told.get("model_sha256", card.model_sha256) != card.model_sha256:
        raise UsageError(
            f"{counts} was counted by another model ({told.get('model')}) than the bundle {card.name}.",
            hint="Name the model that counted: --bundle FOLDER.",
        )


def _write(
    given: _Given, judged: Judged, report: ReconcileReport, rejections: Rejections, progress: Progress
) -> list[Path]:
    """The files that were asked for, and the rejected lines."""
    outs = given.config.out
    tables = [out for out in outs if out.suffix.lower() in TABLES]
    if tables:
        write_tables(tables, judged, progress)
    pages = [out for out in outs if out.suffix.lower() in PAGES]
    if pages:
        from bintally.artifacts import write_text
        from bintally.inventory.reconcile.page import reconcile_page

        rows = worth_a_look(judged, _ON_PAGE)
        text = reconcile_page(report, judged, rows, given.counted.path.parent)
        for page in pages:
            write_text(page, text)
    made = list(outs)
    if outs:
        path = outs[0].with_suffix(".rejected.csv")
        if len(rejections):
            rejections.write(path)
            made.append(path)
        else:
            path.unlink(missing_ok=True)
    return made
