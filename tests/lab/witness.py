"""Witnesses of what a fault does: who holds the VIP, and what answers from where, each moment by this machine's clock.

They look from inside the network of a node, or of the lab, without SSH: a socket stays in the network that it was made
in, so one process sees all of them on one clock. Times are seconds of `time.monotonic()`.
"""

from __future__ import annotations

import base64
import itertools
import json
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from provisioner.lab import network, nodes
from provisioner.lab.launch import setns
from tests.lab.conftest import Lab

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22        # linux/rtnetlink.h
NLM_F_REQUEST_DUMP, RTMGRP_IPV4_IFADDR = 0x301, 0x10
IFA_LOCAL = 2


def namespace(lab: Lab, host: str | None) -> Path:
    """Return the network namespace of a node, or of the lab outside its nodes."""
    if host is None:
        return network.namespace_path(lab.instance.name)
    return Path(f"/proc/{nodes.init_pid(lab.instance, host)}/ns/net")


@contextmanager
def within(path: Path) -> Iterator[None]:
    """Make the calling thread's new sockets belong to that network."""
    with Path("/proc/thread-self/ns/net").open() as home, path.open() as there:
        setns(there.fileno())
        try:
            yield
        finally:
            setns(home.fileno())


class Holders:
    """Who has the VIP, from the kernels' own events: a change is seen when it happens, not at the next poll."""

    def __init__(self, lab: Lab, hosts: Iterable[str]) -> None:
        self._vip = socket.inet_aton(str(lab.inventory.cluster.api.vip))
        self._changes: list[tuple[float, str, bool]] = []
        self._selector = selectors.DefaultSelector()
        self._ending = threading.Event()
        for host in hosts:
            self.listen(lab, host)
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()      # type: ignore[union-attr]

    def listen(self, lab: Lab, host: str) -> None:
        """Hear a node from now on: also one that has booted again, whose network is a new one."""
        with within(namespace(lab, host)):
            heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        heard.bind((0, RTMGRP_IPV4_IFADDR))
        body = struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)
        heard.send(struct.pack("=IHHII", 16 + len(body), RTM_GETADDR, NLM_F_REQUEST_DUMP, 1, 0) + body)
        self._selector.register(heard, selectors.EVENT_READ, host)

    def _follow(self) -> None:
        while not self._ending.is_set():
            for key, _ in self._selector.select(0.1):
                heard: Any = key.fileobj
                now = time.monotonic()
                for kind, address in _addresses(heard.recv(65536)):
                    if address == self._vip:
                        self._changes.append((now, key.data, kind == RTM_NEWADDR))

    def at(self, moment: float | None = None) -> frozenset[str]:
        """Return who held the VIP at a moment, or who holds it now."""
        holding: set[str] = set()
        for when, host, holds in self._changes:
            if moment is None or when <= moment:
                (holding.add if holds else holding.discard)(host)
        return frozenset(holding)

    def one(self, seconds: float = 10.0) -> str:
        """Wait until exactly one host holds it, and return which."""
        end = time.monotonic() + seconds
        while len(self.at()) != 1:
            assert time.monotonic() < end, f"not one holder in {seconds} s: {self.at()}"
            time.sleep(0.02)
        return next(iter(self.at()))

    def settled(self, since: float, hosts: Iterable[str]) -> float:
        """Return the seconds after which exactly one of `hosts` held it and went on to; infinite if not at last."""
        asked = frozenset(hosts)
        count = len(self.at(since) & asked)
        settled = since if count == 1 else float("inf")
        for when in sorted({when for when, _, _ in self._changes if when > since}):
            before, count = count, len(self.at(when) & asked)
            if count != 1:
                settled = float("inf")
            elif before != 1:
                settled = when
        return settled - since


