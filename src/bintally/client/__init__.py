"""A typed client of the service, sync and async."""
