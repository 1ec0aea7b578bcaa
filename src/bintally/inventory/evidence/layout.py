"""Where things are in a bundle.

```
index.html                the correction for people; of several, a list of them
evidence.json             what is in here, and the head of the audit log
corrections/17.json       all that is known of decision 17 (`facts.Correction`); 17.html where there are several
photos/3f/3f0c...jpg      photos, by the SHA-256 of their bytes
policies/9a1b...json      policies, by the SHA-256 of their bytes
manifest.json             SHA-256 of each of those files: an in-toto statement
signature.dsse.json       who vouches for all of them, if it was signed
```
"""

from datetime import datetime
from typing import Any, Final

import msgspec

FORMAT: Final = "bintally evidence 1"
CONTENTS: Final = "evidence.json"
INDEX: Final = "index.html"
MANIFEST: Final = "manifest.json"


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A correction in a bundle: what the record said, what was counted. `value` of all changes, if each is known."""

    decision: int
    bin: str
    file: str
    page: str
    before: int
    after: int | None
    value: str | None
    state: str
    by: str
    made_at: datetime
    told: tuple[str, ...]  # stock systems, with the state of what they were told last


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle holds. `head`: the audit log's, as NUMBER:HASH, left aside lines about exports like this one."""

    format: str
    site: str
    currency: str
    head: str
    corrections: tuple[Listed, ...]


def correction_file(decision: int) -> str:
    """Where a correction's facts are."""
    return f"corrections/{decision}.json"


def correction_page(decision: int) -> str:
    """Where a correction's page is, in a bundle of several."""
    return f"corrections/{decision}.html"


def photo_file(sha256: str, suffix: str) -> str:
    """Where a photo is."""
    return f"photos/{sha256[:2]}/{sha256}{suffix}"


def policy_file(sha256: str) -> str:
    """Where a policy is."""
    return f"policies/{sha256}.json"


def plain_json(value: Any) -> bytes:
    """JSON that people can read: of the same value, the same bytes."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2) + b"\n"
