"""A registry of one image, with or without a login and TLS; asked for a whole URL it is the proxy before one."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Registry:
    """What it has below /v2/NAME/, whom it lets in (`user:password`; empty: everybody), and what it was asked."""

    name: str
    login: str = ""
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    asked: list[tuple[str, str, int]] = field(default_factory=list)      # who, URL or path, the answer

    def take(self, archive: Path, tag: str, label: str) -> None:
        """Have the image of an OCI archive under a tag, made another one by a label: nobody has it already."""
        with tarfile.open(archive) as packed:
            def blob(digest: str) -> bytes:
                member = packed.extractfile(f"blobs/{digest.replace(':', '/')}")
                assert member is not None, digest
                return member.read()

            index = packed.extractfile("index.json")
            assert index is not None
            manifest = json.loads(blob(json.load(index)["manifests"][0]["digest"]))
            config = json.loads(blob(manifest["config"]["digest"]))
            config.setdefault("config", {})["Labels"] = {"is": label}
            layers = {one["digest"]: blob(one["digest"]) for one in manifest["layers"]}
        made = json.dumps(config).encode()
        about = manifest["config"] | {"digest": _digest(made), "size": len(made)}
        manifest |= {"mediaType": _MANIFEST, "config": about}
        text = json.dumps(manifest).encode()
        self.files |= {f"manifests/{name}": (text, _MANIFEST) for name in (tag, _digest(text))}
        self.files |= {f"blobs/{digest}": (data, "application/octet-stream")
                       for digest, data in {_digest(made): made, **layers}.items()}

    def answer(self, path: str, told: str) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers for a path, of whoever sent this Authorization."""
        if self.login and told != f"Basic {base64.b64encode(self.login.encode()).decode()}":
            return 401, b"", {"WWW-Authenticate": 'Basic realm="here"'}
        if path == "/v2/":
            return 200, b"{}", {}
        data, kind = self.files.get(path.removeprefix(f"/v2/{self.name}/"), (b"", ""))
        return (200, data, {"Content-Type": kind, "Docker-Content-Digest": _digest(data)}) if kind else (404, b"", {})


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def serving(registry: Registry, address: str, certificate: Path | None = None) -> Iterator[int]:
    """Serve at an address of the calling thread's network until the block ends; yields the port.

    `certificate` is a file with certificate and key; without it nothing is encrypted.
    """
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Tests say what went wrong themselves."""

        def do_GET(self) -> None:
            self._respond(body=True)

        def do_HEAD(self) -> None:
            self._respond(body=False)

        def _respond(self, *, body: bool) -> None:
            status, data, headers = registry.answer(
                urlsplit(self.path).path, self.headers.get("Authorization", ""))
            registry.asked.append((str(self.client_address[0]), self.path, status))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    with ThreadingHTTPServer((address, 0), Handler) as server:
        server.daemon_threads = True
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(10)


def self_signed(directory: Path, address: str) -> tuple[Path, str]:
    """Return a file with a certificate for an address and its key, and the certificate's text."""
    key: Any = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a registry")])
    now = dt.datetime.now(dt.UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
            .sign(key, hashes.SHA256()))
    text = made.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption()).decode()
    file = directory / "registry.pem"
    file.write_text(text + private)
    file.chmod(0o600)
    return file, text
