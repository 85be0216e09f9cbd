"""Secrets are names until the moment they are written: a SecretRef never holds the bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class SecretRef:
    """The name of a secret in the inventory's store, with the keyed digest that lets a plan compare without it.

    `hmac_key` and `digest` are hex: digest = HMAC-SHA256(hmac_key, secret bytes). Both may be shown to anyone.
    """

    name: str
    hmac_key: str = ""
    digest: str = ""


Resolve = Callable[[str], bytes]
"""Gives the bytes of a secret by its name; orchestrate hands it to converge, nobody keeps the result."""
