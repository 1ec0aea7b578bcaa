"""How a run speaks: moments, addresses without who logs in, a line about what a stage did."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from bintally.registry.addresses import without_login as without_login

Said = Mapping[str, Any]


def moment(at: datetime) -> str:
    """A moment, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """So long, in few words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def headline(stage: str, report: Any) -> str:
    """What a stage did, in a line, from its verb's report as plain values."""
    return _HEADLINES[stage](report) if report and stage in _HEADLINES else ""


def _split(r: Said) -> str:
    sizes = ", ".join(f"{sum(sizes.values()):,} {name}" for name, sizes in r["sizes"].items())
    undivided = ", none divided" * (r["leakage"]["groups"]["crossing"] == 0)
    stayed = f", {r['since']['kept']:,} photos stayed" if r["since"]["kept"] else ""
    return f"{sizes} in {r['groups']:,} bins{undivided}{stayed}"


def _train(r: Said) -> str:
    best = r["best"]
    kept = f"epoch {best['epoch']:.0f} of {len(r['history'])} kept"
    return f"{kept}: val accuracy {best['accuracy']:.3f} (blind {r['blind_accuracy']:.3f})"


def _register(r: Said) -> str:
    new = "new" if r["is_new"] else "the same bundle was registered before"
    why = f", not logged to MLflow: {r['not_logged']}" if r.get("not_logged") else ""
    tracked = f", logged as {r['run_id']}" if r.get("run_id") else why
    return f"{r['version']} ({new}){tracked}"


_HEADLINES: Final[dict[str, Callable[[Said], str]]] = {
    "fetch": lambda r: (
        f"{r['photos']:,} photos ({r['fetched']:,} new), {r['missing']:,} missing, {r['broken']:,} broken"
    ),
    "check": lambda r: f"{r['usable']:,} usable, {r['quarantined']:,} set aside, {r['warned']:,} with a warning",
    "explore": lambda r: f"what there is to see: {r['page']}",
    "split": _split,
    "train": _train,
    "export": lambda r: f"{r['bytes'] / 1e6:.1f} MB, within {r['max_difference']:.4f} of torch",
    "evaluate": lambda r: f"accuracy {r['figures']['accuracy']['value']:.3f} on {r['population']['judged']:,} photos",
    "register": _register,
    "gates": lambda r: r["sentence"],
    "promote": lambda r: f"{r['version']} is the champion now" if r["promoted"] else "",
}
