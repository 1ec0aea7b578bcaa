"""The HTTP front door and its page."""
