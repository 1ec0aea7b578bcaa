"""The service follows a registry: it serves the champion, and takes the next one without failing a request."""
