"""`share` as processes of their own, with real sockets on loopback: who gets what from whom, and what ends."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.applier import artifacts, package, peers
from provisioner.applier.host import Host
from provisioner.lab.processes import wait_until
from provisioner.model.sharing import Identity
from provisioner.operate import run_identities
from tests.unit.applier.support import pair

A, B = os.urandom(3_000_000), os.urandom(70_000)
HOSTS = run_identities.make(["cp1", "cp2", "cp3"])


def entry(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "mode": 0o755}


WANTED = [entry("/opt/kubewright/a/1/a", A), entry("/opt/kubewright/b/1/b", B)]


def tls(identity: Identity) -> dict[str, str]:
    return {"ca": identity.ca, "certificate": identity.certificate, "key": identity.key}


class Talk:
    """One host's half, and what it told line by line."""

    def __init__(self, name: str, root: Path, process: subprocess.Popen[bytes]) -> None:
        self.name, self.root, self.process = name, root, process
        self.port = 0

    def tells(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        return dict(json.loads(line))

    def say(self, order: dict[str, Any], more: bytes = b"") -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order).encode() + b"\n" + more)
        self.process.stdin.flush()
        return self.tells()

    def fetch(self, number: int, port: int, name: str = "cp1") -> dict[str, Any]:
        return self.say({"fetch": number, "from": {"name": name, "address": "127.0.0.1", "port": port}})

    def has(self, number: int) -> bytes | None:
        place = self.root / WANTED[number]["path"].lstrip("/")
        return place.read_bytes() if place.exists() else None

    def leftovers(self) -> list[str]:
        return [str(p) for p in self.root.rglob("*kubewright-tmp*")]


@contextlib.contextmanager
def talking(name: str, directory: Path, identity: Identity | None = None, **more: Any) -> Iterator[Talk]:
    root = directory / name
    root.mkdir()
    argv = package.argv("share")
    process = subprocess.Popen([sys.executable, *argv[1:-1], "--root", str(root), "share"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdin
        process.stdin.write(package.frame({
            "artifacts": WANTED, "address": "127.0.0.1", "tls": tls(identity or HOSTS[name]), **more}))
        process.stdin.flush()
        talk = Talk(name, root, process)
        try:
            yield talk
        finally:
            process.kill()


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Talk]:
    """A host that serves `A`."""
    with talking("cp1", tmp_path) as talk:
        talk.port = int(talk.tells()["port"])
        assert talk.say({"take": 0}, A) == {"stored": 0}
        yield talk


def asks(port: int, identity: Identity, name: str = "cp1") -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), 20)
    return peers.context(tls(identity), server=False).wrap_socket(plain, server_hostname=name)


def said_to(port: int, identity: Identity, digest: str) -> bytes:
    with asks(port, identity) as stream:
        stream.sendall(digest.encode() + b"\n")
        return stream.recv(100)


def listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_host_gives_the_next_one_what_it_has_and_both_end_with_all(first: Talk, tmp_path: Path) -> None:
    with talking("cp2", tmp_path) as second:
        port = second.tells()["port"]
        assert second.fetch(0, first.port) == {"stored": 0}
        assert second.has(0) == A
        assert second.say({"take": 1}, B) == {"stored": 1}
        assert first.fetch(1, port, "cp2") == {"stored": 1}
        for one in (first, second):
            assert one.process.stdin
            one.process.stdin.close()
            assert sorted(one.tells()["stored"]) == [w["path"] for w in WANTED]
            assert one.process.wait(20) == 0
            assert (one.has(0), one.has(1), one.leftovers()) == (A, B, [])
            assert (one.root / WANTED[0]["path"].lstrip("/")).stat().st_mode & 0o777 == 0o755
    assert not listening(first.port) and not listening(port)


def test_only_what_this_run_brought_here_is_served(first: Talk) -> None:
    (first.root / "etc").mkdir()
    (first.root / "etc/secret").write_bytes(b"secret")
    for digest in (hashlib.sha256(b"secret").hexdigest(), WANTED[1]["sha256"], "/etc/secret", "../../etc/secret", ""):
        assert said_to(first.port, HOSTS["cp2"], digest) == b"none\n"
    assert said_to(first.port, HOSTS["cp2"], WANTED[0]["sha256"]).startswith(b"3000000\n")


