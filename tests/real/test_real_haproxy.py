"""The rendered configuration in a real HAProxy before three API servers on loopback: who is moved, and who is not."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.applier import sockets
from provisioner.applier.host import Host
from provisioner.compile.load_balancer import HAPROXY_CONFIG, HAPROXY_SOCKET, LEAVE_ILL
from provisioner.errors import KubewrightError
from provisioner.operate import haproxy
from provisioner.transport.hosts import OneHost
from tests.fakes.apiserver import ApiServer, Client, certificates
from tests.fakes.hosts import FakeHosts
from tests.fakes.sshd import free_ports
from tests.unit.compile.compile_fixture import lock

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "lab" / "cp1"
GOLDEN_CONFIG = GOLDEN / HAPROXY_CONFIG.lstrip("/")
LIMIT = 10.0        # seconds until every client is served by another server
LONG = 6.0          # seconds after which a session that was to be ended would have been
NAMES = ("cp1", "cp2", "cp3")


class Balancer:
    """HAProxy as cp1 has it, with its files, ports and servers moved to where a test may have them."""

    def __init__(self, directory: Path, servers: dict[str, ApiServer], maxconn: int = 4096, text: str = "") -> None:
        self.directory, self.servers = directory, servers
        self.local, self.api, self.health = free_ports(3)
        text = text or GOLDEN_CONFIG.read_text()
        leave = (GOLDEN / LEAVE_ILL.lstrip("/")).read_text()
        shares = {share: str(int(share) * maxconn // 4096) for share in re.findall(r"\bmaxconn (\d+)", text)}
        text = re.sub(r"\bmaxconn (\d+)", lambda found: f"maxconn {shares[found[1]]}", text)
        text = re.sub(r"^    (chroot|user|group) .*\n", "", text, flags=re.M)
        moved = {HAPROXY_SOCKET: "admin.sock", LEAVE_ILL: "leave.lua", "/etc/kubernetes/pki/ca.crt": "ca.crt",
                 "/etc/haproxy/health.crt": "health.pem"}
        for old, new in moved.items():
            text = text.replace(old, str(directory / new))
        for number, server in enumerate(servers.values(), 1):
            text = text.replace(f"10.77.0.1{number}:6443", f"127.0.0.1:{server.port}")
        for old, port in (("0.0.0.0:8443", self.api), ("127.0.0.1:7443", self.local), ("127.0.0.1:7444", self.health)):
            text = text.replace(f"bind {old}", f"bind 127.0.0.1:{port}")
        (directory / "leave.lua").write_text(leave.replace("PORT = 7444", f"PORT = {self.health}"))
        (directory / "haproxy.cfg").write_text(text)
        self._log = (directory / "log").open("w")
        self._process = subprocess.Popen(["haproxy", "-W", "-f", str(directory / "haproxy.cfg")], stdout=self._log,
                                         stderr=subprocess.STDOUT)

    def tell(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            one.connect(str(self.directory / "admin.sock"))
            one.sendall(line.encode() + b"\n")
            return one.makefile().read()

    def states(self) -> dict[str, str]:
        """Return the state of each server: 0 down, 2 running, 3 stopping."""
        rows = [line.split() for line in self.tell("show servers state apiservers").splitlines()]
        return {row[3]: row[5] for row in rows if "apiservers" in row[1:2]}

    def wait(self, states: str) -> None:
        wait(lambda: "".join(self.states().values()) == states, f"states {states}")

    def reload(self) -> None:
        """Start a new process beside the one that has the sessions, and wait until it answers."""
        def pid() -> str:
            return "".join(re.findall(r"Pid: (\d+)", self.tell("show info")))

        before = pid()
        self._process.send_signal(12)       # SIGUSR2, as systemd's unit does it
        wait(lambda: pid() not in ("", before), "a new process")

    def reached(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/reached", timeout=2) as answer:
            return int(answer.status)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._log.close()


def wait(look: Callable[[], object], what: str, seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if look():
                return
        except OSError as fault:        # it does not listen yet
            what = f"{what} ({fault})"
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def servers(tmp_path: Path, stack: ExitStack) -> dict[str, ApiServer]:
    certificates(tmp_path)
    servers = {name: ApiServer(name, tmp_path) for name in NAMES}
    for server in servers.values():
        stack.callback(server.close)
    return servers


@pytest.fixture
def balancer(tmp_path: Path, servers: dict[str, ApiServer], stack: ExitStack) -> Balancer:
    balancer = Balancer(tmp_path, servers)
    stack.callback(balancer.close)
    balancer.wait("222")
    return balancer


def clients(stack: ExitStack, port: int) -> dict[str, Client]:
    """Return a client of each server: as many as there are, since HAProxy shares them out."""
    found = [Client(port) for _ in NAMES]
    for client in found:
        stack.callback(client.close)
    assert sorted(client.server for client in found) == sorted(NAMES)
    return {client.server: client for client in found}


@pytest.mark.parametrize("state", ["etcd silent", "hangs", "stopping, etcd silent"])
def test_every_client_of_an_ill_server_is_moved_to_another_and_nobody_else(
        balancer: Balancer, servers: dict[str, ApiServer], stack: ExitStack, state: str) -> None:
    at = [clients(stack, port) for port in (balancer.local, balancer.api)]
    servers["cp2"].become(state)
    began = time.monotonic()
    wait(lambda: all(one["cp2"].ended for one in at), "the sessions with cp2 end")
    assert Client(balancer.local).server != "cp2"
    assert time.monotonic() - began < LIMIT
    assert not any(one[name].ended for one in at for name in ("cp1", "cp3"))


def test_a_server_that_stops_answers_what_it_has_begun_and_gets_nothing_new(
        balancer: Balancer, servers: dict[str, ApiServer], stack: ExitStack) -> None:
    at = clients(stack, balancer.local)
    servers["cp1"].become("stopping")
    balancer.wait("322")
    assert "cp1" not in {Client(balancer.local).server for _ in range(6)}
    servers["cp1"].become("refuses")        # it has closed its port, and still answers
    balancer.wait("022")
    until = time.monotonic() + LONG
    wait(lambda: time.monotonic() > until, "time goes by", LONG + 1)
    wait(lambda: at["cp1"].answered > until, "it is answered still")
    assert not at["cp1"].ended


def test_a_drained_server_keeps_its_sessions_while_it_stops_and_loses_them_when_it_hangs(
        balancer: Balancer, servers: dict[str, ApiServer], stack: ExitStack) -> None:
    at = clients(stack, balancer.local)
    balancer.tell("set server apiservers/cp1 state drain")
    servers["cp1"].become("stopping")
    until = time.monotonic() + LONG
    wait(lambda: time.monotonic() > until, "time goes by", LONG + 1)
    assert not at["cp1"].ended
    servers["cp1"].become("hangs")
    wait(lambda: at["cp1"].ended, "its sessions end")


def test_nobody_is_moved_while_no_server_is_better(
        balancer: Balancer, servers: dict[str, ApiServer], stack: ExitStack) -> None:
    at = clients(stack, balancer.local)
    for name, state in zip(NAMES, ("etcd silent", "hangs", "etcd silent"), strict=True):
        servers[name].become(state)
    balancer.wait("000")
    until = time.monotonic() + LONG
    wait(lambda: time.monotonic() > until, "time goes by", LONG + 1)
    ended = {name for name, one in at.items() if one.ended}
    assert len(ended) <= 2, "those may go that went down while another was still well, but never all"
    servers["cp3"].become("ready")
    wait(lambda: at["cp1"].ended and at["cp2"].ended, "there is a better one now")
    assert not at["cp3"].ended or "cp3" in ended


def test_a_client_of_the_process_before_a_reload_is_moved_as_well(
        balancer: Balancer, servers: dict[str, ApiServer], stack: ExitStack) -> None:
    at = clients(stack, balancer.local)
    balancer.reload()
    balancer.wait("222")
    servers["cp3"].become("etcd silent")
    wait(lambda: at["cp3"].ended, "the session with cp3 ends")
    assert not at["cp1"].ended and not at["cp2"].ended


def test_who_fills_the_vip_s_port_takes_nothing_from_the_host_s_own_way_and_silence_is_dropped(
        tmp_path: Path, servers: dict[str, ApiServer], stack: ExitStack) -> None:
    balancer = Balancer(tmp_path, servers, maxconn=64)
    stack.callback(balancer.close)
    balancer.wait("222")
    silent = [stack.enter_context(socket.socket()) for _ in range(80)]
    for one in silent:
        one.setblocking(False)      # more than HAProxy and the kernel take: the last ones stand in no queue
        one.connect_ex(("127.0.0.1", balancer.api))
    assert clients(stack, balancer.local) and balancer.reached() == 200
    with pytest.raises(BlockingIOError):        # it did not wait until they were dropped
        silent[0].recv(1)
    silent[0].settimeout(LIMIT)
    assert silent[0].recv(1) == b"", "it said nothing for 5 s"


def test_what_is_no_tls_is_dropped_at_once(balancer: Balancer, stack: ExitStack) -> None:
    for port in (balancer.local, balancer.api):
        one = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        one.settimeout(3)
        one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert one.recv(100) == b""


class Asked(FakeHosts):
    """One host whose HAProxy is real, asked by the applier's own code; `rounds` counts how often."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__({}, lock())
        self._at, self.rounds = str(balancer.directory / "admin.sock"), 0

    def ask(self, one: OneHost, path: str, lines: Sequence[str], *, span: float = 0.0,
            again: Sequence[str] | None = None, until: Sequence[str] = ()) -> list[list[str]]:
        assert path == HAPROXY_SOCKET
        self.rounds += 1
        answer = sockets.rounds(Host("/"), {"path": self._at, "lines": lines, "for": span, "every": 0.05,
                                            "again": lines if again is None else again, "until": until})
        return [list(answers) for answers in answer["rounds"]]


