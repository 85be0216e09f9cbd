from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.transport.connection import Connection
from provisioner.transport.target import Hop, Target
from tests.fakes.sshd import SSHD, Sshd, run_sshd

Login = Callable[..., Connection]


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not SSHD.exists():
        pytest.skip("openssh-server is not installed")
    with run_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def target(sshd: Sshd, tmp_path: Path) -> Callable[..., Target]:
    def make(name: str = "cp1", *, known_hosts: str | None = None, port: int | None = None,
             key: Path | None = None, jump: Hop | None = None, address: str = "127.0.0.1") -> Target:
        file = tmp_path / f"known_hosts-{name}"
        file.write_text(sshd.known_hosts if known_hosts is None else known_hosts)
        return Target(name, address, port or sshd.port, getpass.getuser(), "none", key or sshd.key, file, jump)
    return make


@pytest.fixture
def login(target: Callable[..., Target]) -> Iterator[Login]:
    opened: list[Connection] = []

    def connect(*args: str, **kwargs: object) -> Connection:
        opened.append(Connection(target(*args, **kwargs)))
        return opened[-1]
    yield connect
    for connection in opened:
        connection.close()
