"""The gates that need no photo: contract, licence, findings of the training, and what the models learnt from."""

from collections.abc import Iterator, Mapping
from typing import Any

from bintally.bundle import READABLE, Card
from bintally.registry.gates.case import Case
from bintally.registry.gates.outcome import GateResult


def contract(case: Case) -> GateResult:
    """It answers what the champion answers: whoever asks the service notices nothing but better counts."""
    card = case.version.card
    broken = [] if case.answers.are_numbers else ["its answers are no distributions of counts"]
    if card.schema_version not in READABLE:
        broken.append(f"its card has schema version {card.schema_version}")
    if case.against is not None:
        broken += _broken(card, case.against.card)
    counts = f"{card.count_keys[0]} to {card.count_keys[-1]}"
    kept = f"It tells counts {counts}" + (" and all else that the champion tells." if case.against else ".")
    return GateResult(gate="contract", passed=not broken, reason=f"{_sentence('; '.join(broken))}." if broken else kept)


def _broken(card: Card, champion: Card) -> Iterator[str]:
    if card.count_keys != champion.count_keys:
        yield f"it tells counts {', '.join(card.count_keys)}; the champion, {', '.join(champion.count_keys)}"
    if card.change is None and champion.change is not None:
        yield "it does not compare photos, as the champion does"
    if card.verification is None and champion.verification is not None:
        yield "it does not judge records, as the champion does"
    if card.novelty_threshold is None and champion.novelty_threshold is not None:
        yield "it does not tell photos that show no bin, as the champion does"
    if card.set_coverage < champion.set_coverage:
        yield f"its sets of counts promise {card.set_coverage:.0%}; the champion's, {champion.set_coverage:.0%}"


def licence(case: Case) -> GateResult:
    """Whoever may use the champion may use it."""
    mine, allowed = case.version.card.licence, case.settings.licence.allowed
    if allowed:
        passed = any(mine.startswith(each) for each in allowed)
        told = f"{mine!r} is {'' if passed else 'not '}among the allowed ones ({', '.join(allowed)})"
    elif case.against is None:
        passed, told = True, f"{mine!r}; [promote.licence] names none that are allowed"
    else:
        passed, champions = mine == case.against.card.licence, case.against.card.licence
        told = f"{mine!r}, as the champion's" if passed else f"{mine!r} is not the champion's {champions!r}"
    return GateResult(gate="licence", passed=passed, reason=f"{told}.")


def findings(case: Case) -> GateResult:
    """No critical finding is open."""
    told: list[dict[str, Any]] | None = case.version.lineage.get("findings")
    settings = case.settings.findings
    open_ = [finding for finding in told or () if finding.get("rule") in settings.critical]
    said = [f"{finding['rule']}: {str(finding.get('message', '')).rstrip('.')}" for finding in open_]
    if "BlindBaseline" in settings.critical:
        said += _blind(case.version.lineage.get("training") or {})
    if said:
        return GateResult(gate="findings", passed=False, reason=f"{'; '.join(said)}.")
    if told is None:
        reason = f"Not judged: {_unwatched(case.version.lineage)}."
        return GateResult(gate="findings", passed=settings.unwatched == "say", reason=reason)
    fired = f"{len(told)} rule{'s' * (len(told) != 1)} fired, none critical" if told else "no rule fired"
    return GateResult(gate="findings", passed=True, reason=f"Its training was watched, and {fired}.")


def _unwatched(lineage: Mapping[str, Any]) -> str:
    """Why nobody knows of findings."""
    if lineage.get("training"):
        return "no rule watched its training, whose log has no findings.jsonl"
    return "it was registered without its training's run, so nobody knows what rules found"


def _blind(training: dict[str, Any]) -> list[str]:
    """Whether the kept epoch was right no more often than who never looks."""
    accuracy, blind = (training.get("best") or {}).get("accuracy"), training.get("blind_accuracy")
    if accuracy is None or blind is None or accuracy > blind:
        return []
    return [f"BlindBaseline: right on {accuracy:.1%} of val; the commonest count of train, on {blind:.1%}"]


def unseen(case: Case) -> GateResult:
    """Enough photos are left of bins that neither model learnt from."""
    settings, left = case.settings.unseen, case.frozen.table.height
    out = case.everything.table.height - left
    told = [f"{left:,} photos of {case.frozen.split} are of bins that neither learnt from, {out:,} were left out"]
    passed = left >= settings.min_photos
    if not passed:
        told.append(f"at least {settings.min_photos:,} are needed")
    for who, unknown, how in (
        ("candidate", case.unknown, settings.unknown),
        ("champion", case.unknown_of_champion, settings.unknown_champion),
    ):
        if unknown:
            told.append(f"of the {who} it is not known {unknown[0]}")
            passed = passed and how == "say"
    return GateResult(gate="unseen", passed=passed, reason=f"{'; '.join(told)}.", photos=left)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
