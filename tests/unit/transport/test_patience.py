"""A connection that stood and was lost is found again by whoever can wait; nobody else waits for that."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.transport import connection as module
from provisioner.transport import remote
from provisioner.transport.connection import Connection
from provisioner.transport.faults import LOST, HostFault
from provisioner.transport.target import Target


@dataclass
class Line:
    """A host to log in to: `refusals` are the codes of the next logins' faults."""

    refusals: list[str] = field(default_factory=list)
    logins: list[Any] = field(default_factory=list)

    def login(self, *_: object) -> Any:
        if self.refusals:
            raise HostFault("w1", "connecting", "no", code=self.refusals.pop(0))
        self.logins.append(SimpleNamespace(is_connected=True, client=SimpleNamespace(close=lambda: None)))
        return self.logins[-1]

    def lose(self) -> None:
        self.logins[-1].is_connected = False


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    made = Line()
    monkeypatch.setattr(module, "login", made.login)
    monkeypatch.setattr(module, "RETRY", 0.01)
    return made


def connection() -> Connection:
    return Connection(Target("w1", "192.0.2.1", 22, "admin", "none", None, Path("known_hosts")))


def test_a_host_that_never_answered_is_not_waited_for(line: Line) -> None:
    line.refusals = ["timeout", "timeout"]
    with pytest.raises(HostFault):
        connection().open(patient=True)
    assert line.refusals == ["timeout"]


def test_a_login_that_stood_and_was_lost_is_tried_again_by_the_patient(line: Line) -> None:
    host = connection()
    host.open()
    line.lose()
    line.refusals = ["timeout", "refused", "no-route"]
    host.open(patient=True)
    assert host.is_open and len(line.logins) == 2


def test_who_is_not_patient_learns_it_at_once(line: Line) -> None:
    host = connection()
    host.open()
    line.lose()
    line.refusals = ["timeout", "timeout"]
    with pytest.raises(HostFault):
        host.open()
    assert line.refusals == ["timeout"]


def test_a_key_that_is_wrong_now_is_no_matter_of_time(line: Line) -> None:
    host = connection()
    host.open()
    line.lose()
    line.refusals = ["host-key-changed", "timeout"]
    with pytest.raises(HostFault, match="no"):
        host.open(patient=True)
    assert line.refusals == ["timeout"]


def test_patience_ends_and_is_not_had_twice_in_a_row(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    host = connection()
    host.open()
    line.lose()
    line.refusals = ["timeout"] * 1000
    with pytest.raises(HostFault):
        host.open(patient=True)
    left = len(line.refusals)
    assert 0 < left < 999
    with pytest.raises(HostFault):
        host.open(patient=True)
    assert len(line.refusals) == left - 1


def test_closing_ends_the_patience_of_others(line: Line) -> None:
    host = connection()
    host.open()
    line.lose()
    line.refusals = ["timeout"] * 1_000_000

    def wait() -> None:
        with pytest.raises(HostFault):
            host.open(patient=True)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while len(line.refusals) == 1_000_000:
        time.sleep(0.001)
    host.close()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_command_whose_connection_was_lost_is_asked_again_a_few_times_and_other_faults_are_not(line: Line) -> None:
    host, asked = connection(), []

    def ask(*codes: str) -> str:
        asked.append(1)
        if len(asked) <= len(codes):
            raise HostFault("w1", "asking", "no", code=codes[len(asked) - 1])
        return "answer"

    assert remote.attached(host, lambda: ask(LOST, LOST)) == "answer"
    for codes in ((LOST, LOST, LOST), ("command-timeout",)):
        asked.clear()
        with pytest.raises(HostFault) as caught:
            remote.attached(host, lambda codes=codes: ask(*codes))  # type: ignore[misc]
        assert len(asked) == len(codes)
        assert caught.value.hint.startswith("ping -M do") is (codes[0] == LOST), "logins are made, and answers are lost"