def test_a_stranger_is_refused(first: Talk) -> None:
    """Without a certificate, with one of another run, or with one that it made itself."""
    mine, key = (part.decode() for part in pair("cp2"))
    another = run_identities.make(["cp2"])["cp2"]
    for certificate, its_key in ((another.certificate, another.key), (mine, key)):
        stranger = Identity(HOSTS["cp2"].ca, certificate, its_key)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            assert not said_to(first.port, stranger, WANTED[0]["sha256"]), "it was served"
            raise ConnectionError("closed")
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(cadata=HOSTS["cp2"].ca)
    with pytest.raises((ssl.SSLError, ConnectionError)), socket.create_connection(
            ("127.0.0.1", first.port), 20) as plain, nobody.wrap_socket(plain, server_hostname="cp1") as stream:
        stream.sendall(WANTED[0]["sha256"].encode() + b"\n")
        assert not stream.recv(100), "it was served"
        raise ConnectionError("closed")
    assert said_to(first.port, HOSTS["cp3"], WANTED[0]["sha256"]).startswith(b"3000000\n"), "it goes on"


@contextlib.contextmanager
def peer(answer: Callable[[ssl.SSLSocket], object], identity: Identity = HOSTS["cp1"]) -> Iterator[int]:
    """Be a host that answers in a way of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = peers.context(tls(identity), server=True)

    def serve() -> None:
        with contextlib.suppress(OSError):
            plain, _ = listener.accept()
            with plain, context.wrap_socket(plain, server_side=True) as stream:
                stream.settimeout(20)
                stream.recv(65)
                answer(stream)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.close()


@pytest.mark.parametrize(("answer", "why", "lied"), [
    (lambda stream: stream.sendall(b"%d\n" % len(A) + A[:-1] + b"x"), "sha256", True),
    (lambda stream: stream.sendall(b"%d\n" % len(A) + A[:1000]), "early", False),
    (lambda stream: stream.sendall(b"none\n"), "it has none", False),
    (lambda stream: stream.sendall(b"9" * 4096), "it has 9999", False),
    (lambda stream: stream.close(), "", False),
], ids=["lies", "ends early", "has none", "says what is no number", "hangs up"])
def test_a_peer_that_gives_something_else_is_told_and_nothing_of_it_gets_the_name(
        answer: Callable[[ssl.SSLSocket], object], why: str, lied: bool, tmp_path: Path) -> None:
    with peer(answer) as port, talking("cp2", tmp_path) as second:
        second.tells()
        said = second.fetch(0, port)
        assert (said["failed"], said["lied"]) == (0, lied) and why in said["why"], said
        assert second.has(0) is None and not second.leftovers()
        assert second.say({"take": 0}, A) == {"stored": 0}, "it comes from the operator then"
        assert second.has(0) == A


def test_who_proves_to_be_another_host_is_not_believed(tmp_path: Path) -> None:
    with peer(lambda stream: stream.sendall(b"x"), HOSTS["cp3"]) as port, talking("cp2", tmp_path) as second:
        second.tells()
        assert "cp1" in second.fetch(0, port)["why"]


def test_a_peer_where_nobody_listens_is_told_at_once(tmp_path: Path) -> None:
    with talking("cp2", tmp_path) as second:
        second.tells()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert second.fetch(0, port)["why"] == "Connection refused"


@pytest.mark.parametrize("says", [b"", b"3000000\n" + A[:5000]], ids=["nothing", "a part"])
def test_a_peer_that_hangs_is_not_waited_for(
        says: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "STALL", 0.3)
    gone = threading.Event()
    with peer(lambda stream: (stream.sendall(says), gone.wait(60))) as port, pytest.raises(peers.Lost, match="time"):
        peers.fetch(Host(str(tmp_path)), WANTED[0], {"name": "cp1", "address": "127.0.0.1", "port": port},
                    peers.context(tls(HOSTS["cp2"]), server=False), threading.Event())
    gone.set()
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".json"]


def test_a_peer_that_trickles_is_slow_and_one_whose_run_is_over_is_left(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SLACK", -10.0)
    over = threading.Event()
    for words in ("slower than", "ended"):
        with peer(lambda stream: stream.sendall(b"3000000\n" + A)) as port, pytest.raises(peers.Lost, match=words):
            peers.fetch(Host(str(tmp_path)), WANTED[0], {"name": "cp1", "address": "127.0.0.1", "port": port},
                        peers.context(tls(HOSTS["cp2"]), server=False), over)
        over.set()


def test_a_host_that_cannot_listen_says_so_and_takes_from_the_operator(tmp_path: Path) -> None:
    with talking("cp2", tmp_path, address="192.0.2.1") as second:
        assert "assign" in second.tells()["closed"]
        assert second.say({"take": 1}, B) == {"stored": 1}


def test_the_operators_own_bytes_are_refused_like_those_of_a_stream(tmp_path: Path) -> None:
    with talking("cp2", tmp_path) as second:
        second.tells()
        assert second.say({"take": 1}, bytes(len(B)))["failed"] == 1
        assert second.process.stdin and second.process.stderr
        second.process.stdin.close()
        assert second.process.wait(20) == 1
        assert artifacts.REFUSED.encode() in second.process.stderr.read()
        assert second.has(1) is None and not second.leftovers()


def packed(data: bytes) -> bytes:
    parts = [zlib.compress(data[at:at + (1 << 20)], 1) for at in range(0, len(data), 1 << 20)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def test_packed_bytes_are_unpacked_and_judged_like_any_others(tmp_path: Path) -> None:
    with talking("cp2", tmp_path) as second:
        second.tells()
        assert second.say({"take": 0, "packed": True}, packed(A)) == {"stored": 0}
        assert second.has(0) == A
        assert second.say({"take": 1, "packed": True}, packed(bytes(len(B))))["failed"] == 1
        assert second.say({"take": 1}, B) == {"stored": 1}, "the stream goes on where it should"
        assert second.process.stdin and second.process.stderr
        second.process.stdin.write(b'{"take": 0, "packed": true}\n' + (1 << 30).to_bytes(4, "big"))
        second.process.stdin.close()
        assert second.process.wait(20) == 1
        assert b"a packed piece of 1073741824 bytes" in second.process.stderr.read() and not second.leftovers()


def test_an_epoch_that_is_over_in_the_middle_gets_nothing_more_done(tmp_path: Path) -> None:
    with talking("cp2", tmp_path, epoch=4) as second:
        second.tells()
        fence = second.root / "var/lib/kubewright/epoch.json"
        fence.write_text('{"epoch": 5}')
        assert second.say({"take": 1})["status"] == "fenced"
        assert second.process.wait(20) == 14
        assert second.has(1) is None


def test_what_serves_ends_with_its_stdin_with_a_kill_and_with_silence(
        first: Talk, tmp_path: Path) -> None:
    first.process.kill()
    assert wait_until(lambda: not listening(first.port), 20)
    with talking("cp2", tmp_path) as second:
        port = second.tells()["port"]
        assert listening(port)
        assert second.process.stdin
        second.process.stdin.write(json.dumps({"take": 0}).encode() + b"\n" + A[:2_000_000])     # and is gone
        second.process.stdin.close()
        assert second.process.wait(20) == 1
        assert not listening(port) and second.has(0) is None and not second.leftovers()


def test_who_says_no_word_for_a_while_is_gone(tmp_path: Path) -> None:
    code = ("import json,sys\nfrom provisioner.applier import share\nshare.PATIENCE = 0.2\n"
            "from provisioner.applier.main import main\nsys.exit(main(['--root', sys.argv[1], 'share']))")
    request = {"artifacts": WANTED, "address": "127.0.0.1", "tls": tls(HOSTS["cp2"])}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(json.dumps(request).encode() + b"\n" + json.dumps({"take": 0}).encode() + b"\n" + A[:9000])
        process.stdin.flush()
        assert process.wait(60) == 1
        assert b"nobody has said a word for 0.2 s" in process.stderr.read()
        assert not listening(json.loads(process.stdout.readline())["port"])
    assert not [p for p in tmp_path.rglob("*kubewright-tmp*")]


def test_no_key_has_a_name_on_the_host(first: Talk) -> None:
    key = HOSTS["cp1"].key.splitlines()[1].encode()
    assert not [p for p in first.root.rglob("*") if p.is_file() and key in p.read_bytes()]
    open_ = [str(p.readlink()) for p in Path(f"/proc/{first.process.pid}/fd").iterdir() if p.is_symlink()]
    assert not [name for name in open_ if "share" in name], "the memory that it was read from is given back"
    assert key not in Path(f"/proc/{first.process.pid}/cmdline").read_bytes()
