"""A server on loopback that stands in for every publisher, as a mirror of them all, and can behave badly."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from provisioner.artifacts.published import Publications
from tests.fakes.workshop import executable

SLOW_PIECE = 200
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass
class Publisher:
    """What it has by path, what it does wrong (`faults`: a way for each request to come, the last one for ever)."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)       # path, Range
    told_to: list[str] = field(default_factory=list)                 # Authorization of each request
    port: int = 0
    scheme: str = "http"
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def publish(self, url: str, data: bytes) -> str:
        """Have `data` where a mirror has what is published at `url`; returns its digest."""
        self.files[f"/{url.removeprefix('https://')}"] = data
        return hashlib.sha256(data).hexdigest()

    def publish_image(self, host: str, name: str, layers: list[bytes], arches: tuple[str, ...] = ("amd64",),
                      config: bytes = b"") -> str:
        """Have an image of a registry for some architectures; returns the digest of its index."""
        base = f"https://{host}/v2/{name}"
        blobs = [self._blob(base, layer, _LAYER + ("+gzip" if layer[:2] == b"\x1f\x8b" else "")) for layer in layers]
        manifests = []
        for arch in arches:
            about = self._blob(base, config or json.dumps({"architecture": arch, "os": "linux"}).encode(),
                               "application/vnd.oci.image.config.v1+json")
            document = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                        "config": about, "layers": blobs}
            manifests.append(self._manifest(base, document) | {"platform": {"os": "linux", "architecture": arch}})
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        return str(self._manifest(base, index)["digest"]).removeprefix("sha256:")

    def _blob(self, base: str, data: bytes, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.publish(f"{base}/blobs/{digest}", data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def _manifest(self, base: str, document: Mapping[str, Any]) -> dict[str, Any]:
        data = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.publish(f"{base}/manifests/{digest}", data)
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}

    def fault(self) -> str:
        return self.faults.pop(0) if len(self.faults) > 1 else (self.faults or [""])[0]


@contextmanager
def publisher(certificate: Path | None = None) -> Iterator[Publisher]:
    """Serve on loopback until the block ends, over TLS where there is a file with certificate and key."""
    made = Publisher(scheme="https" if certificate else "http")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Tests say what went wrong themselves."""

        def do_GET(self) -> None:
            _answer(made, self)

        def do_HEAD(self) -> None:
            made.asked.append((self.path, "HEAD"))
            fault = made.fault()
            if fault == "silent":
                made.stop.wait(60)
            _status(self, int(fault) if fault.isdigit() else 200 if self.path in made.files else 404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        made.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.stop.set()
            server.shutdown()
            thread.join(10)


def _answer(made: Publisher, request: BaseHTTPRequestHandler) -> None:
    path, wanted = request.path, request.headers.get("Range", "")
    if path.startswith("/token"):
        _whole(request, b'{"token": "for anybody"}', "application/json")
        return
    made.asked.append((path, wanted))
    made.told_to.append(request.headers.get("Authorization", ""))
    fault = made.fault()
    data = made.files.get(path.removeprefix("/elsewhere"))
    if fault == "token" and made.told_to[-1] != "Bearer for anybody":
        _status(request, 401, {"WWW-Authenticate": f'Bearer realm="{made.url}/token",service="test",scope="pull"'})
    elif data is None or fault == "404":
        _status(request, 404)
    elif fault.isdigit():
        _status(request, int(fault))
    elif fault == "html":
        _whole(request, b"<html>Please log in to the guest network</html>", "text/html; charset=utf-8")
    elif fault == "page":
        _whole(request, b"<html>Please log in to the guest network</html>", "application/octet-stream")
    elif fault == "flipped":
        _whole(request, bytes([data[0] ^ 1]) + data[1:])
    elif fault == "arm64":
        _whole(request, executable(183))
    elif fault == "elsewhere":
        _status(request, 302, {"Location": f"{made.url}/elsewhere{path}"})
    elif fault == "plain":
        _status(request, 302, {"Location": f"http://127.0.0.1:{made.port}{path}"})
    elif fault == "round":
        _status(request, 302, {"Location": f"{made.url}{path}"})
    else:
        _some(made, request, data, wanted if fault != "from the start" else "", fault)


def _some(made: Publisher, request: BaseHTTPRequestHandler, data: bytes, wanted: str, fault: str) -> None:
    """Give the file from where it is wanted: whole, cut in its middle, or in drops."""
    start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
    if start >= len(data):
        _status(request, 416)
        return
    request.send_response(206 if start else 200)
    request.send_header("Content-Length", str(len(data) - start))
    request.send_header("Content-Type", "application/octet-stream")
    request.end_headers()
    rest = data[start:]
    if fault == "cut":
        request.wfile.write(rest[:len(rest) // 2])
        request.close_connection = True
    elif fault == "silent":
        request.wfile.flush()
        made.stop.wait(10)
        request.close_connection = True
    elif fault == "slow":
        for at in range(0, len(rest), SLOW_PIECE):
            if made.stop.wait(0.05):
                break
            request.wfile.write(rest[at:at + SLOW_PIECE])
    else:
        request.wfile.write(rest)


def _whole(request: BaseHTTPRequestHandler, data: bytes, kind: str = "application/octet-stream") -> None:
    _status(request, 200, {"Content-Type": kind}, data)


def _status(request: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str] = {}, data: bytes = b"") -> None:
    request.send_response(status)
    for name, value in {"Content-Length": str(len(data)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(data)


def archive(members: Mapping[str, bytes], links: Mapping[str, str] = {}) -> bytes:
    """Return a gzipped tar of files and symbolic links."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as packed:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
        for name, to in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, to
            packed.addfile(member)
    return made.getvalue()


def publications(component: str, digest: str, version: str = "1.0.0", **file: object) -> Publications:
    """Return what is known of one component with one published file, called as it is."""
    name = str(file.pop("name", component))
    return Publications.model_validate({"components": {component: {
        "files": {name: file}, "digests": {version: {name: {"amd64": digest}}}}}})
