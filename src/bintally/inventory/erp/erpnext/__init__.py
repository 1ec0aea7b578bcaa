"""ERPNext: corrections become its Stock Reconciliations, over the REST API of Frappe.

Written from the documentation and source of ERPNext and Frappe, and tested against a server that was written from them
too, not against ERPNext itself.
"""

from bintally.inventory.erp.erpnext.connector import ErpNextConnector
from bintally.inventory.erp.erpnext.settings import ErpNextSettings
from bintally.inventory.erp.kinds import ConnectorKind

__all__ = ["KIND", "ErpNextConnector", "ErpNextSettings"]

KIND = ConnectorKind(settings=ErpNextSettings, open=ErpNextConnector)
