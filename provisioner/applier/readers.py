"""`read`: the bytes of files, for those we fetch (an operator's credentials)."""

from __future__ import annotations

import base64
import os
from typing import Any, Mapping

from . import files
from .host import Fault, Host

LIMIT = 16 << 20


def read(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return regular files' bytes as base64, all or none; a symlink is not followed."""
    return {"contents": [base64.b64encode(_bytes(host, path)).decode() for path in request["paths"]]}


def _bytes(host: Host, name: str) -> bytes:
    path = host.at(name)
    if os.lstat(path).st_size > LIMIT:
        raise Fault(f"{name}: larger than {LIMIT} bytes")
    data, _ = files.read(path)
    return data
