"""Whatever of an API server is ill, every node is served by another: each one's lease is watched."""

from __future__ import annotations

import itertools
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from typing import Self

import pytest

from provisioner.lab import faults
from provisioner.model.ports import APISERVER
from tests.lab import full_disk
from tests.lab.figures import record
from tests.lab.hostside import api_servers_are_ready, haproxy
from tests.lab.machines import ADDRESSES, NODES, Lab, until
from tests.lab.witness import Api, admin

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
LIMIT = 10.0        # seconds that a node's lease may be without renewal
WATCHED = 15.0      # seconds of each fault: longer than the limit, so what is not renewed within it is seen
WORKERS = ("w1", "w2")


@contextmanager
def etcd_stopped(lab: Lab, host: str) -> Iterator[None]:
    lab.on(host, "systemctl", "stop", "etcd")
    try:
        yield
    finally:
        lab.on(host, "systemctl", "start", "etcd")


Fault = Callable[[Lab, str], AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {
    "etcd stopped": etcd_stopped,
    "etcd stands still": lambda lab, host: faults.paused(lab.inventory, host, "etcd"),
    "etcd's disk is full": full_disk.full,
    "API server stands still": lambda lab, host: faults.paused(lab.inventory, host, "kube-apiserver"),
}


class Renewals:
    """When each node renewed its lease, by its own word, read several times a second from API servers that are well."""

    def __init__(self, apis: Sequence[Api]) -> None:
        self._apis, self._ending = itertools.cycle(apis), threading.Event()
        self._times: dict[str, set[float]] = {node: set() for node in NODES}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ending.wait(0.25):
            try:
                leases = next(self._apis).ask("GET", LEASES, timeout=2.0)["items"]
            except (OSError, ValueError):       # the next one is asked
                continue
            for lease in leases:
                self._times[lease["metadata"]["name"]].add(datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp())

    def all_since(self, moment: float) -> bool:
        return all(max(times, default=0.0) > moment for times in self._times.values())

    def longest(self, since: float, to: float) -> dict[str, float]:
        """Return each node's longest time without renewal that ended after `since`."""
        return {node: max(b - a for a, b in itertools.pairwise([*sorted(t for t in times if t < to), to]) if b > since)
                for node, times in self._times.items()}


def lead(lab: Lab, node: str, host: str) -> None:
    """Have all that node's connections to the API go to the API server of `host`: chance must not spare them."""
    others = [name for name in ADDRESSES if name != host]
    try:
        for line in ("set server apiservers/{} state drain", "shutdown sessions server apiservers/{}"):
            for other in others:
                haproxy(lab, node, line.format(other))
        until(lambda: sessions(lab, node)[host] >= 3, 20, f"kubelet, kube-proxy and flannel of {node} are at {host}")
    finally:
        for other in others:
            haproxy(lab, node, f"set server apiservers/{other} state ready")


def sessions(lab: Lab, node: str) -> dict[str, int]:
    rows = [line.split(",") for line in haproxy(lab, node, "show stat -1 4 -1").splitlines()]
    return {row[1]: int(row[4]) for row in rows if row[0] == "apiservers"}


def worst(lab: Lab, tls: ssl.SSLContext, fault: str, host: str) -> dict[str, float]:
    """Make something of the host's API server ill, and return each node's longest time without renewal."""
    with ExitStack() as stack:
        if FAULTS[fault] is full_disk.full:
            stack.enter_context(full_disk.on_a_small_disk(lab, host))
        api_servers_are_ready(lab)
        for node in WORKERS:
            lead(lab, node, host)
        seen = stack.enter_context(Renewals([Api(lab, tls, None, address, APISERVER)
                                             for name, address in ADDRESSES.items() if name != host]))
        started = time.time()
        until(lambda: seen.all_since(started), 20, "all leases are renewed before the fault")
        began = time.time()
        with FAULTS[fault](lab, host):
            until(lambda: time.time() > began + WATCHED, WATCHED + 5, "the fault lasts")
            return seen.longest(began, time.time())


@pytest.mark.full        # that clients of a server that is ill are moved: tests/real/test_real_haproxy.py
@pytest.mark.parametrize(("fault", "hosts"), [
    ("API server stands still", ("cp2",)), *((fault, tuple(ADDRESSES)) for fault in FAULTS)],
    ids=lambda value: value if isinstance(value, str) else "-".join(value))
def test_no_node_s_lease_is_ten_seconds_without_renewal_when_an_api_server_is_ill(
        cluster: Lab, fault: str, hosts: tuple[str, ...]) -> None:
    tls = admin(cluster)
    found = {host: worst(cluster, tls, fault, host) for host in hosts}
    api_servers_are_ready(cluster)
    record(f"longest time without renewal of a node's lease: {fault}", [max(of.values()) for of in found.values()],
           unit="s", limit=LIMIT, nodes={host: {n: round(s, 2) for n, s in of.items()} for host, of in found.items()})
    assert all(seconds <= LIMIT for of in found.values() for seconds in of.values()), found
