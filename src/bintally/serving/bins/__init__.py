"""Bins that are known: what records and the ledger say of a photo, and photos that wait until the ledger is back."""
