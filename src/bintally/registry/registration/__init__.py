"""Registering a bundle: checked, copied, and written down with all that is known of where it comes from."""

from bintally.registry.registration.register import Registered, register

__all__ = ["Registered", "register"]
