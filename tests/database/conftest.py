"""The same databases as the ledger's tests have."""

from tests.inventory.conftest import bare_place, ledger, new_place, place

__all__ = ["bare_place", "ledger", "new_place", "place"]
