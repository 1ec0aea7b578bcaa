"""Odoo: corrections become counts of its Physical Inventory (`stock.quant`), and those its inventory adjustments.

Written from Odoo's documentation and source, and tested against a server that was written from them too, not against
Odoo itself.
"""

from bintally.inventory.erp.kinds import ConnectorKind
from bintally.inventory.erp.odoo.connector import OdooConnector
from bintally.inventory.erp.odoo.settings import OdooSettings

__all__ = ["KIND", "OdooConnector", "OdooSettings"]

KIND = ConnectorKind(settings=OdooSettings, open=OdooConnector)
