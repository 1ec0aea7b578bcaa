"""Folders as a training leaves them: a run, its data, its bundle. No network is trained."""

import json
from pathlib import Path
from typing import Any

from bintally.artifacts import sha256_of
from bintally.manifest import SPLIT, Manifest
from tests.bundles import make_bundle


def make_data(folder: Path, photos: dict[str, str]) -> Path:
    """A data folder with a split: photos by name, and the split each is in."""
    rows: list[dict[str, object]] = [
        {"bin_image_id": name, "path": f"{name}.jpg", "sha256": name * 8, "group": f"g-{name}", "split": split}
        for name, split in photos.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    Manifest.build(folder, rows).write(SPLIT)
    return folder


def make_run(folder: Path, data: Path, *, name: str = "tiny", identity: str = "i" * 64, **recipe: Any) -> Path:
    """A finished run on `data`."""
    (folder / "log").mkdir(parents=True)
    told = {"name": name, "seed": 0, "source": "https://me:hush@photos.example/all?key=hush"} | recipe
    report = {
        "recipe": name, "run": str(folder), "identity": identity, "dataset": sha256_of(data / SPLIT),
        "weights": "hub", "train_photos": 2, "val_photos": 1, "best": {"epoch": 2.0, "accuracy": 0.5},
        "blind_accuracy": 0.2, "history": [{"epoch": 1.0}, {"epoch": 2.0}], "stopped_early": False, "seconds": 61.5,
        "photos_per_s": 12.0,
    }  # fmt: skip
    findings = [
        {"rule": "Overfit", "step": 10, "tensor": "loss", "value": 1.0, "threshold": 0.5, "message": "early"},
        {"rule": "Leakage", "step": 0, "tensor": "val", "value": 3.0, "threshold": 0.0, "message": "twins"},
        {"rule": "Overfit", "step": 20, "tensor": "loss", "value": 2.0, "threshold": 0.5, "message": "late"},
    ]
    (folder / "run.json").write_text(json.dumps(report))
    (folder / "recipe.json").write_text(json.dumps(told))
    (folder / "log" / "environment.json").write_text(json.dumps({"python": "3.12.1", "processor": "a fast one"}))
    lines = "".join(json.dumps(line) + "\n" for line in findings)
    (folder / "log" / "findings.jsonl").write_text(lines + '{"rule": "torn')
    return folder


def make_exported(folder: Path, run: Path, **card: Any) -> Path:
    """The bundle of a run."""
    report = json.loads((run / "run.json").read_text())
    recipe = json.loads((run / "recipe.json").read_text())
    return make_bundle(folder, dataset={"fingerprint": report["dataset"]}, recipe=recipe, **card)
