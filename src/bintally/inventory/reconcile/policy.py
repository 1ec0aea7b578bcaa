"""The policy that a reconciliation of files judges by."""

from pathlib import Path

from bintally.bundle import CARD, find_bundle, read_card
from bintally.inventory.policy.acceptance import Acceptance
from bintally.inventory.policy.decide import Policy
from bintally.inventory.policy.settings import PolicySettings


def settings_of(policy: Path | None, promise: float | None) -> PolicySettings:
    """Settings of a TOML file (None: the defaults), with another promise if one is named.

    Raises:
        ConfigError: they are wrong.
    """
    settings = PolicySettings() if policy is None else PolicySettings.from_toml(policy)
    if promise is None:
        return settings
    return PolicySettings.of(settings.model_dump() | {"promised_escape": promise}, where="--promise")


def policy_of(bundle: Path | str | None, policy: Path | None, promise: float | None) -> Policy:
    """Those settings with a bundle's acceptance file.

    Raises:
        ConfigError: settings are wrong.
        BundleError: the bundle or its acceptance file can't be used.
    """
    folder = find_bundle(bundle)
    return Policy(settings_of(policy, promise), Acceptance.of_bundle(folder, read_card(folder / CARD)))
