"""Load from outside of all nodes, as a client on another machine has it: it goes on while any of them is rebooted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.load import VIP, Load, reads, writes
from tests.lab.machines import Lab
from tests.lab.witness import admin_files

HERE = "--here"     # of `lab exec`: this machine, inside the lab's network


@contextmanager
def load(lab: Lab) -> Iterator[Load]:
    """Ask through the VIP during the block, and write: both by an administrator's files, which lie on this machine."""
    with admin_files(lab) as files:
        own = {name: str(place) for name, place in files.items()}
        with Load(lab, HERE, [reads(VIP) | own, writes(0) | own]) as running:
            yield running
