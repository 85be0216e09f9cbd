"""A run from a bundle: it is checked whole and taken into the cache before a host is contacted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from provisioner.artifacts.cache import Cache
from provisioner.artifacts.supply import opened_bundle
from provisioner.model.inventory import Inventory


def packages_in(file: str, inventory: Inventory) -> Mapping[str, Path]:
    """Take a bundle, and return its archives of OS packages by system; refuses one that is damaged or lacks something.

    What it brings is in the cache then, where everything else finds it.
    """
    cache = Cache()
    found = opened_bundle(Path(file), inventory, cache)
    found.take(cache)
    return {packages.system: cache.path(packages.sha256) for packages in found.manifest.packages}
