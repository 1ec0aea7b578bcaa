"""Settings of a connection to ERPNext."""

from typing import Literal

from pydantic import Field

from bintally.config import Config
from bintally.inventory.erp.http import Address


class ErpNextSettings(Config):
    """How ERPNext is reached, and where its bins are. The user's API secret is the connection's secret."""

    url: Address
    """Of the site, such as https://example.frappe.cloud."""

    api_key: str = Field(min_length=1, pattern=r"^[^:\s]+$")
    """Of a user with the role Stock Manager; the API secret that was made with it is no setting."""

    company: str = Field(min_length=1)
    """Whose stock it is."""

    parent: str | None = Field(default=None, min_length=1)
    """Name of the group warehouse under which the bins are, such as "Stores - D"; None: all of the company's."""

    bins_by: Literal["warehouse_name", "name"] = "warehouse_name"
    """What of a warehouse is the bin's code here: A-1, or "A-1 - D", with the company's abbreviation."""

    key_field: str = Field(default="bintally_key", pattern=r"^[a-z][a-z0-9_]*$")
    """The custom field of Stock Reconciliation that holds a posting's key."""

    timeout_s: float = Field(default=60.0, gt=0, le=600)
    """What one call may take."""
