"""The program that lets flannel wait for its node's part of the Pod range, against an API over TLS."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from provisioner.compile.render import render
from provisioner.model.desired import Certificate
from provisioner.operate import pki

ANSWERS = [(404, "{}"), (200, '{"spec": {}}'), (200, '{"spec": {"podCIDR": "10.244.1.0/24"}}')]


class Api(http.server.BaseHTTPRequestHandler):
    """Answers as an API server that comes to know the node, and then to give it its part."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        status, body = ANSWERS[min(len(self.asked), len(ANSWERS) - 1)]
        self.asked.append(self.path)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[int]:
    """Return the port of an API that lets in whoever our CA has signed."""
    ca = pki.new_ca("cluster")
    pair = pki.issue(Certificate(path="x", key_path="y", phase="pki", ca="cluster", common_name="x", server=True,
                                 client=True, ip_addresses=("127.0.0.1",)), ca)
    for name, data in (("ca.crt", ca.certificate), ("x.crt", pair.certificate), ("x.key", pair.key)):
        (tmp_path / name).write_bytes(data)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "x.crt", tmp_path / "x.key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        Api.asked.clear()
        yield server.server_port
        server.shutdown()


def waited(directory: Path, port: int, **more: str) -> subprocess.CompletedProcess[str]:
    script = render("/opt/kubewright/bin/await-subnet", node="w1", port=port, ca=str(directory / "ca.crt"),
                    certificate=str(directory / "x.crt"), key=str(directory / more.get("key", "x.key")))
    assert "ANSWER = 60.0, 0.25," in script
    script = script.replace("ANSWER = 60.0, 0.25,", f"ANSWER = {more['patience']}, 0.05,")
    return subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, timeout=60,
                          check=False)


def test_it_waits_until_the_node_is_there_and_has_its_part(tmp_path: Path, api: int) -> None:
    done = waited(tmp_path, api, patience="50.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert Api.asked == ["/api/v1/nodes/w1"] * len(ANSWERS)


def test_it_ends_in_time_and_says_what_it_waited_for(tmp_path: Path, api: int) -> None:
    done = waited(tmp_path, 1, patience="0.0")
    assert done.returncode == 1 and done.stderr.startswith("the API does not answer: ")
    done = waited(tmp_path, api, patience="0.0", key="missing")
    assert done.returncode == 1 and done.stderr.startswith("certificates: ")
