"""What is told of one check beside its name: how it asks, why, its limits, how to mend what it finds."""

from __future__ import annotations

from typing import NamedTuple


class Explained(NamedTuple):
    """In sentences; `how` names the command or the file, `limits` the figures with where each is from.

    `up` is what a run does besides refusing for an error and telling a warning.
    """

    how: str
    why: str
    fix: str
    limits: str = ""
    up: str = ""
