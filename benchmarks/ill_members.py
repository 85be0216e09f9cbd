"""Longest time without a renewed lease when an etcd member or an API server is ill, with the programs that hosts run.

    .venv/bin/python benchmarks/ill_members.py [--out benchmarks/results/ill_members.json]

Three members of etcd, three API servers and one HAProxy with cp1's configuration, all on loopback; nine clients renew a
Lease every 3 s as a kubelet does, on one connection each, and ask again after 4 s without an answer. Before each fault
all of them are led to the API server that falls ill. Each fault, on each of the three; raw samples are written. Needs
root (a member's disk is a tmpfs that is filled), haproxy, openssl, and the artifacts in the cache.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from provisioner.artifacts.lockfile import load_lock  # noqa: E402
from provisioner.artifacts.supply import held  # noqa: E402
from tests.fakes.apiserver import certificates  # noqa: E402
from tests.fakes.sshd import free_ports  # noqa: E402
from tests.lab.figures import origin  # noqa: E402
from tests.real.test_real_haproxy import NAMES, Balancer, wait  # noqa: E402

RENEWED, PATIENCE = 3.0, 4.0        # seconds, as the kubelet's configuration has them
WATCHED = 13.0
NODES = 9
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


class Site:
    """The processes; one that ended is started again after 2 s, as systemd does it, unless it was stopped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._argv: dict[str, list[str]] = {}
        self._wanted: set[str] = set()
        self._ending = threading.Event()
        lock = load_lock(ROOT / "inventories" / "lab" / "artifacts.lock")
        cached = held(lock)
        for name in ("etcd", "kube-apiserver"):
            shutil.copyfile(cached[next(a.sha256 for a in lock.artifacts if a.name == name)], directory / name)
            (directory / name).chmod(0o755)
        certificates(directory)
        subprocess.run(["openssl", "genrsa", "-out", str(directory / "sa.key"), "2048"], check=True,
                       capture_output=True, timeout=60)
        ports = free_ports(9)
        self.ports = dict(zip(NAMES, ports[6:], strict=True))
        peers = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in zip(NAMES, ports, strict=False))
        for number, name in enumerate(NAMES):
            self._describe(name, ports[number], ports[3 + number], peers)
        self.tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        self.tls.load_cert_chain(directory / "health.pem")
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def _describe(self, name: str, peer: int, client: int, peers: str) -> None:
        peer_url, client_url = f"http://127.0.0.1:{peer}", f"http://127.0.0.1:{client}"
        at = self.directory
        self._argv[f"etcd {name}"] = [
            str(at / "etcd"), f"--name={name}", f"--data-dir={at / name}", f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}", f"--listen-client-urls={client_url}",
            f"--advertise-client-urls={client_url}", f"--initial-cluster={peers}"]
        self._argv[f"kube-apiserver {name}"] = [
            str(at / "kube-apiserver"), f"--etcd-servers={client_url}", f"--secure-port={self.ports[name]}",
            "--bind-address=127.0.0.1", f"--tls-cert-file={at / 'server.pem'}",
            f"--tls-private-key-file={at / 'server.pem'}", f"--client-ca-file={at / 'ca.crt'}",
            "--authorization-mode=AlwaysAllow", "--service-account-issuer=https://test",
            "--endpoint-reconciler-type=none",
            f"--service-account-key-file={at / 'sa.key'}", f"--service-account-signing-key-file={at / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/16"]

    def start(self, what: str) -> None:
        log = (self.directory / f"{what}.log").open("ab")
        self._processes[what] = subprocess.Popen(self._argv[what], stdout=log, stderr=log)
        self._wanted.add(what)

    def pid(self, what: str) -> int:
        return self._processes[what].pid

    def stop(self, what: str) -> None:
        self._wanted.discard(what)
        self._processes[what].terminate()

    def signal(self, what: str, number: int) -> None:
        self._processes[what].send_signal(number)

    def _supervise(self) -> None:
        while not self._ending.wait(0.2):
            for what in sorted(self._wanted):
                if self._processes[what].poll() is not None and not self._ending.wait(2) and what in self._wanted:
                    self.start(what)

    def close(self) -> None:
        self._ending.set()
        self._supervisor.join(5)        # else it starts again what is killed here
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


