"""API servers as HAProxy sees them: TLS, /readyz, and connections that are held for long. Each can be made ill."""

from __future__ import annotations

import ctypes
import datetime
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TICK = 0.1
SO_ATTACH_FILTER = 26       # of the kernel; Python has no name for it
FAILED = "[+]ping ok\n[{}]etcd {}\n[+]etcd-readiness ok\n[{}]shutdown {}\nreadyz check failed\n"
OK, BAD = ("+", "ok"), ("-", "failed: reason withheld")
# /readyz as kube-apiserver 1.36 answers it
READYZ = {"ready": (200, "ok"), "etcd silent": (500, FAILED.format(*BAD, *OK)),
          "stopping": (500, FAILED.format(*OK, *BAD)), "stopping, etcd silent": (500, FAILED.format(*BAD, *BAD))}
ANSWERS = ("ready", "stopping", "refuses")      # states in which a held connection goes on being answered


class ApiServer:
    """One API server on a loopback port; `state` is a key of READYZ, `hangs`, `refuses`, or `gone` with its host."""

    def __init__(self, name: str, certificates: Path) -> None:
        self.name, self.state = name, "ready"
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificates / "server.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._held: list[socket.socket] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def become(self, state: str) -> None:
        """Change its state; one that refuses has closed its port for good, one that is gone is for good."""
        self.state = state
        if state == "refuses":
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        if state == "gone":
            self._fall_silent()

    def _fall_silent(self) -> None:
        """Let the kernel drop all that comes to the port, as where nobody is."""
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))      # BPF_RET: 0 bytes of the packet
        program = struct.pack("HL", 1, ctypes.addressof(drop))
        self._listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def close(self) -> None:
        """End everything."""
        self._ending.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for one in self._held:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._ending.is_set():
                plain, _ = self._listener.accept()
                if self.state == "hangs":
                    self._held.append(plain)
                else:
                    threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), self._tls.wrap_socket(plain, server_side=True) as tls:
            asked = tls.recv(65536)
            if asked.startswith(b"GET /readyz "):
                code, text = READYZ[self.state]
                tls.sendall(f"HTTP/1.0 {code} X\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            while asked.startswith(b"HOLD") and not self._ending.is_set():
                if self.state in ANSWERS:
                    tls.sendall(self.name.encode() + b"\n")
                time.sleep(TICK)


class Client:
    """A connection held for long: who answers it, when it last did, and whether it was ended."""

    def __init__(self, port: int) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        self._socket = tls.wrap_socket(socket.create_connection(("127.0.0.1", port), 5))
        self._socket.sendall(b"HOLD")
        self.server = self._socket.recv(100).decode().split()[0]
        self.answered, self.ended = time.monotonic(), 0.0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):
            self._socket.settimeout(None)
            while self._socket.recv(4096):
                self.answered = time.monotonic()
        self.ended = time.monotonic()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


def certificates(directory: Path) -> None:
    """Write ca.crt, and server.pem and health.pem (certificate and key) signed by it; the server is `kubernetes`."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _signed("a CA", ca_key, "a CA", ca_key, ca=True)
    (directory / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for file, name in (("server.pem", "kubernetes"), ("health.pem", "health")):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = _signed(name, key, "a CA", ca_key, ca=False).public_bytes(serialization.Encoding.PEM)
        (directory / file).write_bytes(pem + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _signed(name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, *, ca: bool,
            ) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(issuer))
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
               .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
               .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False))
    return builder.sign(by, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
