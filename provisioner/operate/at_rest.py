"""Kubernetes' encryption at rest: opens a value as an API server would, to prove that keys belong to data.

The form is that of k8s.io/apiserver (storage/value/encrypt/secretbox): `k8s:enc:secretbox:v1:NAME:`,
24 bytes of nonce, the box.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

_SECRETBOX = b"k8s:enc:secretbox:v1:"
_STORED = b"k8s\0"          # with which every object in etcd begins


class NotOpened(Exception):
    """No key opens a value, or we do not know how it was closed."""


def opened(value: bytes, config: bytes) -> bytes:
    """Return what a value is in the clear, by an EncryptionConfiguration; NotOpened says why it cannot be had."""
    if not value.startswith(b"k8s:enc:"):
        if value.startswith(_STORED):
            raise NotOpened("it is stored in the clear")
        raise NotOpened("it is no object of Kubernetes")
    if not value.startswith(_SECRETBOX):
        raise NotOpened(f"closed by {value.split(b':')[2].decode(errors='replace')}, which is not known here")
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    name, _, box = value.removeprefix(_SECRETBOX).partition(b":")
    keys = dict(_keys(config))
    key = name.decode(errors="replace")
    if key not in keys:
        raise NotOpened(f"closed with key {key}, there is {', '.join(keys) or 'none'}")
    try:
        plain = bytes(SecretBox(keys[key]).decrypt(box))
    except CryptoError:
        raise NotOpened(f"key {key} does not open it") from None
    if not plain.startswith(_STORED):
        raise NotOpened("what comes out is no object of Kubernetes")
    return plain


def _keys(config: bytes) -> Iterator[tuple[str, bytes]]:
    document: dict[str, Any] = json.loads(config)
    for of_resources in document.get("resources", ()):
        for provider in of_resources.get("providers", ()):
            for key in provider.get("secretbox", {}).get("keys", ()):
                yield str(key["name"]), base64.b64decode(key["secret"])
