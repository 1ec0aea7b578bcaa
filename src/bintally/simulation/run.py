"""simulate: sites of several seeds under several arms, side by side, and what comes of it.

```
OUT/report.html           the page
OUT/simulation.png        its first plot
OUT/figures.json          all figures, as `SimulationReport`; written last
OUT/results/7-single.json what one arm of one seed came to; found again where a run was stopped
OUT/ledgers/7/            the ledger of a seed, where it was asked to be kept
```
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from bintally.artifacts import code_fingerprint, fingerprint, write_bytes, write_text
from bintally.errors import UsageError
from bintally.inventory.judging.how import How
from bintally.progress import SILENT, Progress
from bintally.settings import cpu_count
from bintally.simulation.bank import PhotoBank
from bintally.simulation.bank_made import bank_of
from bintally.simulation.likeness import likeness
from bintally.simulation.page import simulation_page
from bintally.simulation.plot import hero_png
from bintally.simulation.report import SimulationReport, report_of
from bintally.simulation.settings import SimulationSettings
from bintally.simulation.site import how_of
from bintally.simulation.tally import ArmResult
from bintally.simulation.workers import Job, work

FIGURES: Final = "figures.json"
PAGE: Final = "report.html"
PLOT: Final = "simulation.png"
RESULTS: Final = "results"
LEDGERS: Final = "ledgers"

_PARTS: Final = ("arms", "bank", "camera", "draws", "erp", "site", "tally", "with_ledger", "world")
_CODE: Final = (*(f"simulation/{part}.py" for part in _PARTS), "inventory", "counting", "database")


class Kept(msgspec.Struct, frozen=True):
    """A result as it lies in OUT. `made_from`: SHA-256 of all that decided it."""

    made_from: str
    result: ArmResult


def simulate(
    *,
    out: Path | str,
    settings: SimulationSettings | Path | str | None = None,
    data: Path | str | None = None,
    split: str = "test",
    bundle: Path | str | None = None,
    keep: bool = False,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> SimulationReport:
    """Lives through sites whose truth is known, and writes what each way of control makes of them to `out`.

    `settings`: a TOML file, or settings; None: the defaults. `data`: a data folder with a split, whose photos the model
    did not learn from; None: what the bundled model saw on such photos. `keep` leaves the ledgers there. Stopped, it
    goes on with what is not done yet; the same settings give the same figures, whatever `workers` (None: a core each).

    Raises:
        ConfigError: settings are wrong.
        DataError, ManifestError, BundleError: no usable photos or bundle.
        UsageError: no workers.
        StorageError: `out` can't be written.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers can't work.", hint="Give 1 or more, or leave it out.")
    if not isinstance(settings, SimulationSettings):
        settings = SimulationSettings() if settings is None else SimulationSettings.from_toml(Path(settings))
    how = how_of(settings, bundle)
    bank = bank_of(how, None if data is None else Path(data), split=split, progress=progress)
    made_from = _made_from(settings, how, bank)
    folder = Path(out)
    results = _results(folder, settings, how, bank, made_from, keep=keep, workers=workers or cpu_count(), to=progress)
    report = report_of(
        results,
        settings,
        model=how.card.name,
        licence=how.card.licence,
        bank=bank.about,
        likeness=likeness(bank, how.card),
        made_from=made_from,
    )
    report = msgspec.structs.replace(report, report=str(folder / PAGE))
    write_bytes(folder / PLOT, hero_png(report))
    write_text(folder / PAGE, simulation_page(report))
    write_bytes(folder / FIGURES, msgspec.json.format(msgspec.json.encode(report), indent=1))
    return report


def _results(
    folder: Path,
    settings: SimulationSettings,
    how: How,
    bank: PhotoBank,
    made_from: str,
    *,
    keep: bool,
    workers: int,
    to: Progress,
) -> list[ArmResult]:
    """Those that lie in `folder` already, and the others, each written as it is done."""
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    jobs = [Job(arm, seed, folder / LEDGERS / str(seed), keep) for arm in settings.arms for seed in seeds]
    done = {job: held for job in jobs if (held := _held(folder, job, made_from)) is not None}
    left = [job for job in jobs if job not in done]
    if left:
        for job, result in work(left, settings, how, bank, workers=workers, progress=to):
            write_bytes(_path(folder, job), msgspec.json.encode(Kept(made_from, result)))
            done[job] = result
    with suppress(OSError):  # some are kept, or there is none
        (folder / LEDGERS).rmdir()
    return [done[job] for job in jobs]


def _held(folder: Path, job: Job, made_from: str) -> ArmResult | None:
    """A result that is there already; None: it is not, or is one of other settings."""
    if job.keep and not job.folder.is_dir():
        return None
    try:
        kept = msgspec.json.decode(_path(folder, job).read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return None
    return kept.result if kept.made_from == made_from else None


def _path(folder: Path, job: Job) -> Path:
    return folder / RESULTS / f"{job.seed}-{job.arm}.json"


def _made_from(settings: SimulationSettings, how: How, bank: PhotoBank) -> str:
    """Of all that decides a single result: how many seeds and which arms are asked for does not."""
    told = settings.model_dump(mode="json", exclude={"seeds", "first_seed", "arms"})
    return fingerprint([told, how.sha256, bank.digest(), code_fingerprint(_CODE)])
