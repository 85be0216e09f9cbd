"""Nodes of a test's own, in an instance of their own: this machine bears one cluster at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.lab.machines import NODES, ROOT, Lab


@contextmanager
def apart(kind: str, hosts: Sequence[str] = NODES) -> Iterator[Lab]:
    """Give a lab of which no node is there yet, named by the session and what it is for; it is down in the end.

    Whoever is given it changes the inventory, and brings the nodes up.
    """
    name = f"{os.environ.get('KUBEWRIGHT_TEST_LAB', 'test')}-{kind}"
    lab = Lab(ROOT / ".kubewright" / f"{name}-lab", name, hosts)
    lab.run("lab", "down")
    shutil.rmtree(lab.directory / ".kubewright", ignore_errors=True)
    lab.forget_credentials()
    try:
        yield lab
    finally:
        if "KUBEWRIGHT_TEST_KEEP" not in os.environ:
            lab.run("lab", "down")