def seen(outcomes: dict[str, haproxy.Servers | KubewrightError]) -> haproxy.Servers:
    (servers,) = outcomes.values()
    assert not isinstance(servers, KubewrightError)
    return servers


def test_a_turn_takes_a_server_out_and_back_in_three_rounds_though_it_comes_back_late(
        balancer: Balancer, servers: dict[str, ApiServer], stack: ExitStack) -> None:
    hosts = Asked(balancer)
    assert all(s.in_service for s in seen(haproxy.look(hosts, ["w1"])).values())
    (drained,) = haproxy.watch(hosts, ["w1"], "cp1", 1.0, state="drain").values()
    assert not isinstance(drained, KubewrightError)
    assert (drained[0]["cp1"].admin, drained[0]["cp2"].admin, drained[1]) == ("drain", "ready", 0)
    for _ in range(6):
        client = Client(balancer.local)
        stack.callback(client.close)
        assert client.server != "cp1"
    servers["cp1"].become("etcd silent")
    balancer.wait("022")
    back = threading.Timer(1.0, servers["cp1"].become, ["ready"])
    back.start()
    began = time.monotonic()
    assert seen(haproxy.set_state(hosts, ["w1"], ["cp1"], "ready", 30.0))["cp1"].in_service
    assert 1.0 <= time.monotonic() - began < 20, "the host looked by itself, and no longer than it took"
    assert hosts.rounds == 3
    back.join()
