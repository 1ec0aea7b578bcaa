"""Webhook: corrections go to any address as signed events (Standard Webhooks, CloudEvents)."""

from bintally.inventory.erp.kinds import ConnectorKind
from bintally.inventory.erp.webhook.connector import WebhookConnector
from bintally.inventory.erp.webhook.settings import WebhookSettings

__all__ = ["KIND", "WebhookConnector", "WebhookSettings"]

KIND = ConnectorKind(settings=WebhookSettings, open=WebhookConnector)
