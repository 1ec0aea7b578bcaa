"""The files that are kept with a run: what it did and found, never weights twice."""

import shutil
from pathlib import Path
from typing import Final

from bintally.artifacts import write_json, write_text
from bintally.registry.card.judged import METRICS
from bintally.registry.card.recipe_text import recipe_text
from bintally.registry.registration.run_files import without_logins
from bintally.registry.tracking.facts import RunTold

BUNDLES: Final = "bundles"
"""Where a run has its bundles by their digests, if MLflow is on another machine; else the registry's own are linked."""

_REPORT: Final = "report"
_COPIED: Final = ("curves.svg",)
_EVALUATED: Final = (METRICS, "report.html")


def write_files(told: RunTold, run: Path, report: Path | None, folder: Path) -> None:
    """Writes the files of a run, as they are to be seen there, into `folder`.

    Raises:
        StorageError: disk full, or no permission.
    """
    files = told.files
    write_text(folder / "recipe.toml", recipe_text(without_logins(files.recipe)) + "\n")
    write_json(folder / "run.json", without_logins(files.report))
    write_json(folder / "findings.json", without_logins(files.findings))
    if files.environment is not None:
        write_json(folder / "environment.json", without_logins(files.environment))
    for name in _COPIED:
        if (run / name).is_file():
            shutil.copyfile(run / name, folder / name)
    if report is not None:
        (folder / _REPORT).mkdir()
        for name in _EVALUATED:
            if (report / name).is_file():
                shutil.copyfile(report / name, folder / _REPORT / name)
