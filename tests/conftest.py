"""For all tests: one sshd to log in to, and Ctrl-C also where a shell runs them in its background.

Such a shell has SIGINT ignored.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.fakes.sshd import SSHD, Sshd, run_sshd

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Return an sshd that many tests log in to, each with files of its own."""
    if not SSHD.exists():
        pytest.skip("openssh-server is not installed")
    with run_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server
