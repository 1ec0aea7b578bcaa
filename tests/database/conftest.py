"""The same databases as the ledger's tests have."""

from tests.inventory.conftest import ledger, new_place, place, postgresql

__all__ = ["ledger", "new_place", "place", "postgresql"]
