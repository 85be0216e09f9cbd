"""A watch as informers hold it: listed once, followed, and taken up again where it ended; what it saw is compared."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from typing import Any, Self

from tests.lab.load import LEDGER
from tests.lab.machines import Lab
from tests.lab.witness import namespace, within

TIMEOUT = 30.0      # seconds without a line: the API server sends a bookmark a minute at least, writes come before
PATH = f"/api/v1/namespaces/{LEDGER}/configmaps"


class Watch:
    """ConfigMaps of the ledger, watched through the VIP from outside of the nodes, from entering to leaving.

    `seen` are the names as they were added, in order; `reopened` counts the streams that ended, `expired` those that
    could not be taken up where they ended: then events may be lost.
    """

    def __init__(self, lab: Lab, credentials: ssl.SSLContext) -> None:
        self.seen: list[str] = []
        self.reopened = self.expired = 0
        self.disordered: list[tuple[int, int]] = []
        self._namespace, self._credentials = namespace(lab, None), credentials
        api = lab.inventory.cluster.api
        self._address = str(api.vip), api.port
        self._version = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        with self._connection() as connection:
            self._version = int(_json(connection, PATH)["metadata"]["resourceVersion"])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(TIMEOUT + 10)

    def _connection(self) -> _Closing:
        with within(self._namespace):
            plain = socket.create_connection(self._address, 5.0)
        plain.settimeout(TIMEOUT)
        return _Closing(self._credentials.wrap_socket(plain, server_hostname="kubernetes"))

    def _follow(self) -> None:
        while not self._ending.is_set():
            try:
                with self._connection() as connection:
                    self._stream(connection)
            except (OSError, http.client.HTTPException):
                self._ending.wait(0.2)
            self.reopened += 0 if self._ending.is_set() else 1

    def _stream(self, connection: http.client.HTTPConnection) -> None:
        connection.request("GET", f"{PATH}?watch=1&allowWatchBookmarks=true&resourceVersion={self._version}")
        for line in connection.getresponse():
            if self._ending.is_set():
                return
            self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "ERROR":
            self.expired += 1
            return
        metadata = event["object"]["metadata"]
        version = int(metadata["resourceVersion"])
        if event["type"] == "ADDED":
            if version <= self._version:
                self.disordered.append((self._version, version))
            self.seen.append(metadata["name"])
        self._version = max(version, self._version)


class _Closing(http.client.HTTPConnection):
    """A connection over a socket that is there already, closed at the end of a block."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        super().__init__("kubernetes")
        self.sock = tls

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _json(connection: http.client.HTTPConnection, path: str) -> dict[str, Any]:
    connection.request("GET", path)
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    return found
