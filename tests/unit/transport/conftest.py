from __future__ import annotations

import getpass
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from provisioner.transport.connection import Connection
from provisioner.transport.target import Hop, Target
from tests.fakes.sshd import Sshd

Login = Callable[..., Connection]


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


@pytest.fixture
def breaks_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a call of a channel do its work and raise what paramiko does until it has seen that the peer is gone."""
    def let(call: str) -> None:
        real = getattr(paramiko.Channel, call)

        def broken(channel: paramiko.Channel) -> None:
            real(channel)
            raise EOFError
        monkeypatch.setattr(paramiko.Channel, call, broken)
    return let


@pytest.fixture
def said_by_threads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect what threads would print as they end by an exception."""
    said: list[object] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    return said
