"""Counts meet records: the ledger, the decision, the review."""
