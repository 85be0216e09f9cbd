"""Which kubewright this is."""

from __future__ import annotations


def own_version() -> str:
    """Return the version that is installed, or that it runs from a checkout."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("kubewright")
    except PackageNotFoundError:
        return "from a checkout"
