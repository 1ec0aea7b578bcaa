"""The same registries and bundles."""

from tests.registry.conftest import bare_place, bundle, local, new_place, place, registry

__all__ = ["bare_place", "bundle", "local", "new_place", "place", "registry"]
