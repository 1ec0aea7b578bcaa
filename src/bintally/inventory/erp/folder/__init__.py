"""Folder: corrections are dropped as files, for whatever picks them up there."""

from bintally.inventory.erp.folder.connector import FolderConnector
from bintally.inventory.erp.folder.settings import FolderSettings
from bintally.inventory.erp.kinds import ConnectorKind

__all__ = ["KIND", "FolderConnector", "FolderSettings"]

KIND = ConnectorKind(
    settings=FolderSettings, open=lambda settings, secret: FolderConnector(settings), takes_secret=False
)
