"""Migrations of the database, oldest first (`bintally.database.migrate` runs them)."""
