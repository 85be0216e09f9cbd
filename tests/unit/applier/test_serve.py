"""Many requests over one channel: each answered as if it had come alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import package, serve
from tests.unit.applier.support import FakeHost, file_change

PATIENCE = 20.0


class Served:
    """The real zipapp that serves in a process of its own."""

    def __init__(self, box: FakeHost) -> None:
        argv = package.argv("serve")
        self.process = subprocess.Popen([*argv[:-1], "--root", str(box.root), "serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.send(package.frame({}))
        assert self.line() == {"ready": True}

    def send(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def order(self, number: int, command: str, request: dict[str, Any]) -> None:
        self.send(f"{number} {command}\n{json.dumps(request)}\n".encode())

    def line(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline() or b"null")

    def answer(self) -> tuple[dict[str, Any], Any]:
        """Return the next answer: how a request ended, and what it said."""
        while "rc" not in (head := self.line()):
            pass
        said = (self.process.stdout.readline() if self.process.stdout else b"").strip()
        return head, json.loads(said) if said else None

    def end(self) -> int:
        if self.process.stdin:
            self.process.stdin.close()
        return self.process.wait(PATIENCE)


@pytest.fixture
def served(box: FakeHost) -> Iterator[Served]:
    one = Served(box)
    yield one
    one.process.kill()
    one.process.wait(PATIENCE)


def waiting(path: str) -> dict[str, Any]:
    """Return a request that is answered once there is something at `path`."""
    return {"probes": [{"name": "there", "kind": "file", "path": path}], "deadline": PATIENCE, "interval": 0.01}


def test_a_request_is_answered_as_if_it_had_come_alone(box: FakeHost, served: Served) -> None:
    box.put("/etc/a", "text")
    request = {"items": [{"kind": "file", "path": "/etc/a"}]}
    served.order(7, "observe", request)
    assert served.line() == {"id": 7, "begun": True}
    assert served.answer() == ({"id": 7, "rc": 0, "err": ""}, box.send("observe", request))


def test_a_request_that_waits_holds_up_no_other(box: FakeHost, served: Served) -> None:
    served.order(1, "probe", waiting("/late"))
    served.order(2, "notes", {})
    assert served.answer()[0]["id"] == 2
    box.put("/late", "")
    head, answer = served.answer()
    assert (head["id"], answer["ok"]) == (1, True)


def test_a_refusal_and_a_fault_have_their_exit_status_and_words(box: FakeHost, served: Served) -> None:
    box.send("fence", {"epoch": 5})
    served.order(1, "fence", {"epoch": 4})
    head, answer = served.answer()
    assert (head["rc"], answer["status"]) == (14, "fenced")
    served.order(2, "observe", {"items": [{"kind": "no such", "path": "/"}]})
    assert served.answer() == ({"id": 2, "rc": 1, "err": "applier: unknown kind: 'no such'\n"}, None)


def test_a_bug_in_one_request_is_told_and_ends_no_other(served: Served) -> None:
    served.order(1, "probe", {"probes": 3})
    served.order(2, "notes", {})
    ended = {head["id"]: head for head, _ in (served.answer(), served.answer())}
    assert (ended[1]["rc"], ended[2]["rc"]) == (serve.BROKE, 0)
    assert "TypeError" in ended[1]["err"]


def test_a_step_runs_from_a_copy_of_the_program_as_it_was_sent(box: FakeHost, served: Served) -> None:
    served.order(1, "apply", {"step": "s", "changes": [file_change("/etc/a", "1")]})
    head, answer = served.answer()
    assert (head["rc"], answer["status"], box.path("/etc/a").read_text()) == (0, "done", "1")
    assert [p.stem for p in box.path("/var/lib/kubewright/applier").iterdir()] == [
        hashlib.sha256(package.build_zipapp()).hexdigest()]


@pytest.mark.parametrize("how", ["it is dropped", "stdin ends", "the one that serves is killed"])
def test_a_request_that_waits_ends_once_nobody_waits_for_it(served: Served, how: str) -> None:
    served.order(1, "probe", waiting("/never"))
    assert served.line() == {"id": 1, "begun": True}
    waits = children(served.process.pid)
    assert len(waits) == 1
    if how == "it is dropped":
        served.send(b"1 drop\n\n")
    elif how == "stdin ends":
        assert served.end() == 0
    else:
        served.process.kill()
        served.process.wait(PATIENCE)
    end = time.monotonic() + PATIENCE / 2
    while any(is_alive(pid) for pid in waits) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in waits)
    if how == "it is dropped":
        served.order(2, "notes", {})
        assert served.answer()[0]["id"] == 2


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_order_that_comes_in_pieces_is_taken_as_one(served: Served) -> None:
    for piece in (b"\n\n1 no", b"tes\n", b"{", b"}\n\n2 notes\n{}\n3 not"):
        served.send(piece)
        time.sleep(0.05)
    assert sorted([served.answer()[0]["id"], served.answer()[0]["id"]]) == [1, 2]
    served.send(b"es\n{}\n")
    assert served.answer()[0]["id"] == 3


@pytest.mark.parametrize("says", [True, False])
def test_it_lives_on_words_that_ask_nothing_and_ends_without_any(box: FakeHost, says: bool) -> None:
    program = ("import sys; sys.path.insert(0, sys.argv[1]); from applier import serve; from applier.host import Host; "
               "serve.PATIENCE = 1.0; serve.Service(Host(sys.argv[2])).run()")
    with subprocess.Popen([sys.executable, "-c", program, str(Path(serve.__file__).parent.parent), str(box.root)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        assert json.loads(process.stdout.readline()) == {"ready": True}
        for _ in range(8):
            time.sleep(0.25)
            if says:
                process.stdin.write(b"\n")
                process.stdin.flush()
        assert (process.poll() is None) == says


def test_an_answer_that_nobody_reads_yet_holds_up_no_other_process(box: FakeHost, served: Served) -> None:
    box.put("/large", "x" * 3_000_000)
    box.put("/small", "")
    for number in range(1, 4):
        served.order(number, "read", {"paths": ["/large"]})
    time.sleep(0.5)
    served.order(4, "own", {"items": [], "step": "s", "epoch": None, "leaves": []})
    done = time.monotonic() + PATIENCE
    while not (box.root / "var/lib/kubewright").exists() and time.monotonic() < done:
        time.sleep(0.02)
    assert (box.root / "var/lib/kubewright").exists(), "it was begun, whoever reads the others' answers"
    assert sorted(served.answer()[0]["id"] for _ in range(4)) == [1, 2, 3, 4]
