"""A typed client of the service, sync and async: retries included, and no retry counts a photo twice."""
