"""One long request that delivers lines, opened again whenever it ends: what a watch of a server looks like."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from typing import Any, Callable, Optional

from . import attempts
from .attempts import Cut, Deadline, Series

RETRY = 0.2
ALIVE = ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3))
Tell = Callable[[dict[str, Any]], None]


def follow(one: Series, tls: Optional[ssl.SSLContext], now: Callable[[], float], tell: Tell,
           stopping: threading.Event) -> None:
    """Keep the stream open until `stopping`, and tell every opening, every line, and every end with its kind.

    An opening counts from the end of the stream before it: opened again within the series' timeout, the end was no
    failure, whether the server closed the stream (`closed`) or the connection broke (`cut`).
    """
    timeout = float(one.get("timeout", 5.0))
    ended: dict[str, Any] = {}
    since = now()
    while not stopping.is_set():
        opened = False
        try:
            with attempts.connected(one, tls, Deadline(timeout)) as stream:
                answer = attempts.ask(one, stream, 0, Deadline(timeout))
                took = now() - since
                tell({"at": round(since, 4), "took": round(took, 4), **ended,
                      **({"why": f"not open again within {timeout:g} s"} if took > timeout else {})})
                opened = True
                _lines(stream, answer, lambda: tell({"at": round(now(), 4), "line": True}))
            ended = {"end": "closed"}
        except (*attempts.FAULTS, Cut) as fault:
            if opened:
                ended = {"end": "cut"}
            elif now() - since > timeout:
                tell({"at": round(since, 4), "took": round(now() - since, 4), **ended,
                      "why": Deadline(timeout).words(fault)})
                since, ended = now(), {}
        if opened:
            since = now()
        else:
            stopping.wait(RETRY)


def _lines(stream: socket.socket, answer: http.client.HTTPResponse, tell: Callable[[], None]) -> None:
    """Read until the server ends the answer; a connection that breaks, or whose far side is gone, raises."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ALIVE:
        stream.setsockopt(socket.IPPROTO_TCP, option, seconds)
    stream.settimeout(None)
    while True:
        data = answer.read1(1 << 16)
        if not data:
            return
        for _ in range(data.count(b"\n")):
            tell()
