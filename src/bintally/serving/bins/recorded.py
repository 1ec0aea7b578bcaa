"""A record that is given with a photo of no known bin: judged without a ledger, as `bintally reconcile` does."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from bintally.bundle import Card
from bintally.inventory.verdict import Verdict
from bintally.records import CountEstimate

if TYPE_CHECKING:
    from bintally.counting.counter import Counter
    from bintally.inventory.policy.cases import Cases
    from bintally.inventory.policy.decide import Policy

_CLASS: Final = "C"  # of a record that names none, as in files
_DIGITS: Final = 4  # of probabilities in answers: whoever judges an answer by `reconcile` has no more


class RecordJudge:
    """Judges records by photos alone. `settings`: the policy's TOML file; None: the defaults.

    The policy is made when it is first needed, since its libraries take 0.2 s to import.
    """

    def __init__(self, settings: Path | None = None) -> None:
        self._settings = settings
        # By the loaded model, not its digest: a reload may bring the same one with another acceptance file.
        self._made: WeakKeyDictionary[Counter, tuple[Policy, Policy]] = WeakKeyDictionary()

    def verdict(self, counter: "Counter", photo: bytes, estimate: CountEstimate, recorded_count: int) -> Verdict:
        """What is thought of `recorded_count`, by what `counter`'s model saw on `photo`.

        Raises:
            ConfigError: the policy's settings are wrong.
            BundleError: the bundle's acceptance file can't be used.
        """
        from bintally.inventory.policy.words import verdict_of

        promising, silent = self.policies(counter)
        # Promises are made for all counts that the model knows, none for some of them.
        policy = promising if tuple(estimate.probabilities) == counter.card.count_keys else silent
        lot = f"{hashlib.sha256(photo).hexdigest()} {recorded_count}"
        return verdict_of(policy.decide(_case(policy, counter.card, estimate, recorded_count, lot)), 0)

    def policies(self, counter: "Counter") -> "tuple[Policy, Policy]":
        """The policy with what was calibrated for the model, and the same without.

        Raises:
            ConfigError, BundleError: as `verdict`.
        """
        if counter not in self._made:
            from bintally.inventory.policy.acceptance import Acceptance
            from bintally.inventory.policy.decide import Policy
            from bintally.inventory.policy.settings import PolicySettings

            settings = PolicySettings() if self._settings is None else PolicySettings.from_toml(self._settings)
            acceptance = Acceptance.of_bundle(counter.bundle.folder, counter.card)
            self._made[counter] = Policy(settings, acceptance), Policy(settings, None)
        return self._made[counter]


def _case(policy: "Policy", card: Card, estimate: CountEstimate, recorded_count: int, lot: str) -> "Cases":
    import numpy as np

    from bintally.inventory.policy.cases import CLASSES, KINDS, Bar, Cases, draw_of

    keys = tuple(estimate.probabilities)
    shares_k = np.array([round(share, _DIGITS) for share in estimate.probabilities.values()], np.float32)
    shares_k /= np.maximum(shares_k.sum(), 1e-9)
    prior_k = np.array([card.target_prior[key] for key in keys])
    if not prior_k.any():
        prior_k = np.ones(len(keys))
    return Cases(
        keys=keys,
        probabilities_nk=shares_k[None],
        prior_nk=prior_k[None] / prior_k.sum(),
        recorded_n=np.array([recorded_count]),
        kind_n=np.array([KINDS.index("photo")], np.uint8),
        wrong_n=np.array([policy.settings.wrong_records]),
        unit_value_n=np.array([np.nan]),
        class_n=np.array([CLASSES.index(_CLASS)], np.uint8),
        derived_n=np.array([False]),
        bar_n=np.array([Bar.NONE if estimate.abstain is None else Bar.NO_BIN], np.uint8),
        draw_n=np.array([draw_of(lot)], np.uint64),
        said_n=np.array([np.nan]),
    )
