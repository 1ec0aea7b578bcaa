"""What is fitted on val before comparisons may answer."""

import numpy as np
import pytest

from bintally.bundle import ChangeCard
from bintally.training.fit_change import Compared, fit_change

KEYS = ("0", "1", "2", "3", "4", "5", "6+")


def card() -> ChangeCard:
    return ChangeCard(
        max_change=6,
        prior=tuple(tuple([1 / 13] * 13) for _ in range(8)),
        unchanged=0.0,
        temperature=1.0,
        photo_weight=0.0,
        set_threshold=0.5,
        model_sha256="0" * 64,
        model_bytes=0,
    )


def compared(*, overconfident: float, photo_tells: bool, pairs: int = 400) -> Compared:
    """Bins of 3 that change by -2..2, told with some noise."""
    rng = np.random.default_rng(0)
    changes_p = rng.integers(-2, 3, pairs)
    noisy_pd = rng.normal(0, 1, (pairs, 13))
    noisy_pd[np.arange(pairs), changes_p + 6] += 3
    ratios = [
        {key: (4.0 if photo_tells and int(key[0]) == 3 + change else 1.0) for key in KEYS} for change in changes_p
    ]
    # of that noise: log likelihood of a shift by 3 at deviation 1 is 3 x
    evidence_pd = (3 * noisy_pd * overconfident).astype(np.float32)
    return Compared(evidence_pd, np.full(pairs, 3), ratios, changes_p + 3, KEYS)


@pytest.mark.parametrize("overconfident", [0.8, 1.0, 2.5])
def test_overconfident_evidence_is_softened(overconfident: float) -> None:
    found = fit_change(card(), compared(overconfident=overconfident, photo_tells=False), 0.9)
    assert found.temperature == pytest.approx(overconfident, rel=0.3)
    assert 0 < found.set_threshold <= 1


def test_a_photo_that_tells_something_gets_weight() -> None:
    silent = compared(overconfident=1.0, photo_tells=False)
    telling = compared(overconfident=1.0, photo_tells=True)
    assert fit_change(card(), telling, 0.9).photo_weight > 0.3
    assert telling.log_loss(fit_change(card(), telling, 0.9)) < silent.log_loss(fit_change(card(), silent, 0.9))


def test_without_neighbours_nothing_is_fitted() -> None:
    assert fit_change(card(), compared(overconfident=1.0, photo_tells=False, pairs=0), 0.9) == card()
