"""Creates that take 20 s each, one at a time: an admission webhook on this machine thinks that long about every one.

It answers from the lab's bridge, so no fault of a node delays it. What ends one early is whatever cuts the connection,
or the API server that works on it.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from provisioner.lab.instance import lab_network
from provisioner.model.desired import Certificate
from provisioner.operate import pki
from tests.lab.load import VIP
from tests.lab.machines import Lab
from tests.lab.witness import namespace, within

SECONDS = 20.0
SLOW = "slow"       # the namespace, the series, and the webhook
CREATES: dict[str, Any] = {
    "name": SLOW, "kind": "http", "url": f"{VIP}/api/v1/namespaces/{SLOW}/configmaps", "method": "POST",
    "body": json.dumps({"metadata": {"name": "s{n}"}}), "headers": {"Content-Type": "application/json"},
    "status": [201], "rate": 1 / (SECONDS + 1), "timeout": 45.0, "first": 0}
"""One after the other, from wherever an administrator's files are. No API server lets one take 60 s."""


@contextmanager
def creates(lab: Lab) -> Iterator[dict[str, Any]]:
    """Let creates in a namespace of their own be slow inside the block, and return the series that makes them."""
    gateway = lab_network(lab.inventory.cluster).gateway
    ca = pki.new_ca("ca of a slow webhook")
    leaf = pki.issue(Certificate(path="", key_path="", phase="pki", ca="", common_name=SLOW, ip_addresses=(gateway,),
                                 server=True), ca)
    over = threading.Event()
    with within(namespace(lab, None)):
        server = _Server((gateway, 0), _Thinks)
    server.over = over
    server.socket = _tls(leaf).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"https://{gateway}:{server.server_address[1]}/"
    try:
        lab.kubectl("create", "namespace", SLOW)
        lab.kubectl("create", "-f", "-", stdin=json.dumps(_webhook(url, ca.certificate)))
        yield CREATES
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    over: threading.Event

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of an API server that did not wait for its answer: the create's own end tells that."""


class _Thinks(BaseHTTPRequestHandler):
    """Allows whatever it is asked, after a while."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.over.wait(SECONDS)
        answer = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"],
                             "response": {"uid": review["request"]["uid"], "allowed": True}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _tls(leaf: pki.KeyPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as directory:
        certificate, key = Path(directory) / "crt", Path(directory) / "key"
        certificate.write_bytes(leaf.certificate)
        key.touch(mode=0o600)
        key.write_bytes(leaf.key)
        context.load_cert_chain(certificate, key)
    return context


def _webhook(url: str, ca: bytes) -> dict[str, Any]:
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": SLOW}, "webhooks": [{
                "name": "slow.lab.test", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 30,
                "failurePolicy": "Fail", "clientConfig": {"url": url, "caBundle": base64.b64encode(ca).decode()},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": SLOW}},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                           "resources": ["configmaps"], "scope": "Namespaced"}]}]}
