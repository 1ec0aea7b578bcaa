"""One site under one arm, from its first day to its last."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bintally.counting.follow_settings import FollowSettings
from bintally.inventory.judging.how import How
from bintally.inventory.policy.acceptance import Acceptance
from bintally.inventory.policy.decide import Policy
from bintally.inventory.policy.settings import Costs, PolicySettings
from bintally.simulation import with_ledger
from bintally.simulation.arms import Arm, ByHand, Nothing, SinglePhoto, Yard
from bintally.simulation.bank import PhotoBank
from bintally.simulation.draws import draw
from bintally.simulation.settings import ArmName, SimulationSettings
from bintally.simulation.tally import ArmResult, result_of

_ROOM = 8  # items above two full products: what is stowed there by mistake


def live(
    arm: ArmName,
    seed: int,
    settings: SimulationSettings,
    how: How,
    bank: PhotoBank,
    *,
    folder: Path,
    day_done: Callable[[], None] = lambda: None,
) -> ArmResult:
    """Lives through all days. `folder`: where the ledger is made, if the arm has one; there must be none."""
    yard = Yard.new(draw(settings, seed), settings)
    with _arm(arm, yard, how, bank, folder) as control:
        control.begin()
        for day in range(settings.days):
            yard.world.night(day)
            control.morning(day)
            yard.tally.morning(yard.erp.on_hand_s)
            for touch in yard.world.work(day, yard.erp):
                control.touched(day, touch)
            control.evening(day)
            yard.tally.evening()
            day_done()
        return result_of(arm, seed, yard.tally, settings, control.told())


def how_of(settings: SimulationSettings, bundle: Path | str | None) -> How:
    """How records are judged: a policy with this site's promise and costs, a filter with room for its bins.

    Raises:
        BundleError: the bundle can't be used.
    """
    how = How.open(bundle)
    money = settings.money
    costs = Costs(currency=money.currency, count=money.count, recount=money.count)
    policy = PolicySettings(promised_escape=settings.promised_escape, costs=costs)
    acceptance = Acceptance.of_bundle(how.bundle.folder, how.card)
    follow = FollowSettings(start=dict(how.card.target_prior), max_count=2 * settings.stock.most_par + _ROOM)
    return How(how.bundle, Policy(policy, acceptance), follow)


@contextmanager
def _arm(arm: ArmName, yard: Yard, how: How, bank: PhotoBank, folder: Path) -> Iterator[Arm]:
    if arm == "nothing":
        yield Nothing(yard)
    elif arm in ("hand", "calendar"):
        yield ByHand(yard, is_calendar=arm == "calendar")
    elif arm == "single":
        yield SinglePhoto(yard, how, bank)
    else:
        with with_ledger.opened(folder, yard, how, bank) as control:
            yield control
