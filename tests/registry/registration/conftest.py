"""The same registries and bundles."""

from tests.registry.conftest import bundle, local, new_place, place, postgresql, registry

__all__ = ["bundle", "local", "new_place", "place", "postgresql", "registry"]
