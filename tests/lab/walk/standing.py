"""Which control planes are out of service at each moment: their own /readyz, and what the hosts' HAProxies drain."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Self

from provisioner.compile.load_balancer import BACKEND, HAPROXY_SOCKET
from provisioner.lab import nodes
from provisioner.model.ports import APISERVER
from tests.lab.conftest import Lab
from tests.lab.witness import namespace, within

INTERVAL = 0.2
TIMEOUT = 5.0       # seconds after which who asks an API server has got no answer: the prober's too
Span = tuple[float, float]


class Standing:
    """Looks from entering to leaving; then `most_out` tells how many were out at one time, and which."""

    def __init__(self, lab: Lab) -> None:
        cluster = lab.inventory.cluster
        self._outs: dict[str, list[Span]] = defaultdict(list)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._network = namespace(lab, None)
        self.looks = 0
        self._threads = [threading.Thread(target=self._follow, daemon=True, args=(
            lambda server=host.name, address=host.address: [] if self._is_ready(address) else [server],))
            for host in cluster.control_planes]
        inits = [nodes.init_pid(lab.instance, host.name) for host in cluster.machines]
        self._threads += [threading.Thread(target=self._follow, daemon=True, args=(
            lambda init=init: drained(f"/proc/{init}/root{HAPROXY_SOCKET}"),)) for init in inits]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def most_out(self) -> tuple[int, list[str]]:
        """Return the largest number of control planes that were out together, and which they were."""
        return together(self._outs)

    def _follow(self, look: Callable[[], Iterable[str]]) -> None:
        """Note a server as out from the first look that says so to the last in a row."""
        since: dict[str, float] = {}
        while not self._over.wait(INTERVAL):
            began = time.monotonic()
            out = set(look())
            ended = time.monotonic()
            self.looks += 1
            since = {server: since.get(server, began) for server in out}
            with self._lock:
                for server, first in since.items():
                    self._outs[server].append((first, ended))

    def _is_ready(self, address: str) -> bool:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with within(self._network):
                plain = socket.socket()
            plain.settimeout(TIMEOUT)
            with plain:
                plain.connect((address, APISERVER))
                with context.wrap_socket(plain) as tls:
                    tls.sendall(b"GET /readyz HTTP/1.0\r\nHost: kubernetes\r\n\r\n")
                    return b" 200 " in tls.recv(4096).split(b"\r\n", 1)[0]
        except OSError:
            return False


def together(outs: dict[str, list[Span]]) -> tuple[int, list[str]]:
    """Return how many different servers were out at one moment, at most, and which."""
    moments = sorted(begin for spans in outs.values() for begin, _ in spans)
    sets = [sorted(s for s, spans in outs.items() if any(b <= moment <= e for b, e in spans)) for moment in moments]
    worst = max(sets, key=len, default=[])
    return len(worst), worst


def drained(path: str) -> list[str]:
    """Return the API servers that this HAProxy was told not to use; none where it does not answer (a reload)."""
    try:
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(TIMEOUT)
            plain.connect(path)
            plain.sendall(f"show servers state {BACKEND}\n".encode())
            text = plain.makefile().read()
    except OSError:
        return []
    rows = [line.split() for line in text.splitlines() if f" {BACKEND} " in line]
    return [row[3] for row in rows if row[6] != "0"]
