"""API keys: made and revoked by a command, kept as hashes, looked up by the service."""
