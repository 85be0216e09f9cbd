"""What is sent to a host that keeps the applier, over a real sshd, with the real applier below a directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import package
from provisioner.transport import remote
from provisioner.transport.connection import Connection
from provisioner.transport.remote import SshHost
from provisioner.transport.streams import Completed
from tests.unit.transport.conftest import Login

WHOLE, SHORT = "the program and the request", "the request"


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the applier work below `root`, and say what each command was sent."""
    seen: list[str] = []
    root, run = tmp_path / "root", Connection.run
    root.mkdir()

    def argv(command: str, kept: str = "") -> list[str]:
        return [*package.argv(command, kept)[:-1], "--root", str(root), command]

    def counted(self: Connection, argv: Sequence[str], stdin: bytes = b"", **more: Any) -> Completed:
        seen.append(WHOLE if package.build_zipapp() in stdin else SHORT)
        return run(self, argv, stdin, **more)

    monkeypatch.setattr(remote, "argv", argv)
    monkeypatch.setattr(Connection, "run", counted)
    return seen


def copy_on(tmp_path: Path) -> Path:
    found, = (tmp_path / "root/var/lib/kubewright/applier").iterdir()
    return found


def test_a_host_that_keeps_the_program_is_not_sent_it_again(login: Login, sent: list[str], tmp_path: Path) -> None:
    host = SshHost(login())
    host.observe([])
    assert list((tmp_path / "root").iterdir()) == [], "looking leaves nothing"
    host.fence(1)
    host.observe([])
    host.lock({"do": "read"})
    host.probe([], 1.0)
    assert sent == [WHOLE, WHOLE, SHORT, SHORT, SHORT]
    sent.clear()
    later = SshHost(login())
    later.observe([])
    later.notes()
    assert sent == [WHOLE, SHORT]


def test_a_copy_that_is_gone_is_sent_once_more_and_the_request_takes_effect_once(
        login: Login, sent: list[str], tmp_path: Path) -> None:
    host = SshHost(login())
    host.fence(1)
    copy_on(tmp_path).unlink()
    sent.clear()
    host.note("run1", [{"what": "drained"}])
    host.note("run1", [{"what": "uncordoned"}])
    assert sent == [SHORT, WHOLE, WHOLE]
    assert [act["what"] for act in host.notes()["run1"]] == ["drained", "uncordoned"]


def test_a_host_that_says_nothing_of_a_copy_is_sent_the_program(login: Login, sent: list[str]) -> None:
    host = SshHost(login())
    host.fence(5)
    host.fence(4)
    host.fence(6)
    assert sent == [WHOLE, SHORT, SHORT], "a refusal says nothing of it"
