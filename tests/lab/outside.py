"""Load from outside of all nodes, as a client on another machine has it: it goes on while any of them is rebooted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.lab.load import VIP, Load, reads, writes
from tests.lab.machines import Lab
from tests.lab.witness import admin_files

HERE = "--here"     # of `lab exec`: this machine, inside the lab's network


@contextmanager
def load(lab: Lab, *more: Mapping[str, Any]) -> Iterator[Load]:
    """Ask through the VIP during the block, and write, and more: all by an administrator's files, which lie here."""
    with admin_files(lab) as files:
        own = {name: str(place) for name, place in files.items()}
        with Load(lab, HERE, [{**one, **own} for one in (reads(VIP), writes(0), *more)]) as running:
            yield running
