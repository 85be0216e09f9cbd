"""`read`: the bytes of one file, for those we fetch (an operator's credentials)."""

from __future__ import annotations

import base64
import os
from typing import Any, Mapping

from . import files
from .host import Fault, Host

LIMIT = 16 << 20


def read(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a regular file's bytes as base64; a symlink is not followed."""
    path = host.at(request["path"])
    if os.lstat(path).st_size > LIMIT:
        raise Fault(f"{request['path']}: larger than {LIMIT} bytes")
    data, _ = files.read(path)
    return {"content": base64.b64encode(data).decode()}
