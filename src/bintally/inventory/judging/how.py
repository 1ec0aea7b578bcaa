"""How bins are judged: a model, what the site's bins are like, and a policy; opened once, for any number of bins."""

import hashlib
import json
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Self

import msgspec
from sqlalchemy import Connection

from bintally.bundle import Bundle, Card, find_bundle
from bintally.counting.counter import Counter
from bintally.counting.event_lines import settings_of
from bintally.counting.follow_settings import FollowSettings
from bintally.database.types import now
from bintally.errors import ConfigError, did_you_mean
from bintally.inventory import schema
from bintally.inventory.judging.rows import add_missing
from bintally.inventory.policy.acceptance import Acceptance
from bintally.inventory.policy.decide import Policy
from bintally.inventory.policy.settings import PolicySettings

_SECTION = "follow"


class How:
    """The parts of a judgement. The network is loaded when it is first needed, or shared: `counter`."""

    def __init__(self, bundle: Bundle, policy: Policy, follow: FollowSettings, counter: Counter | None = None) -> None:
        self.bundle, self.policy, self.follow = bundle, policy, follow
        self._counter = counter

    @classmethod
    def open(
        cls,
        bundle: Path | str | Counter | None = None,
        policy: Path | str | Policy | None = None,
        follow: Path | str | FollowSettings | None = None,
    ) -> Self:
        """`bundle` as `find_bundle` has it, or a loaded model, whose network is then shared.

        `policy`: settings and what was calibrated, or a TOML file of settings; None: the defaults. Without a `Policy`
        the bundle's own acceptance file says what was calibrated. `follow`: what the site's bins are like, or a TOML
        file with a section `[follow]`; None: the defaults, with the bundle's mix of counts.

        Raises:
            BundleError: the bundle or its acceptance file can't be used.
            ConfigError: settings are wrong.
        """
        counter = bundle if isinstance(bundle, Counter) else None
        opened = Bundle.open(find_bundle(bundle)) if not isinstance(bundle, Counter) else bundle.bundle
        if not isinstance(policy, Policy):
            settings = PolicySettings() if policy is None else PolicySettings.from_toml(Path(policy))
            policy = Policy(settings, Acceptance.of_bundle(opened.folder, opened.card))
        if not isinstance(follow, FollowSettings):
            follow = follow_settings(None if follow is None else Path(follow), opened.card)
        return cls(opened, policy, follow, counter)

    @property
    def card(self) -> Card:
        """The model's card."""
        return self.bundle.card

    @cached_property
    def counter(self) -> Counter:
        """The loaded model."""
        return self._counter or Counter(self.bundle.folder)

    @cached_property
    def follow_json(self) -> bytes:
        """What bins are like, as it goes into fingerprints."""
        return msgspec.json.encode(self.follow, order="sorted")

    @cached_property
    def policy_json(self) -> str:
        """The policy as the ledger keeps it."""
        acceptance = self.policy.acceptance
        told = {
            "settings": self.policy.settings.model_dump(mode="json"),
            "acceptance": None if acceptance is None else msgspec.to_builtins(acceptance),
        }
        return json.dumps(told, sort_keys=True)

    @cached_property
    def policy_sha256(self) -> str:
        """The policy's name in the ledger."""
        return hashlib.sha256(self.policy_json.encode()).hexdigest()

    @cached_property
    def sha256(self) -> str:
        """Of all that decides a judgement beside the facts."""
        told = [self.card.model_sha256, self.follow_json.decode(), self.policy_sha256]
        return hashlib.sha256(msgspec.json.encode(told)).hexdigest()

    def store_policy(self, connection: Connection) -> None:
        """Keeps the policy in the ledger, once."""
        row = {"sha256": self.policy_sha256, "body": self.policy_json, "made_at": now()}
        add_missing(connection, schema.Policy, [row], unique=("sha256",))


def follow_settings(path: Path | None, card: Card) -> FollowSettings:
    """What a site's bins are like: the section `[follow]` of a TOML file, the card's mix of counts where it has none.

    Raises:
        ConfigError: no such file, no TOML, or an unknown or wrong setting.
    """
    values = {} if path is None else _section(path)
    settings = settings_of(values, where="" if path is None else f"{path}: ")
    return settings if "start" in values else msgspec.structs.replace(settings, start=dict(card.target_prior))


def _section(path: Path) -> dict[str, object]:
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} can't be read as TOML: {error}.", hint="Look at its name and that line.") from None
    if unknown := values.keys() - {_SECTION}:
        name = min(unknown)
        raise ConfigError(f"{path}: there is no section {name!r}.", hint=did_you_mean(name, [_SECTION]))
    section: dict[str, object] = values.get(_SECTION, {})
    return section
