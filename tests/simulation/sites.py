"""Sites that need no model."""

from bintally.simulation.arms import Nothing, Yard
from bintally.simulation.draws import draw
from bintally.simulation.settings import Errors, SimulationSettings

NO_ERRORS = Errors.of(dict.fromkeys(Errors.model_fields, 0.0))


def changed(settings: SimulationSettings, **values: object) -> SimulationSettings:
    """The same with other settings, checked."""
    held = settings.model_dump()
    told = {name: value.model_dump() if isinstance(value, Errors) else value for name, value in values.items()}
    return SimulationSettings.of({**held, **told})


def left_alone(settings: SimulationSettings, seed: int = 0) -> Yard:
    """A site after all its days, where nobody looks."""
    yard = Yard.new(draw(settings, seed), settings)
    nobody = Nothing(yard)
    nobody.begin()
    for day in range(settings.days):
        yard.world.night(day)
        yard.tally.morning(yard.erp.on_hand_s)
        for touch in yard.world.work(day, yard.erp):
            nobody.touched(day, touch)
        yard.tally.evening()
    return yard
