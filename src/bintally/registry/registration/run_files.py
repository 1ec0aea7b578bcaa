"""What a finished run's folder tells, read as plain data: the registry knows no training."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from bintally.artifacts import read_rows
from bintally.errors import CheckpointError
from bintally.registry.addresses import without_login

REPORT: Final = "run.json"
RECIPE: Final = "recipe.json"
ENVIRONMENT: Final = Path("log") / "environment.json"
FINDINGS: Final = Path("log") / "findings.jsonl"

_FACTS: Final = (
    "seconds", "photos_per_s", "stopped_early", "train_photos", "val_photos", "weights", "best", "blind_accuracy",
)  # fmt: skip


class RunFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run. `findings`: one for each rule that fired, as it said it last, with `first_step` and `times`.

    None: no rule watched the training. Where rules watch, the log is there, though they find nothing.
    """

    recipe: dict[str, Any]
    report: dict[str, Any]
    environment: dict[str, Any] | None
    findings: list[dict[str, Any]] | None

    @property
    def dataset(self) -> str | None:
        """The fingerprint of the split that was trained on."""
        told = self.report.get("dataset")
        return str(told) if told else None

    @property
    def training(self) -> dict[str, Any]:
        """What became of the training: seconds, epochs, the best epoch's figures ..."""
        facts = {name: self.report[name] for name in _FACTS if name in self.report}
        return facts | {"epochs": len(self.report.get("history", ()))}


def read_run_files(run: Path) -> RunFiles:
    """Reads a run's folder.

    Raises:
        CheckpointError: it is no finished run.
    """
    try:
        report, recipe = _read(run / REPORT), _read(run / RECIPE)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{run} is no finished run: {error}.", hint="Finish it with `bintally train`.") from error
    return RunFiles(recipe=recipe, report=report, environment=_environment(run), findings=_findings(run))


def without_logins(value: Any) -> Any:
    """Plain data, its URLs without who logs in and without queries: signed ones have their key there."""
    if isinstance(value, dict):
        return {key: without_logins(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_logins(each) for each in value]
    return _plain_url(value) if isinstance(value, str) and "://" in value else value


def _plain_url(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:  # such as half an IPv6 address
        return f"{text.partition('://')[0]}://***"
    return without_login(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))


def _read(path: Path) -> dict[str, Any]:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])


def _environment(run: Path) -> dict[str, Any] | None:
    try:
        return _read(run / ENVIRONMENT)
    except (OSError, msgspec.DecodeError):  # an old run, or a training that was told to log nothing
        return None


def _findings(run: Path) -> list[dict[str, Any]] | None:
    """By rule, in the order of their first words."""
    if not (run / FINDINGS).is_file():
        return None
    told: dict[str, dict[str, Any]] = {}
    for line in read_rows(run / FINDINGS, dict[str, Any]):
        rule = str(line.get("rule", "?"))
        before = told.get(rule, {"first_step": line.get("step"), "times": 0})
        told[rule] = line | {"first_step": before["first_step"], "times": before["times"] + 1}
    return list(told.values())
