"""Settings of a connection to Tryton."""

from pydantic import Field

from bintally.config import Config
from bintally.inventory.erp.http import Address


class TrytonSettings(Config):
    """How Tryton is reached, and where its bins are. The password is the connection's secret."""

    url: Address
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
