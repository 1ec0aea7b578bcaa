"""A version that never was in a registry, with all that a card can tell of one; and what an evaluation found of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bintally.bundle import Figure, read_card
from bintally.counting.report import (
    Bin,
    Blind,
    Calibration,
    CurvePoint,
    EvaluationReport,
    PerCount,
    Population,
    Selective,
    Sets,
    Slice,
    Subject,
)
from bintally.registry.versions import Version
from tests.bundles import make_bundle

LINEAGE: dict[str, Any] = {
    "recipe": {
        "name": "tiny",
        "seed": 3,
        "source": "https://mara:secret@photos.example/bins?token=hush",
        "balance": {"keep": {"6+": 0.25}},
        "network": {"backbone": "resnet18", "start": "runs/before/bundle"},
        "fetch": {"ids": None, "rate": 1e-05},
    },
    "code": {"version": "0" * 64, "identity": "1" * 64, "registered_with": "0.1.0"},
    "environment": {
        "processor": "AMD EPYC",
        "cores": 2.0,
        "memory_gb": 24.0,
        "gpus": ["NVIDIA T4"],
        "python": "3.11.7",
        "versions": {"bintally": "0.1.0", "torch": "2.15.0"},
    },
    "training": {"seconds": 3661.4, "epochs": 6},
    "findings": [{"rule": "overfit", "step": 40, "message": "Loss on val has risen since epoch 4."}],
}


def version_of(folder: Path, **changes: Any) -> Version:
    """A version of the bundle that is made in `folder`."""
    card = read_card(make_bundle(folder, licence="CC BY-NC-SA 3.0 US (a test's)") / "card.json")
    made = Version(
        id=1,
        model="bintally",
        number=3,
        state="Approved",
        bundle_sha256="ab" * 32,
        bundle_bytes=1_234_567,
        card=card,
        run_id=None,
        lineage=LINEAGE,
        registered_at=datetime(2026, 11, 22, 2, 30, tzinfo=UTC),
        registered_by="mara",
    )
    return msgspec.structs.replace(made, **changes)


def report_of(model_sha256: str, **changes: Any) -> EvaluationReport:
    """What an evaluation might have found."""
    figures = {"accuracy": Figure(0.8, 0.7, 0.9), "rmse": Figure(0.5, 0.4, 0.6)}
    slices = (
        Slice("brightness", "up to 90", 40, Figure(0.85, 0.75, 0.95), Figure(0.4, 0.3, 0.5), 0.3),
        Slice("brightness", "above 90", 40, Figure(0.6, 0.5, 0.7), Figure(0.6, 0.5, 0.7), 0.62),
        Slice("encoding", "a | b", 4, None, None, None),
    )
    made = EvaluationReport(
        format=1,
        subject=Subject(
            "tiny",
            "bundle",
            model_sha256,
            "CC0",
            "data",
            "split.parquet",
            "0" * 64,
            "test",
            "1-5",
            ("1", "2"),
            7,
            500,
            "c",
        ),
        population=Population(80, 60, 2, 0, 20, 0, 0),
        abstained={"blurred": 2},
        figures=figures,
        blind=(
            Blind("train", "2", {"accuracy": 0.25, "rmse": 1.3}),
            Blind("themselves", "1", {"accuracy": 0.3, "rmse": 1.2}),
        ),
        per_count=(
            PerCount("1", 50, 48, Figure(0.9, 0.8, 0.95), Figure(0.92, 0.8, 0.97), 1.1),
            PerCount("2", 30, 0, Figure(0.0, 0.0, 0.1), None, 1.6),
        ),
        confusion=((45, 5), (30, 0)),
        calibration=Calibration(0.05, 0.06, (Bin(0.7, Figure(0.72, 0.6, 0.8), 80),)),
        selective=Selective(Figure(0.1, 0.05, 0.15), {}, (CurvePoint(0.5, 1.0, 0.2),)),
        sets=Sets(0.9, Figure(0.91, 0.85, 0.96), Figure(1.5, 1.4, 1.6)),
        slices=slices,
        not_sliced={"distinct products": "no record tells them"},
        worst=(),
        surest=(),
        unreadable=(),
        photos_per_second=30.0,
    )
    return msgspec.structs.replace(made, **changes)
