"""Serves a few documents on loopback to whoever has the token; everything else is refused, and nothing is written."""

from __future__ import annotations

import hmac
import json
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from provisioner.report.live import live_page

ADDRESS = "127.0.0.1"
_RUN = re.compile(r"/runs/([0-9]{8}-[0-9]{6}-[0-9a-f]{4})")
_PATIENCE = 10      # seconds for a request to come in whole: who opens a connection and says nothing holds a thread
_ALWAYS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
           "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"}


def listener(port: int) -> socket.socket:
    """Listen on loopback, at any free port for 0; raises OSError. Made before a lab's network is entered."""
    return socket.create_server((ADDRESS, port))


class Site:
    """What is served: the page without a token, the state and runs' reports with it.

    `state` gives the document that the page shows, `report` a run's page or None where there is no such run.
    """

    def __init__(self, state: Callable[[], Mapping[str, Any]], report: Callable[[str], str | None]) -> None:
        self.token = secrets.token_urlsafe(32)
        self._state = state
        self._report = report

    def answer(self, path: str, authorization: str) -> tuple[int, str, str]:
        """Return status, type and body of a request for `path`."""
        if path == "/":
            return 200, "text/html; charset=utf-8", live_page()[0]
        run = _RUN.fullmatch(path)
        if path != "/state" and not run:
            return _refused(404, "there is no such page")
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self.token}".encode()):
            return _refused(403, "this needs the token that `kubewright serve` has printed")
        if not run:
            return 200, "application/json", json.dumps(self._state(), ensure_ascii=False)
        report = self._report(run[1])
        if report is None:
            return _refused(404, "no run is called so here")
        return 200, "text/html; charset=utf-8", report


def _refused(status: int, why: str) -> tuple[int, str, str]:
    return status, "text/plain; charset=utf-8", f"{why}\n"


@contextmanager
def serving(site: Site, at: socket.socket) -> Iterator[str]:
    """Serve at a listening socket, and yield the address with the token in its fragment, which browsers send nobody."""
    port = at.getsockname()[1]
    names = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})

    class Handler(BaseHTTPRequestHandler):
        """One connection; its own for each server, since handlers are made by the class alone."""

        server_version, sys_version, timeout = "kubewright", "", _PATIENCE

        def do_GET(self) -> None:
            if self.headers.get("Host") not in names:       # a name of somebody else's that leads here
                status, kind, body = _refused(421, "this is served under its own address only")
            else:
                status, kind, body = site.answer(self.path, self.headers.get("Authorization", ""))
            data = body.encode()
            self.send_response(status)
            headers = {**_ALWAYS, "Content-Type": kind, "Content-Length": str(len(data)),
                       "Content-Security-Policy": live_page()[1]}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):                 # the reader has left
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Tell nobody: what a page asks every two seconds is no news."""

    server = ThreadingHTTPServer((ADDRESS, port), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket, server.daemon_threads = at, True
    thread = threading.Thread(target=server.serve_forever, name="serve", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/#{site.token}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(_PATIENCE)
