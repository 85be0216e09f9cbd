"""HAProxy as a worker has it in a cluster of 500 hosts: it asks seldom, and what its own connections meet tells it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.apiserver import ApiServer, Client, certificates
from tests.real.test_real_haproxy import NAMES, Balancer, wait
from tests.unit.compile.test_compile_intervals import cluster_of, config_of


class Traffic(threading.Thread):
    """A new connection every tenth of a second, each at whatever server it comes to."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.ending = port, threading.Event()
        self.connecting = threading.Lock()
        self.served: list[tuple[float, str]] = []
        self.failed: list[str] = []

    def run(self) -> None:
        while not self.ending.wait(0.1):
            with self.connecting:
                try:
                    client = Client(self.port)
                except (OSError, IndexError) as fault:
                    self.failed.append(repr(fault))
                else:
                    self.served.append((time.monotonic(), client.server))
                    client.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("end", ["refuses", "gone"])
def test_a_dead_server_is_noticed_by_the_host_s_own_connections_long_before_it_is_asked(
        tmp_path: Path, stack: ExitStack, end: str) -> None:
    text = config_of(cluster_of(500), "w1")
    inter = re.search(r"\binter (\d+)s", text)
    assert inter and int(inter[1]) >= 10
    certificates(tmp_path)
    servers = {name: ApiServer(name, tmp_path) for name in NAMES}
    for server in servers.values():
        stack.callback(server.close)
    balancer = Balancer(tmp_path, servers, text=text)
    stack.callback(balancer.close)
    balancer.wait("222")
    traffic = Traffic(balancer.local)
    traffic.start()
    stack.callback(traffic.ending.set)
    wait(lambda: {name for _, name in traffic.served} == set(NAMES), "all servers have served")
    with traffic.connecting:        # what stands already ends later, and is counted as a connection until then
        servers["cp2"].become(end)
    began = time.monotonic()
    # 0.5 and 1.9 s where nothing else runs; the bound tells it from being asked also on a machine with much to do
    wait(lambda: balancer.states()["cp2"] == "0", "it is noticed", int(inter[1]) / 2)
    known = time.monotonic()
    print(f"{end}: noticed after {known - began:.2f} s")
    wait(lambda: sum(at > known + 0.5 for at, _ in traffic.served) > 5, "the others serve")
    assert {name for at, name in traffic.served if at > known + 0.5} == {"cp1", "cp3"}
    assert traffic.failed == []
