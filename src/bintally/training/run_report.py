"""The `report` verb: a run folder, finished or not, on one page that says first what to do.

```
RUN/report.html    the page, self-contained
RUN/report.json    the same as data: `RunReport`
```
"""

from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from pydantic import Field

from bintally.artifacts import write_bytes, write_text
from bintally.config import Config
from bintally.training.profile.breakdown import breakdown_of
from bintally.training.profile.rules import judged
from bintally.training.run_facts import RunFacts, read_facts
from bintally.training.run_findings import Judgement, blind_baseline, judgement, ranked
from bintally.training.run_page import run_page
from bintally.training.run_said import RunReport

PAGE: Final = "report.html"
DATA: Final = "report.json"
_OPERATORS: Final = 20


class RunReportConfig(Config):
    """What `report` is asked for."""

    run: Path = Field(description="The run folder.")
    out: Path | None = Field(default=None, description="The page; default: report.html in the run folder.")
    defaults: Literal["code", "guide"] | None = Field(
        default=None,
        description="The profiler rules' defaults: as SageMaker's code has them, or as its guide says; default: the "
        "recipe's.",
    )


def report(*, run: Path | str, out: Path | str | None = None, defaults: str | None = None) -> RunReport:
    """Writes the page of `run`, finished, under way or killed, to `out` (default: RUN/report.html); JSON beside it.

    Raises:
        CheckpointError: `run` is no run folder.
        ConfigError: other `defaults` than "code" or "guide".
    """
    config = RunReportConfig.of({"run": run, "out": out, "defaults": defaults})
    page = config.out or config.run / PAGE
    facts = read_facts(config.run)
    told = said_of(facts, defaults=config.defaults, page=page)
    write_text(page, run_page(told, facts))
    write_bytes(page.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    return told


def said_of(facts: RunFacts, *, defaults: Literal["code", "guide"] | None = None, page: Path = Path(PAGE)) -> RunReport:
    """What is to be said of a run; nothing is written."""
    defaults = defaults or facts.profile.defaults
    profiled = judged(facts.evidence, defaults=defaults, parameters=facts.profile.parameters)
    spent = breakdown_of(facts.steps)
    groups = ranked([*facts.findings, *profiled.findings, *_own(facts)], facts.epochs)
    said: Judgement = judgement(groups, facts.epochs, state=facts.state, watched=facts.watched)
    return RunReport(
        run=str(facts.folder),
        recipe=facts.report.recipe if facts.report else facts.folder.resolve().name,
        state=facts.state,
        healthy=said.healthy,
        sentence=said.sentence,
        because=said.because,
        epochs=tuple(facts.epochs),
        best_epoch=int(facts.report.best["epoch"]) if facts.report else None,
        blind_accuracy=facts.report.blind_accuracy if facts.report else None,
        steps=len(facts.steps),
        findings=groups,
        rules_without_verdict={verdict.rule: verdict.lacks for verdict in profiled.verdicts if verdict.lacks},
        time_s=facts.report.seconds if facts.report else spent.seconds,
        step_s=spent.typical_s,
        time_sentence=spent.sentence if facts.steps else "",
        phases=spent.phases,
        parts=spent.parts,
        slowest=spent.slowest,
        usage=profiled.usage,
        operators=facts.operators[:_OPERATORS],
        settings=facts.settings,
        environment=dict(facts.environment),
        missing=facts.missing,
        defaults=defaults,
        page=str(page),
    )


def _own(facts: RunFacts) -> list[Any]:
    """What the run's own figures say, without any rule."""
    if facts.report is None:
        return []
    found = blind_baseline(facts.report.best, facts.report.blind_accuracy, max(len(facts.steps) - 1, 0))
    return [found] if found else []
