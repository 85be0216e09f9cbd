"""Results told line by line, to a reader who may be slow, or gone."""

from __future__ import annotations

import json
import os
import select
from typing import Any, Mapping


def write(descriptor: int, line: Mapping[str, Any], patience: float) -> None:
    """Write one line of JSON as the reader takes it; OSError where he takes nothing for too long, or is gone."""
    data = (json.dumps(line, separators=(",", ":")) + "\n").encode()
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    while data:
        ready = room.poll(patience * 1000)
        if not ready or ready[0][1] & (select.POLLERR | select.POLLHUP):
            raise TimeoutError("nobody reads")
        data = data[os.write(descriptor, data[:select.PIPE_BUF]):]
