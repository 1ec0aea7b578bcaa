"""Settings of a connection to Tryton."""

import httpx2
from pydantic import Field, field_validator

from bintally.config import Config


class TrytonSettings(Config):
    """How Tryton is reached, and where its bins are. The password is the connection's secret."""

    url: str
    """Of the server, such as https://tryton.example.com; without the database."""

    database: str = Field(min_length=1, pattern=r"^[^/?#]+$")
    """Its name there."""

    user: str = Field(min_length=1, pattern=r"^[^:]+$")
    """Login of a user of the group Stock, who has a company."""

    location: str | None = Field(default=None, min_length=1)
    """Code of the warehouse, zone or view whose storage locations are the bins; None: all storage locations."""

    batch_size: int = Field(default=50, ge=1, le=500)
    """Inventories in one call."""

    look_back_days: int = Field(default=365, ge=30)
    """How old the inventories are at most among which a posting is looked for that was sent before."""

    timeout_s: float = Field(default=60.0, gt=0, le=600)
    """What one call may take. The first one after a start of Tryton takes some seconds."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            parsed = httpx2.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
            raise ValueError("no address of a server, such as https://tryton.example.com, without user and password")
        return url.rstrip("/")
