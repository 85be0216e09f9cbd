"""`reach`: listen where nobody listens yet, try to reach others that listen so, and tell what else only a try shows.

All of it lives as long as its channel: it ends with stdin, when nobody has said a word for a while, after so many
seconds, and with its process; what listens and what is written has no name that could stay.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import select
import selectors
import signal
import socket
import threading
import time
from typing import Any, Callable, Mapping, Optional

from . import arp, fsync, lines, resolving, tries
from .host import TRYING, Fault, Host

PATIENCE = 6.0      # seconds without a byte on stdin: nobody is there any more
LONGEST = 120.0     # seconds that it lives at most, whatever was asked
TICK = 0.1
AT_ONCE = 48        # tries under way
BACKLOG = 512
Told = dict[str, Any]


class Listeners:
    """Sockets of ours on the ports that were asked for, and what came to them."""

    def __init__(self, address: str, token: bytes) -> None:
        self._address, self._token = address, token
        self._selector = selectors.DefaultSelector()
        self._taking = threading.Lock()     # from a packet's way out of its socket until it is counted
        self._vrrp_heard: dict[tuple[str, int, bool], int] = {}

    def open(self, protocol: str, port: int) -> str:
        """Listen; return `ours`, `theirs` where somebody does already, or why it could not be."""
        try:
            one = OPENS[protocol](self._address, port)
        except OSError as fault:
            return "theirs" if fault.errno == errno.EADDRINUSE else str(fault.strerror or fault)
        one.setblocking(False)
        self._selector.register(one, selectors.EVENT_READ, getattr(self, f"_{protocol}"))
        return "ours"

    def serve(self) -> None:
        """Answer for ever; the process's end closes all."""
        while True:
            self._take(None)

    def heard(self) -> list[list[Any]]:
        """Return whose advertisements have come until now: from where, of which router, ours or not, how many."""
        for _ in range(BACKLOG):
            if not self._take(0.0):
                break
        with self._taking:
            return [[*key, count] for key, count in self._vrrp_heard.items()]

    def _take(self, wait: Optional[float]) -> bool:
        """Take one of what has come to each socket, or wait for it; say whether anything had."""
        ready = self._selector.select(wait)
        with self._taking:
            for key, _ in ready:
                try:
                    key.data(key.fileobj)
                except OSError:         # whoever called is gone again, or it was taken already
                    continue
        return bool(ready)

    def _tcp(self, one: socket.socket) -> None:
        one.accept()[0].close()

    def _udp(self, one: socket.socket) -> None:
        data, caller = one.recvfrom(65536)
        if data.startswith(self._token):        # so nobody else gets an answer out of it
            one.sendto(data[:tries.HEAD], caller)

    def _vrrp(self, one: socket.socket) -> None:
        packet, caller = one.recvfrom(4096)
        router, body = tries.vrrp_of(packet)
        if router is not None:
            key = (str(caller[0]), router, self._token in body)
            self._vrrp_heard[key] = self._vrrp_heard.get(key, 0) + 1


def _open_tcp(address: str, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    return _bound(one, address, port, lambda: one.listen(BACKLOG))


def _open_udp(address: str, port: int) -> socket.socket:
    return _bound(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), address, port, lambda: None)


def _open_vrrp(address: str, port: int) -> socket.socket:
    """Hear what is sent to this machine and, on its interface, to all routers: keepalived hears the same."""
    one = socket.socket(socket.AF_INET, socket.SOCK_RAW, tries.VRRP)
    group = socket.inet_aton(tries.ROUTERS) + socket.inet_aton(address)
    try:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError:
        one.close()
        raise
    return one


def _bound(one: socket.socket, address: str, port: int, then: Callable[[], None]) -> socket.socket:
    try:
        one.bind((address, port))
        then()
    except OSError:
        one.close()
        raise
    return one


OPENS: Mapping[str, Callable[[str, int], socket.socket]] = {
    "tcp": _open_tcp, "udp": _open_udp, "vrrp": _open_vrrp}


