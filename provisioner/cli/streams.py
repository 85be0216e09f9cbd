"""Standard streams that nobody reads any more."""

from __future__ import annotations

import os


def to_nothing(descriptor: int) -> None:
    """Let what is written there go nowhere: each further word, and the flush at exit, would be a fault."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
