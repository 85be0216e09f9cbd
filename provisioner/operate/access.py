"""The way to a server of the cluster that wants to know who we are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from provisioner.errors import KubewrightError


@dataclass(frozen=True)
class Access:
    """Where a server answers (a tunnel's local end) and who we are there: files that lie 0600 in the run directory.

    `refusal` returns why the way itself is closed, where that is known: the client sees only a socket that closes.
    """

    address: tuple[str, int]
    ca_file: Path
    cert_file: Path
    key_file: Path
    refusal: Callable[[], KubewrightError | None] = lambda: None

    def blame(self, fault: KubewrightError) -> KubewrightError:
        """Return why the way is closed, or `fault` where it is open."""
        return self.refusal() or fault
