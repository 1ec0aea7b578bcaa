"""Settings of a connection to Odoo."""

from typing import Literal

from pydantic import Field

from bintally.config import Config
from bintally.inventory.erp.http import Address


class OdooSettings(Config):
    """How Odoo is reached, and where its bins are. An API key of the user is the connection's secret."""

    url: Address
    """Of the server, such as https://example.odoo.com; without the database."""

    database: str = Field(min_length=1, pattern=r"^[^/?#]+$")
    """Its name there."""

    user: str = Field(min_length=1)
    """Login of a user of the group Inventory / Administrator, in one company."""

    api: Literal["jsonrpc", "json2"] = "jsonrpc"
    """JSON-RPC is answered by Odoo 16 to 19, JSON-2 by 19 and later, where JSON-RPC will go."""

    location: str | None = Field(default=None, min_length=1)
    """Full name of the location under which the bins are, such as WH/Stock; None: all internal and transit ones."""

    bins_by: Literal["barcode", "complete_name", "name"] = "barcode"
    """What of a location is the bin's code here."""

    products_by: Literal["default_code", "barcode"] = "default_code"
    """What of a product (variant) is the SKU here: its internal reference, or its barcode."""

    look_back_days: int = Field(default=365, ge=30)
    """How old the stock moves are at most among which a posting is looked for that was sent before."""

    timeout_s: float = Field(default=60.0, gt=0, le=600)
    """What one call may take."""
