"""Bins that are known: what the ledger says of a photo, and photos that wait while it is away."""
