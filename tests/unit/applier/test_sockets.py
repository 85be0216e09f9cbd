"""Programs behind unix sockets: asked a line, read to their end."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.applier import sockets, states
from provisioner.applier.host import Fault, Host
from provisioner.model.desired import Socket
from tests.unit.applier.support import FakeHost


class Program:
    """Listens at `/s` below a root of a short name (108 bytes are all that a socket's path may have)."""

    def __init__(self, root: Path) -> None:
        self.host = Host(str(root))
        self.said: list[str] = []
        self.answer: Callable[[str], list[bytes]] = lambda line: [f"{line}!".encode()]
        self.hold = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(root / "s"))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            with stream:
                line = stream.makefile().readline().rstrip("\n")
                self.said.append(line)
                for part in self.answer(line):
                    stream.sendall(part)
                if line == "hang":
                    self.hold.wait(30)

    def close(self) -> None:
        self.hold.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def program() -> Iterator[Program]:
    with tempfile.TemporaryDirectory(prefix="kw-") as root:
        one = Program(Path(root))
        yield one
        one.close()


def test_each_line_is_asked_on_a_connection_of_its_own_and_answers_come_in_order(program: Program) -> None:
    program.answer = lambda line: [line.encode(), b" " * 70_000, b"end"]
    answer = sockets.rounds(program.host, {"path": "/s", "lines": ["one", "two"]})
    assert program.said == ["one", "two"]
    assert [[(a[:3], a[-3:]) for a in r] for r in answer["rounds"]] == [[("one", "end"), ("two", "end")]]


def test_the_rounds_after_the_first_ask_other_lines_and_end_once_what_is_waited_for_is_said(program: Program) -> None:
    said = iter(["down", "down", "cp1 up"])
    program.answer = lambda line: [next(said).encode() if line == "show" else b"done"]
    answer = sockets.rounds(program.host, {"path": "/s", "lines": ["set", "show"], "again": ["show"], "for": 60,
                                           "every": 0.01, "until": ["^cp1 up$"]})
    assert answer["rounds"] == [["done", "down"], ["down"], ["cp1 up"]]
    assert program.said == ["set", "show", "show", "show"]


def test_what_is_said_at_once_is_not_waited_for_and_what_is_never_said_ends_with_its_time(program: Program) -> None:
    asked = {"path": "/s", "lines": ["x"], "every": 0.05}
    assert sockets.rounds(program.host, {**asked, "for": 60, "until": ["^x!$"]})["rounds"] == [["x!"]]
    answer = sockets.rounds(program.host, {**asked, "for": 0.2, "until": ["^x!$", "never"]})
    assert answer["seconds"] >= 0.2 and len(answer["rounds"]) >= 2


def test_a_series_lasts_at_least_as_long_as_was_asked(program: Program) -> None:
    answer = sockets.rounds(program.host, {"path": "/s", "lines": ["x"], "for": 2, "every": 0.05})
    assert len(answer["rounds"]) >= 3
    assert answer["seconds"] >= 2


def test_a_first_round_that_takes_long_is_not_the_last(program: Program) -> None:
    """Counts are compared between the first and the last round, so one round would compare nothing."""
    program.answer = lambda line: [time.sleep(0.3) or b"slow"]
    answer = sockets.rounds(program.host, {"path": "/s", "lines": ["x"], "for": 0.1, "every": 0.05})
    assert len(answer["rounds"]) >= 2


def test_a_line_that_holds_another_is_refused_and_not_sent(program: Program) -> None:
    with pytest.raises(Fault, match="more than one line"):
        sockets.ask(program.host, "/s", "show info\nshutdown")
    assert program.said == []


@pytest.mark.parametrize("limit", ["LIMIT", "TIMEOUT"])
def test_an_answer_without_end_is_a_fault(program: Program, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(sockets, limit, 0.2 if limit == "TIMEOUT" else 10)
    program.answer = lambda line: [b"x" * 20]
    began = time.monotonic()
    with pytest.raises((Fault, TimeoutError)):
        sockets.ask(program.host, "/s", "hang")
    assert time.monotonic() - began < 9


def test_what_a_program_says_is_seen_with_everything_else_that_is_observed(program: Program) -> None:
    def see(path: str) -> tuple[str, object]:
        return states.Look(program.host).see(Socket(path=path, phase="prepare", line="hello").spec())

    assert see("/s") == ("answers", {"text": "hello!"})
    assert see("/none") == ("absent", {})
    Path(program.host.at("/file")).write_text("no socket")
    assert see("/file")[0] == "absent"


def test_a_program_that_says_nothing_keeps_no_observation_back(
        program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "TIMEOUT", 0.1)
    spec = Socket(path="/s", phase="prepare", line="hang").spec()
    assert states.Look(program.host).see(spec)[0] == "silent"


def test_where_nobody_listens_the_command_is_a_fault(box: FakeHost) -> None:
    assert "No such file" in box.call("socket", {"path": "/run/x.sock", "lines": ["x"]}, status=1)