class Node(threading.Thread):
    """Renews its lease as a kubelet does: `renewed` holds when each renewal was answered."""

    def __init__(self, name: str, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self.renewed: list[float] = []
        self._name, self._port, self._tls = name, port, tls
        self._stream: Any = None
        self._ending = threading.Event()

    def run(self) -> None:
        pause = 0.0
        while not self._ending.wait(pause):
            try:
                status = self.ask("PATCH", f"{LEASES}/{self._name}", {"spec": {"renewTime": time.strftime(
                    "%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())}})
                if status == 404:
                    status = self.ask("POST", LEASES, {"metadata": {"name": self._name}})
            except (OSError, ValueError):
                status, self._stream = 0, None
            pause = 0.1
            if status in (200, 201):
                self.renewed.append(time.monotonic())
                pause = RENEWED

    def ask(self, method: str, path: str, body: object) -> int:
        if self._stream is None:
            plain = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
            self._stream = self._tls.wrap_socket(plain, server_hostname="kubernetes").makefile("rwb")
        data = json.dumps(body).encode()
        kind = "merge-patch+json" if method == "PATCH" else "json"
        self._stream.write(f"{method} {path} HTTP/1.1\r\nHost: kubernetes\r\nContent-Type: application/{kind}\r\n"
                           f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        self._stream.flush()
        answer = self._stream.readline().split()
        if len(answer) < 2:
            raise ValueError("the connection was closed")
        lines = iter(lambda: self._stream.readline().decode().strip(), "")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        self._stream.read(int(headers.get("content-length", 0)))
        return int(answer[1])

    def longest(self, since: float, to: float) -> float:
        return max(b - a for a, b in itertools.pairwise([*self.renewed, to]) if b > since)

    def end(self) -> None:
        self._ending.set()


@contextmanager
def stopped(site: Site, host: str) -> Iterator[None]:
    site.stop(f"etcd {host}")
    yield
    site.start(f"etcd {host}")


@contextmanager
def still(site: Site, what: str) -> Iterator[None]:
    site.signal(what, signal.SIGSTOP)
    yield
    site.signal(what, signal.SIGCONT)


@contextmanager
def full(site: Site, host: str) -> Iterator[None]:
    filler = site.directory / host / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True, timeout=60, check=False)
    # More than the pages that it has to spare.
    other = next(name for name in NAMES if name != host)
    for _ in range(3):
        Node("", site.ports[other], site.tls).ask("POST", "/api/v1/namespaces/default/configmaps", {
            "metadata": {"generateName": "large-"}, "data": {"text": secrets.token_hex(450_000)}})
    yield
    filler.unlink()


FAULTS: dict[str, Callable[[Site, str], Any]] = {
    "etcd stopped": stopped, "etcd stands still": lambda site, host: still(site, f"etcd {host}"),
    "etcd's disk is full": full, "API server stands still": lambda site, host: still(site, f"kube-apiserver {host}")}


class Port:
    """What a Balancer wants to know of a server."""

    def __init__(self, port: int) -> None:
        self.port = port


def lead(balancer: Balancer, host: str) -> None:
    """Have every client's connection go to the API server of `host`."""
    others = [name for name in NAMES if name != host]
    for line in ("set server apiservers/{} state drain", "shutdown sessions server apiservers/{}"):
        for other in others:
            balancer.tell(line.format(other))
    wait(lambda: sessions(balancer)[host] == NODES, f"all are at {host}", 30)
    for other in others:
        balancer.tell(f"set server apiservers/{other} state ready")


def sessions(balancer: Balancer) -> dict[str, int]:
    rows = [line.split(",") for line in balancer.tell("show stat -1 4 -1").splitlines()]
    return {row[1]: int(row[4]) for row in rows if row[0] == "apiservers"}


def _renewed(nodes: Sequence[Node], since: float) -> bool:
    return all(node.renewed[-1:] > [since] for node in nodes)


def measure(directory: Path, stack: ExitStack) -> list[dict[str, Any]]:
    for name in NAMES:
        (directory / name).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=0700", "tmpfs", str(directory / name)],
                       check=True, timeout=30)
        stack.callback(subprocess.run, ["umount", "--lazy", str(directory / name)], timeout=30, check=False)
    site = Site(directory)
    stack.callback(site.close)
    for what in itertools.chain((f"etcd {n}" for n in NAMES), (f"kube-apiserver {n}" for n in NAMES)):
        site.start(what)
    balancer = Balancer(directory, {name: Port(port) for name, port in site.ports.items()})    # type: ignore[misc]
    stack.callback(balancer.close)
    wait(lambda: set(balancer.states().values()) == {"2"}, "all API servers are ready", 240)
    nodes = [Node(f"n{number}", balancer.local, site.tls) for number in range(NODES)]
    for node in nodes:
        node.start()
        stack.callback(node.end)
    found = []
    for (fault, make), host in itertools.product(FAULTS.items(), NAMES):
        wait(lambda: set(balancer.states().values()) == {"2"}, "all API servers are ready again", 120)
        lead(balancer, host)
        started = time.monotonic()
        wait(partial(_renewed, nodes, started), "all have renewed", 30)
        began = time.monotonic()
        with make(site, host):
            time.sleep(WATCHED)
            assert balancer.states()[host] == "0", f"{fault}: the API server of {host} is not ill"
            longest = [round(node.longest(began, time.monotonic()), 2) for node in nodes]
        found.append({"fault": fault, "host": host, "load": round(os.getloadavg()[0], 1), "seconds": longest})
        print(f"{fault}, {host}: at most {max(longest):.1f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "ill_members.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ill-members-") as place, ExitStack() as stack:
        found = measure(Path(place), stack)
    options.out.write_text(json.dumps({
        "command": "benchmarks/ill_members.py", **origin(ROOT, "ill_members.json"), "nproc": os.cpu_count(),
        "limit": 10.0,
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "worst": max(max(row["seconds"]) for row in found),
        "cases": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