class Meeting:
    """One call of `reach`."""

    def __init__(self, host: Host, request: Mapping[str, Any], stdin: int, stdout: int) -> None:
        self._host, self._request, self._stdin, self._stdout = host, request, stdin, stdout
        self._token = bytes.fromhex(str(request["token"]))
        if len(self._token) != tries.TOKEN:
            raise Fault(f"a token has {tries.TOKEN} bytes")
        for one in request.get("listen", ()):
            if one["protocol"] not in OPENS:
                raise Fault(f"unknown protocol: {one['protocol']!r}")
        self._listeners = Listeners(str(request.get("address", "")), self._token)
        self._told: queue.Queue[Told] = queue.Queue()
        self._longest = min(LONGEST, float(request.get("seconds", LONGEST)))
        self._patience = float(request.get("patience", PATIENCE))

    def run(self) -> Told:
        """Listen and try until nobody wants more; return the last line."""
        # Whatever hangs: the kernel ends this process, and with it all that listens.
        signal.alarm(int(self._longest) + 5)
        with open("/proc/self/comm", "w") as comm:      # so that `inspect` does not take it for somebody else's
            comm.write(TRYING)
        listening = [[one["protocol"], one["port"], self._listeners.open(one["protocol"], int(one["port"]))]
                     for one in self._request.get("listen", ())]
        self._start(self._listeners.serve)
        self._told.put({"listening": listening})
        for name, look in LOOKS.items():
            if self._request.get(name):
                self._start(self._look, name, look)
        end = self._until_the_end()
        return {"end": end, "vrrp": self._listeners.heard()}

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        threading.Thread(target=work, args=args, daemon=True).start()

    def _look(self, name: str, look: Callable[[Host, Any], Any]) -> None:
        try:
            self._told.put({name: look(self._host, self._request[name])})
        except (Fault, OSError, ValueError) as fault:
            self._told.put({name: {"unseen": str(fault)}})

    def _until_the_end(self) -> str:
        began = heard = time.monotonic()
        rest = b""
        while True:
            if select.select([self._stdin], [], [], TICK)[0]:
                data = os.read(self._stdin, 1 << 16)
                if not data:
                    return "asked"
                heard = time.monotonic()
                *asked, rest = (rest + data).split(b"\n")
                for line in filter(None, asked):
                    self._go(json.loads(line)["reach"])
            if not self._tell():
                return "nobody listens"
            if time.monotonic() - heard > self._patience:
                return "nobody asks"
            if time.monotonic() - began > self._longest:
                return "time"

    def _tell(self) -> bool:
        while True:
            try:
                line = self._told.get_nowait()
            except queue.Empty:
                return True
            try:
                lines.write(self._stdout, line, self._patience)
            except OSError:
                return False

    def _go(self, probes: list[Mapping[str, Any]]) -> None:
        for one in probes:
            if one["protocol"] not in tries.KINDS:
                raise Fault(f"unknown protocol: {one['protocol']!r}")
        waiting, ended = iter(list(probes)), threading.Semaphore(0)
        lock = threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    one = next(waiting, None)
                if one is None:
                    return
                self._told.put({"tried": {"id": one["id"], **tries.tried(one, self._token)}})
                ended.release()

        def wait() -> None:
            for _ in probes:
                ended.acquire()
            self._told.put({"all": True})

        for _ in range(min(AT_ONCE, len(probes))):
            self._start(work)
        self._start(wait)


def _address(host: Host, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say who else on the segment has the host's own address."""
    probe = arp.Probe(str(asked["interface"]), str(asked["address"]))
    try:
        heard = probe.heard()
    finally:
        probe.close()
    return {"unseen": "nobody could be asked by ARP"} if heard is None else {"also": heard}


LOOKS: Mapping[str, Callable[[Host, Any], Any]] = {"fsync": fsync.measure, "dns": resolving.look, "arp": _address}


def reach(host: Host, request: Mapping[str, Any]) -> Told:
    """Listen and try; stdin stays open, for what is to be tried and as the sign that somebody waits."""
    return Meeting(host, request, 0, 1).run()
