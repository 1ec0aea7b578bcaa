"""What an acceptance file allows: the score each promise needs, at several shares of wrong records."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from bintally.bundle import CARD, find_bundle, read_card
from bintally.inventory.policy.acceptance import FILE, Acceptance, Thresholds
from bintally.inventory.policy.settings import PolicySettings

PROMISES: Final = (0.01, 0.02, 0.05, 0.10)
RATES: Final = (0.005, 0.01, 0.02, 0.05, 0.10, 0.20)


def show_policy(
    *, bundle: Path | str | None = None, acceptance: Path | str | None = None, settings: Path | str | None = None
) -> list[dict[str, Any]]:
    """The score each promise needs, and the share of right records that reach it; None: nothing is accepted.

    One row a kind of evidence, promise and share of wrong records.

    Raises:
        BundleError: no usable bundle or acceptance file.
        ConfigError: a setting out of range.
    """
    folder = find_bundle(bundle)
    found = Acceptance.read(Path(acceptance) if acceptance else folder / FILE, read_card(folder / CARD))
    known = PolicySettings.from_toml(Path(settings)) if settings else PolicySettings()
    return rows_of(found, known)


def rows_of(acceptance: Acceptance, settings: PolicySettings) -> list[dict[str, Any]]:
    """The same of a file already read; records without a tolerance."""
    rows: list[dict[str, Any]] = []
    for table in acceptance.tables:
        if table.tolerance:
            continue
        thresholds = Thresholds(acceptance.thresholds, table, settings.confidence)
        for promised in sorted({*PROMISES, settings.promised_escape}):
            for wrong in RATES:
                at = float(thresholds.of(np.array([promised]), np.array([wrong]))[0])
                known = None if np.isnan(at) else at
                kept = 0.0 if known is None else table.right[acceptance.thresholds.index(known)] / table.bins
                rows.append(
                    {
                        "kind": table.kind,
                        "derived": table.derived,
                        "bins": table.bins,
                        "promised": promised,
                        "wrong": wrong,
                        "threshold": known,
                        "right_accepted": kept,
                    }
                )
    return rows
