"""What a check found and a correction's story, in words."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from bintally.database.audit import Entry
from bintally.inventory.evidence.contents import Read
from bintally.inventory.evidence.facts import Correction, Decision, Posting, Review, Step
from bintally.signatures.checking import Signer
from bintally.signatures.envelope import SHOWN

ALONE: Final = (
    "Who made it: without --trust, --expect or --ledger a bundle only shows that it agrees with itself. Whoever "
    "changed it could have made its manifest anew."
)

_SAID: Final = {
    "accept": "says that the record is right",
    "recount": "wants somebody else to count",
    "uncountable": "says that the photo can't be counted",
    "not_this_bin": "says that the photo shows another bin",
    "approve": "approves the correction",
    "reject": "refuses the correction",
    "undo": "takes the decision back",
}
_STEPS: Final = {
    "made": "is to be told",
    "prepared": "has a draft",
    "posted": "has changed its stock",
    "stale": "holds something else by now: a person looks",
    "refused": "refused",
    "failed": "did not take it",
    "retried": "is told again",
    "dropped": "is not told: it was given up",
    "cancelled": "is not told: it was taken back before",
}


class Event(msgspec.Struct, frozen=True):
    """Something that happened: when, by whom, what, and what there is to add."""

    at: datetime
    who: str
    what: str
    more: str = ""


def story(told: Correction) -> list[Event]:
    """What happened, in order of time."""
    events = [*_before(told), *_looks(told), *_after(told)]
    return sorted(events, key=lambda event: event.at)


def unchecked(read: Read, signers: Sequence[Signer], vouched_by: Sequence[str], *, has_ledger: bool) -> Iterator[str]:
    """What nobody has looked at."""
    if not vouched_by:
        yield ALONE
    for signer in signers:
        if signer.trusted_as is None:
            named = signer.id[:SHOWN] or "a key without a name"
            yield f"The signature of {named}: its public key was not given (--trust)."
    if not has_ledger:
        withheld = f" {len(read.withheld)} of them come without their text." if read.withheld else ""
        yield (
            f"Whether the {len(read.lines)} lines of the audit log are the ledger's, and the log is whole (--ledger)."
            f"{withheld}"
        )
    if read.missing:
        yield f"{len(read.missing)} photo(s) that were not to be had at the export: only their hashes are here."


def by_key(signer: Signer) -> str:
    """Whose key has signed."""
    return f"The key {signer.trusted_as} ({signer.id[:SHOWN]}) has signed it."


def by_ledger(line: Entry, name: str) -> str:
    """Which line of the log tells of the export."""
    moment = f"{line.at:%Y-%m-%d %H:%M:%S}"
    return f"The ledger {name} says that {line.actor} exported it at {moment} UTC (line {line.number} of its log)."


def _before(told: Correction) -> Iterator[Event]:
    judged = next(each for each in told.records if each.id == told.verdict.record)
    yield Event(judged.effective_at, judged.source, f"The record says {judged.quantity}", f"version {judged.key}")
    for move in told.movements:
        what = "stowed" if move.quantity >= 0 else "picked"
        yield Event(move.moved_at, "stock system", f"{abs(move.quantity)} {what}", move.sku or "")
    for photo in told.photos:
        yield Event(photo.taken_at, "camera", "Photo taken", f"SHA-256 {photo.sha256[:SHOWN]}")
        for estimate in photo.estimates:
            named = " ".join((estimate.model, *estimate.registered))
            yield Event(estimate.made_at, named, _seen(estimate.estimate), f"model {estimate.model_sha256[:SHOWN]}")
        if photo.removed_at is not None:
            yield Event(photo.removed_at, "retention", "Photo removed", f"SHA-256 {photo.sha256[:SHOWN]}")


def _seen(estimate: dict[str, Any]) -> str:
    why = estimate.get("error") or estimate.get("abstain")
    return f"can't count it: {why}" if why else f"counts {estimate.get('count')}"


def _looks(told: Correction) -> Iterator[Event]:
    policy = f"policy {told.verdict.policy[:SHOWN]}"
    yield Event(told.verdict.made_at, "bintally", f"Judged: {told.verdict.outcome}", policy)
    for review in told.reviews:
        blind = ", without sight of the record" if review.blind else ""
        yield Event(review.opened_at, "bintally", f"A person is to look{blind}", f"because of: {review.reason}")
        for decision in review.decisions:
            yield Event(decision.made_at, decision.by.name, _said(decision, review), decision.note)


def _said(decision: Decision, review: Review) -> str:
    if decision.kind in ("correct", "count"):
        lines = ", ".join(f"{many} x {sku}" for sku, many in (decision.lines or {}).items())
        blind = " blind" if review.blind else ""
        return f"counts{blind} {decision.count}" + (f" ({lines})" if lines else "")
    return _SAID.get(decision.kind, decision.kind)


def _after(told: Correction) -> Iterator[Event]:
    for record in told.records:
        if record.role in ("made", "restored"):
            word = "is" if record.role == "made" else "is again"
            yield Event(record.received_at, "bintally", f"The record {word} {record.quantity}", f"version {record.key}")
    for posting in told.postings:
        for step in posting.steps:
            if step.step == "begun":  # a try; what came of it is told
                continue
            yield Event(step.at, posting.to.name, _step(posting, step), _answer(step))


def _step(posting: Posting, step: Step) -> str:
    what = _STEPS.get(step.step, step.step)
    return f"{what} (reversal)" if posting.kind == "reverse" else what


def _answer(step: Step) -> str:
    parts = [str(step.body[name]) for name in ("reason", "reference", "note") if step.body.get(name)]
    return ", ".join(parts)
