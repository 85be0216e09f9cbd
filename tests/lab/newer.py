"""The lab's Kubernetes and a newer one: a cluster of the older that serves, an inventory that asks for the newer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.machines import Lab
from tests.lab.served import serves

OLDEST, FROM, TO = "1.35.4", "1.36.3", "1.37.2"
SERVED = "served"
BUILDING = 3600     # seconds for a Kubernetes from empty caches: 1,949 on two cores that labs kept busy


def ask_for(lab: Lab, version: str, before: str = FROM) -> None:
    """Name another version than `before` in the inventory, and pin what goes with it."""
    text = lab.file.read_text(encoding="utf-8")
    assert f'kubernetes: "{before}"' in text
    lab.file.write_text(text.replace(f'kubernetes: "{before}"', f'kubernetes: "{version}"'), encoding="utf-8")
    lab.run("artifacts", "build", "--write-lock", timeout=BUILDING)


@contextmanager
def older(lab: Lab) -> Iterator[Lab]:
    """Let a Deployment `served` stand on the older version; the lock and the kubectl that go with that are put back."""
    lock = lab.directory / "artifacts.lock"
    before = lock.read_bytes()
    serves(lab, SERVED)
    yield lab
    lock.write_bytes(before)
    (lab.directory / "kubectl").unlink(missing_ok=True)
