"""The graph of stages and the last runs, drawn in a terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from bintally.pipeline.reasons import INPUT
from bintally.pipeline.records import RunRecord, StageRecord
from bintally.pipeline.seen import Seen, SeenStage
from bintally.pipeline.words import duration, moment

if TYPE_CHECKING:
    from rich.console import Console

MARKS: Final = {
    "done": ("✓", "green"),
    "unchanged": ("=", "dim"),
    "skipped": ("-", "yellow"),
    "running": ("…", "cyan"),
    "failed": ("✗", "bold red"),
    "stopped": ("■", "yellow"),
    "killed": ("✗", "bold red"),
}
"""How a status looks."""


def draw(seen: Seen, out: "Console") -> None:
    """Prints the graph, then the runs with the reasons of the newest one."""
    from rich.table import Table
    from rich.text import Text

    graph = Table.grid(padding=(0, 2))
    for column in ("stage", "status", "ran", "seconds"):
        graph.add_column(no_wrap=True, justify="right" if column == "seconds" else "left")
    graph.add_column(overflow="fold")
    for stage, lines in _lanes(seen.stages):
        last = stage.last
        if last is None:
            graph.add_row(Text(f"{lines}○ {stage.name}", style="dim"), Text("not yet", style="dim"))
            continue
        mark, style = MARKS[last.status]
        ran = moment(stage.ran.started) if stage.ran else ""
        took = duration(stage.ran.seconds) if stage.ran else ""
        graph.add_row(Text(f"{lines}● {stage.name}", style="bold"), Text(f"{mark} {last.status}", style=style),
                      Text(ran, style="dim"), took, Text(_told(stage)))  # fmt: skip
    out.print(Text(seen.workspace, style="bold"))
    out.print(graph)
    out.print()
    out.print(_runs(seen))


def _lanes(stages: tuple[SeenStage, ...]) -> Iterator[tuple[SeenStage, str]]:
    """Each stage with the lines before it: what nothing follows is a branch, the others are the trunk."""
    followed = {name for stage in stages for name in stage.after}
    for place, stage in enumerate(stages):
        is_branch = stage.name not in followed and place < len(stages) - 1
        yield stage, "├─" if is_branch else ""


def _told(stage: SeenStage) -> str:
    """What a stage made, where it last ran, or what went wrong."""
    if stage.last is not None and stage.last.error:
        return stage.last.error
    if stage.last is not None and stage.last.status == "skipped":
        return stage.last.reason
    return stage.ran.said if stage.ran else ""


def _runs(seen: Seen) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("run", "by", "", "took", "what ran, and why", box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    table.columns[3].justify = "right"
    for column in table.columns[:4]:
        column.no_wrap = True
    for run in seen.runs:
        mark, style = MARKS[run.status]
        status = Text(f"{mark} {run.status}", style=style)
        table.add_row(moment(run.started), Text(run.by), status, duration(run.seconds), Text("\n".join(lines_of(run))))
    return table


def lines_of(run: RunRecord) -> list[str]:
    """A run in words: what it did for a reason of its own, what followed from that, and what came of it."""
    by_line: dict[str, list[str]] = {}
    for stage in run.stages:
        line = _line(stage)
        if line:
            by_line.setdefault(line, []).append(stage.stage)
    lines = [f"{', '.join(names)} {line}" for line, names in by_line.items()]
    if run.promoted:
        lines.append(f"{run.version} was promoted")
    if run.error is not None and not any(stage.error for stage in run.stages):
        lines.append(run.error)
    return lines or ["nothing changed"]


def _line(stage: StageRecord) -> str:
    """Why a stage did something, without what other stages did to it; empty: nothing changed."""
    if stage.status == "unchanged" and "nothing changed" in stage.reason:
        return ""
    if stage.status in ("failed", "killed", "stopped", "running"):
        return f"{stage.status}: {stage.error or stage.reason}"
    verb, _, told = stage.reason.partition(": ")
    if verb != "ran":
        return stage.reason
    own = [part for part in told.split("; ") if not part.startswith(f"{INPUT} ")]
    return f"ran: {'; '.join(own)}" if own else "followed"


def essential(stages: tuple[SeenStage, ...]) -> list[tuple[str, str]]:
    """The arrows that a picture needs: from what a stage follows, if no other stage is between the two."""
    before: dict[str, set[str]] = {}
    for stage in stages:
        before[stage.name] = {*stage.after, *(each for name in stage.after for each in before.get(name, ()))}
    return [
        (name, stage.name)
        for stage in stages
        for name in stage.after
        if not any(name in before[other] for other in stage.after)
    ]
