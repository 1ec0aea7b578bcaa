"""What a photo tells, by the acceptance file that comes with the champion."""

from bintally.bundle import CARD, read_card
from bintally.inventory.planning.power import power_of
from bintally.inventory.planning.settings import PhotoPower
from bintally.inventory.policy.acceptance import Acceptance
from bintally.inventory.policy.settings import PolicySettings
from bintally.settings import BUNDLED_CHAMPION


def test_a_stricter_promise_spares_fewer_and_finds_more() -> None:
    acceptance = Acceptance.of_bundle(BUNDLED_CHAMPION, read_card(BUNDLED_CHAMPION / CARD))
    power = power_of(PolicySettings(promised_escape_by_class={"A": 0.01, "C": 0.05}), acceptance, 0.03)
    assert power["A"].spares < power["B"].spares <= power["C"].spares < 1.0
    assert 1.0 >= power["A"].finds > power["C"].finds > 0.5
    spared, found = power["C"].spares, 1.0 - power["C"].finds
    assert 0.03 * found / (0.03 * found + 0.97 * spared) < 0.05, "the promise is kept"


def test_where_nothing_is_accepted_a_person_looks_at_every_photo() -> None:
    assert power_of(PolicySettings(), None, 0.05)["B"] == PhotoPower(finds=1.0, spares=0.0)
    acceptance = Acceptance.of_bundle(BUNDLED_CHAMPION, read_card(BUNDLED_CHAMPION / CARD))
    hopeless = power_of(PolicySettings(promised_escape=0.001), acceptance, 0.9)
    assert set(hopeless.values()) == {PhotoPower(finds=1.0, spares=0.0)}
