"""Applier commands over a real sshd, with the real applier where it only reads."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest

from provisioner.applier.package import argv
from provisioner.errors import KubewrightError, LockHeld, Unreachable
from provisioner.model.desired import Artifact, File
from provisioner.transport import packing, remote
from provisioner.transport.answers import clock_off
from provisioner.transport.connection import Connection
from provisioner.transport.pool import Pool
from provisioner.transport.remote import SshHost, SshHosts
from provisioner.transport.streams import Completed
from tests.unit.transport.conftest import Login


def answering(monkeypatch: pytest.MonkeyPatch, rc: int, stdout: bytes = b"", stderr: bytes = b"") -> None:
    monkeypatch.setattr(Connection, "ask", lambda *a, **k: None)
    monkeypatch.setattr(Connection, "stream", lambda *a, **k: Completed(rc, stdout, stderr))


def test_the_real_applier_reads_files(login: Login, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x00bytes")
    (tmp_path / "b").write_bytes(b"others")
    assert SshHost(login()).read([str(tmp_path / "b"), str(tmp_path / "a")]) == [b"others", b"\x00bytes"]


def test_the_real_applier_observes_facts_and_states(login: Login, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    item = File(path=str(tmp_path / "a"), phase="prepare", content="text", mode=0o644)
    gone = File(path=str(tmp_path / "gone"), phase="prepare")
    pool = Pool({"cp1": login().target})
    with pool:
        seen = SshHosts(pool).observe({"cp1": [item, gone]})["cp1"]
    assert seen.facts.kernel == os.uname().release
    assert seen.state("file", item.path).startswith("file sha256:" + hashlib.sha256(b"text").hexdigest())
    assert seen.extra("file", item.path)["text"] == "text"
    assert seen.state("file", gone.path) == "absent"


def test_probes_are_polled_on_the_host(login: Login, tmp_path: Path) -> None:
    answer = SshHost(login()).probe([{"name": "there", "kind": "file", "path": str(tmp_path)},
                                     {"name": "gone", "kind": "file", "path": str(tmp_path / "x")}], 0.2)
    assert (answer["ok"], [r["ok"] for r in answer["results"]]) == (False, [True, False])


def test_a_program_behind_a_unix_socket_is_asked_on_the_host(login: Login) -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/s")
        listener.listen()

        def serve() -> None:
            for _ in range(2):
                with listener.accept()[0] as stream:
                    stream.sendall(stream.makefile().readline().upper().encode())

        threading.Thread(target=serve, daemon=True).start()
        assert SshHost(login()).ask(f"{directory}/s", ["one", "two"]) == [["ONE\n", "TWO\n"]]


def test_a_host_without_python_says_so(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 127, stderr=b"bash: line 1: python3: command not found")
    with pytest.raises(Unreachable, match="cp1: applier read: there is no python3") as caught:
        SshHost(login()).read(["/x"])
    assert (caught.value.code, "python3" in caught.value.hint) == ("no-python", True)


@pytest.mark.parametrize("words", [b"Welcome to cp1!\n", b"Welcome to cp1! ", b"{a brace}\n\xff\n"])
def test_what_a_login_script_prints_before_the_answer_is_no_part_of_it(
        login: Login, monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    answering(monkeypatch, 0, stdout=words + b'{"contents": ["YQ=="]}\n')
    assert SshHost(login()).read(["/x"]) == [b"a"]


def test_the_appliers_own_fault_is_its_last_line(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 1, stderr=b"context\napplier: no space left\n")
    with pytest.raises(KubewrightError, match="cp1: applier read: exit 1: applier: no space left") as caught:
        SshHost(login()).read(["/x"])
    assert caught.value.details == ("context",)


def test_a_step_that_still_runs_is_a_lock_held(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 0, stdout=b'{"busy": "run-7-etcd"}')
    with pytest.raises(LockHeld, match="cp1: observing: step run-7-etcd still runs after 5 s"):
        SshHost(login()).observe([], wait=5)


def test_an_order_of_an_older_epoch_is_a_lost_lock(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 14, stdout=b'{"status": "fenced", "epoch": 5, "message": "epoch 4 is over"}')
    artifact = Artifact(path="/a", phase="prepare", sha256="0", size=0, name="a", version="1")
    with pytest.raises(LockHeld, match="cp1: applier store: epoch 4 is over") as caught:
        SshHost(login()).store([(artifact, Path(os.devnull))], epoch=4)
    assert caught.value.code == "lock-lost"


def test_a_fence_tells_the_epoch_that_the_host_has_now(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    for rc, installed in ((0, 7), (14, 9)):
        answering(monkeypatch, rc, stdout=b'{"status": "?", "epoch": %d}' % installed)
        assert SshHost(login()).fence(7) == installed
    answering(monkeypatch, 0, stdout=b'{"busy": "run-7-etcd"}')
    with pytest.raises(LockHeld, match="cp1: installing an epoch: step run-7-etcd still runs after 5 s"):
        SshHost(login()).fence(7, wait=5)


def test_the_real_applier_says_that_nobody_has_the_lock(login: Login) -> None:
    answer = SshHost(login()).lock({"do": "read"})
    assert answer["done"] and not answer["record"].get("held")


def test_store_sends_head_and_bytes_in_order(login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = f"cat > {tmp_path}/sent; echo '{{\"stored\": []}}'"
    monkeypatch.setattr(remote, "argv", lambda command: ["sh", "-c", keep])
    files = []
    for name, size in (("a", 3_000_000), ("b", 10)):
        (tmp_path / name).write_bytes(name.encode() * size)
        files.append((Artifact(path=f"/opt/{name}", phase="stage", sha256=name, size=size, name=name, version="1"),
                      tmp_path / name))
    moved: list[int] = []
    assert SshHost(login()).store(files, moved.append) == []
    sent = (tmp_path / "sent").read_bytes()
    assert sent.endswith(b"a" * 3_000_000 + b"b" * 10)
    assert b'"path": "/opt/a", "sha256": "a", "size": 3000000, "mode": 493}' in sent
    assert (sum(moved), max(moved)) == (3_000_010, packing.CHUNK)


def test_store_of_nothing_asks_nobody(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Connection, "stream")
    assert SshHost(login()).store([]) == []


def test_a_python_before_3_9_is_the_hosts_fault_and_not_ours(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, 1, stderr=b"too old: Python 3.7.3\n")
    with pytest.raises(Unreachable, match=r"cp1: applier read: Python 3\.7\.3 is too old; 3\.9 is needed") as caught:
        SshHost(login()).read(["/x"])
    assert caught.value.code == "python-old"


@pytest.mark.parametrize(("epoch", "off"), [(99.0, -1.0), (100.0, 0.0), (107.0, 0.0), (110.0, 0.0), (140.5, 30.5)])
def test_a_clock_is_off_only_by_what_the_round_trip_cannot_explain(epoch: float, off: float) -> None:
    assert clock_off(epoch, asked=100.0, answered=110.0) == off


def test_a_clock_of_this_very_machine_agrees_with_it(login: Login) -> None:
    assert SshHost(login()).observe([]).clock_off == 0.0


def test_the_real_applier_is_asked_who_listens_and_what_is_there(login: Login, tmp_path: Path) -> None:
    line = login()
    seen = SshHost(line).inspect({
        "ports": [line.target.port], "paths": [str(tmp_path), f"{tmp_path}/x"], "directories": ["/var/lib"]})
    assert [(one.port, one.is_loopback) for one in seen.listeners] == [(line.target.port, True)]
    assert seen.there == {str(tmp_path)}
    assert seen.disks[0].paths == ("/var/lib",)


def journal_of(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(remote, "argv", lambda command: ["sh", "-c", f"cat > /dev/null; {script}"])


def test_lines_of_a_journal_come_one_by_one_before_the_answer(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    line = """echo '{"__REALTIME_TIMESTAMP": "%d", "MESSAGE": "m"}'"""
    journal_of(monkeypatch, f"""{line % 1}; {line % 2}; echo '{{"ended": true}}'""")
    seen: list[str] = []
    answer = SshHost(login()).journal({}, lambda entry: seen.append(entry["__REALTIME_TIMESTAMP"]))
    assert (seen, answer) == (["1", "2"], {"ended": True})


def test_what_the_reader_of_a_journal_raises_ends_it_and_is_no_fault_of_the_host(
        login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    journal_of(monkeypatch, """echo '{"__REALTIME_TIMESTAMP": "1"}'; sleep 60""")

    def left(entry: object) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        SshHost(login()).journal({}, left)


def test_a_journal_that_is_followed_ends_on_the_host_when_we_are_interrupted(
        login: Login, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = '{"__REALTIME_TIMESTAMP": "1", "MESSAGE": "m"}'
    program = tmp_path / "journalctl"       # says one line and is then quiet: nothing tells it that nobody reads
    program.write_text(f"""#!/bin/sh\ncase "$*" in *--follow*) echo $$ > {tmp_path}/pid;; esac\n"""
                       f"""echo '{line}'\ncase "$*" in *--follow*) exec sleep 60;; esac\n""")
    program.chmod(0o755)
    path = f"PATH={tmp_path}:{os.environ['PATH']}"
    monkeypatch.setattr(remote, "argv", lambda command, real=argv: ["env", path, *real(command)])

    def interrupted(entry: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SshHost(login()).journal({"unit": "x.service", "follow": True}, interrupted)
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "journalctl outlives its reader"
        time.sleep(0.02)