def _addresses(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind of message and local address from what a kernel said (rtnetlink(7))."""
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        rest = data[24:length] if kind in (RTM_NEWADDR, RTM_DELADDR) else b""
        while len(rest) >= 4:
            size, attribute = struct.unpack_from("=HH", rest)
            if attribute == IFA_LOCAL:
                yield kind, rest[4:size]
            rest = rest[(size + 3) & ~3:] if size >= 4 else b""
        data = data[max(16, (length + 3) & ~3):]


@dataclass(frozen=True)
class Attempt:
    """One request on a new connection: when it began, when it ended, and what went wrong (empty: it was answered)."""

    began: float
    ended: float
    fault: str


class Api:
    """Requests of an administrator to one address, from one network, each on a new TLS connection."""

    def __init__(self, lab: Lab, credentials: ssl.SSLContext, host: str | None, address: str, port: int) -> None:
        self._namespace = namespace(lab, host)
        self._address, self._port, self._tls = address, port, credentials

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float = 5.0) -> Any:
        """Send one request and return the object that answers it; OSError or ValueError when none does."""
        with within(self._namespace):
            plain = socket.socket()
        plain.settimeout(timeout)
        with plain:
            plain.connect((self._address, self._port))
            with self._tls.wrap_socket(plain, server_hostname="kubernetes") as tls:
                payload = json.dumps(body).encode() if body is not None else b""
                head = (f"{method} {path} HTTP/1.0\r\nHost: kubernetes\r\nContent-Type: application/json\r\n"
                        f"Content-Length: {len(payload)}\r\n\r\n")
                tls.sendall(head.encode() + payload)
                answer = b"".join(iter(lambda: tls.recv(65536), b""))
        status, _, text = answer.partition(b"\r\n\r\n")
        code = status.split(b" ", 2)[1:2]
        if not code or code[0][:1] != b"2":
            raise ValueError(f"{method} {path}: {answer[:300]!r}")
        return json.loads(text)


class Attempts:
    """A request every `interval` seconds, each in a thread of its own, so that a slow one delays no other."""

    def __init__(self, api: Api, method: str = "GET", path: str = "/api/v1/namespaces/default", interval: float = 0.1,
                 ) -> None:
        self._api, self._method, self._path, self._interval = api, method, path, interval
        self._ending = threading.Event()
        self._found: list[Attempt] = []
        self._threads: list[threading.Thread] = []
        self._clock = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._clock.join()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        number = 0
        while not self._ending.wait(self._interval):
            number += 1
            thread = threading.Thread(target=self._attempt, args=(number,), daemon=True)
            thread.start()
            self._threads = [*(t for t in self._threads if t.is_alive()), thread]

    def _attempt(self, number: int) -> None:
        body = None
        if self._method == "POST":
            body = {"metadata": {"generateName": "witness-", "labels": {"witness": "yes"}}, "data": {"n": str(number)}}
        began, fault = time.monotonic(), ""
        try:
            self._api.ask(self._method, self._path, body)
        except (OSError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        self._found.append(Attempt(began, time.monotonic(), fault))

    def answered(self) -> bool:
        """Say whether there was an answer at all."""
        return any(not attempt.fault for attempt in self._found)

    def failed(self, since: float) -> list[Attempt]:
        """Return the attempts begun since then that got no answer."""
        return [attempt for attempt in self._found if attempt.fault and attempt.began >= since]

    def unfailing(self) -> int:
        """Return how many attempts there were, none of which may have failed."""
        assert self._found and not self.failed(0), self.failed(0)
        return len(self._found)

    def longest_silence(self, since: float) -> float:
        """Return the longest time without a new answer, from the fault until now."""
        answers = sorted(a.ended for a in self._found if not a.fault and a.ended >= since)
        moments = [since, *answers, time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))


@contextmanager
def admin_files(lab: Lab) -> Iterator[dict[str, Path]]:
    """Give an administrator's certificate (`cert`) and `key`, and the cluster's `ca`: files, gone after the block."""
    config = lab.directory / "kubeconfig"
    lab.run("kubeconfig", "--output", str(config))
    kubeconfig = yaml.safe_load(config.read_text(encoding="utf-8"))
    said = {**kubeconfig["users"][0]["user"], **kubeconfig["clusters"][0]["cluster"]}
    fields = {"ca": "certificate-authority-data", "cert": "client-certificate-data", "key": "client-key-data"}
    files = {name: lab.directory / f"admin.{name}" for name in fields}
    try:
        for name, field in fields.items():
            files[name].touch(mode=0o600)
            files[name].write_bytes(base64.b64decode(said[field]))
        yield files
    finally:
        for path in files.values():
            path.unlink(missing_ok=True)


def admin(lab: Lab) -> ssl.SSLContext:
    """Return what connections of an administrator are made with: its certificate, and the cluster's CA alone."""
    with admin_files(lab) as files:
        context = ssl.create_default_context(cafile=files["ca"])
        context.load_cert_chain(files["cert"], files["key"])
    return context
