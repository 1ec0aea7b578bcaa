"""The gate about live photos: counted by champion and candidate both, while only the champion's answers went out."""

from bintally.registry.gates.case import Case
from bintally.registry.gates.outcome import GateResult


def shadow(case: Case) -> GateResult:
    """Enough live photos, on which it agrees with the champion and is not much slower."""
    if case.against is None:
        return GateResult(gate="shadow", passed=True, reason="There is no champion to compare with.")
    settings, told = case.settings.shadow, case.shadow()
    agreed = 0.0 if told is None or told.agreement is None else told.agreement.value
    wrong = []
    if told is None or told.pairs < settings.pairs:
        wrong.append(f"at least {settings.pairs:,} live photos are asked")
    if agreed < settings.agreement:
        wrong.append(f"agreement of at least {settings.agreement:.0%} is asked")
    if told is not None and told.slower is not None and told.slower > settings.slower:
        wrong.append(f"a photo takes {told.slower:.2f} times as long, at most {settings.slower:g} times is allowed")
    if told is not None and told.failed:
        wrong.append(f"{told.failed:,} could not be counted")
    said = "There are no live photos that both counted" if told is None else told.sentence.rstrip(".")
    return GateResult(
        gate="shadow",
        passed=not wrong,
        reason=f"{'; '.join([said, *wrong])}.",
        figure=None if told is None else told.agreement,
        limit=settings.agreement,
        photos=0 if told is None else told.pairs,
    )
