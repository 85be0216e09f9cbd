"""Secrets are names until the moment they are written: a SecretRef never holds the bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

INDEX = "index.json"        # of the secrets that a cluster is made with, beside them


@dataclass(frozen=True)
class SecretRef:
    """The name of a secret in the inventory's store, with the keyed digest that lets a plan compare without it.

    All are hex and may be shown to anyone: digest = HMAC-SHA256(hmac_key, secret bytes), stamp = HMAC-SHA256(hmac_key,
    hex SHA-256 of the bytes), which a host can make of what it knows of a unit's start. An index of before has none.
    """

    name: str
    hmac_key: str = ""
    digest: str = ""
    stamp: str = ""


Resolve = Callable[[str], bytes]
"""Gives the bytes of a secret by its name; orchestrate hands it to converge, nobody keeps the result."""
