"""Tryton: corrections become its inventories (`stock.inventory`), over JSON-RPC. Nothing of Tryton is imported."""

from bintally.inventory.erp.kinds import ConnectorKind
from bintally.inventory.erp.tryton.connector import TrytonConnector
from bintally.inventory.erp.tryton.settings import TrytonSettings

__all__ = ["KIND", "TrytonConnector", "TrytonSettings"]

KIND = ConnectorKind(settings=TrytonSettings, open=TrytonConnector)
