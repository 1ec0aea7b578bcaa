"""A run's report as one self-contained page: what to do first, then all that was seen."""

from collections.abc import Mapping
from typing import Any, Final

from bintally.pages import render
from bintally.training.run_facts import RunFacts
from bintally.training.run_plots import (
    PHASE_COLOURS,
    epochs_plot,
    rate_plot,
    steps_plot,
    system_plot,
    timeline_plot,
)
from bintally.training.run_said import RunReport

_STATES: Final = {"finished": "finished", "under way": "under way", "stopped": "stopped before its end"}


def run_page(said: RunReport, facts: RunFacts) -> str:
    """The page of `said`, with curves drawn from `facts`."""
    return render(
        "run.html",
        said=said,
        state=_STATES[said.state],
        tiles=_tiles(said, facts),
        epochs=epochs_plot(said.epochs, said.best_epoch, said.blind_accuracy),
        loss=steps_plot(facts.steps, said.findings),
        rate=rate_plot(facts.steps),
        timeline=timeline_plot(facts.steps),
        system=system_plot(facts.evidence.system),
        colours=PHASE_COLOURS,
        changed=[setting for setting in said.settings if setting.changed],
        unchanged=[setting for setting in said.settings if not setting.changed],
        environment=_environment(said.environment),
        kinds=list(dict.fromkeys(group.kind for group in said.findings)),
        duration=duration,
        figure=figure,
        shown=shown,
    )


def duration(seconds: float) -> str:
    """0.0123 as "12.3 ms", 75 as "75.0 s", 5775 as "1 h 36 min"."""
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def figure(value: float) -> str:
    """Four digits that matter: 0.0000012 as "1.2e-06", 1234.5 as "1234"."""
    return f"{value:.4g}"


def shown(value: Any) -> str:
    """A setting as TOML would have it, more or less; nothing as a dash."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tiles(said: RunReport, facts: RunFacts) -> list[dict[str, str]]:
    tiles = []
    best = next((row for row in said.epochs if row["epoch"] == said.best_epoch), None)
    row = best or (said.epochs[-1] if said.epochs else None)
    if row is not None:
        of = f"epoch {row['epoch']:.0f} of {len(said.epochs)}, {'kept' if best else 'the last so far'}"
        blind = "" if said.blind_accuracy is None else f"blind {100 * said.blind_accuracy:.1f}%"
        tiles += [
            {"value": f"{100 * row['accuracy']:.1f}%", "what": "Exactly right on val", "beside": blind or of},
            {"value": f"{row['log_loss']:.3f}", "what": "Log loss on val", "beside": of},
            {"value": f"{row['rmse']:.3f}", "what": "RMSE on val", "beside": of},
        ]
    speed = facts.report.photos_per_s if facts.report else _photos_per_s(facts)
    if said.time_s:
        beside = f"{said.steps:,} steps, {duration(said.step_s)} each" if said.steps else ""
        tiles.append({"value": duration(said.time_s), "what": "Training", "beside": beside})
    if speed:
        photos = f"{facts.report.train_photos:,} photos in train" if facts.report else ""
        tiles.append({"value": f"{speed:.1f}", "what": "Photos a second", "beside": photos})
    return tiles


def _photos_per_s(facts: RunFacts) -> float:
    seconds = sum(row.duration_s for row in facts.steps)
    return sum(row.photos for row in facts.steps) / seconds if seconds else 0.0


def _environment(told: Mapping[str, Any]) -> dict[str, str]:
    """What the machine was, in words."""
    plain = {key: value for key, value in told.items() if key not in ("versions", "started_at")}
    named = {key.replace("_", " ").replace(" gb", ", GB"): shown(value) for key, value in plain.items()}
    return named | {str(name): str(version) for name, version in told.get("versions", {}).items()}
