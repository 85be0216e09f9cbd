"""A host below a temporary directory, and the changes that tests ask of it."""

from __future__ import annotations

import base64
import contextlib
import datetime
import fcntl
import grp
import hashlib
import io
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provisioner.applier import main, package
from provisioner.applier.host import Host
from provisioner.model.paths import data_dir

STAMP = data_dir("templates") / "opt/kubewright/bin/stamp"
ME = pwd.getpwuid(os.getuid()).pw_name
US = grp.getgrgid(os.getgid()).gr_name


class FakeHost:
    """The host with what tests do to it from outside."""

    def __init__(self, root: Path, systemd: Path) -> None:
        self.root = root
        self.systemd = systemd
        self.host = Host(str(root))

    def put(self, path: str, text: str | bytes, mode: int = 0o644) -> Path:
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
        place.chmod(mode)
        return place

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def set_units(self, **units: dict[str, str]) -> None:
        path = self.systemd / "units.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | {name.replace("_", "-") + ".service": u for name, u in units.items()}))

    def unit(self, name: str) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.systemd / "units.json").read_text())[name]
        return found

    def calls(self) -> list[str]:
        path = self.systemd / "log"
        return path.read_text().splitlines() if path.exists() else []

    def stamp(self, unit: str) -> None:
        """Run the real stamp program, as the unit's start would."""
        subprocess.run(["sh", str(STAMP), unit], env={**os.environ, "STAMP_ROOT": str(self.root)}, check=True)

    def call(self, command: str, request: dict[str, Any], more: bytes = b"", *, status: int = 0) -> Any:
        """Run a command through the program's entry in this process: its options, request, answer and exit status."""
        out, err = io.StringIO(), io.StringIO()
        stdin = io.TextIOWrapper(io.BytesIO(json.dumps(request).encode() + b"\n" + more))
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setattr(sys, "stdin", stdin)
            code = main.main(["--root", str(self.root), command])
        return self._told(code, out.getvalue(), err.getvalue(), status)

    def send(self, command: str, request: dict[str, Any], more: bytes = b"", *, status: int = 0) -> Any:
        """Run a command of the real zipapp in a process of its own, as over SSH."""
        done = self.run(command, package.frame(request) + more)
        return self._told(done.returncode, done.stdout.decode(), done.stderr.decode(), status)

    def _told(self, code: int, out: str, err: str, status: int) -> Any:
        assert code == status, err
        answer = json.loads(out) if out else err
        if isinstance(answer, dict) and answer.get("status") in ("done", "failed", "stale"):
            self._let_step_end()
        return answer

    def _let_step_end(self) -> None:
        """Wait for the lock of the step that answered: its result is there before it has tidied up."""
        with contextlib.suppress(FileNotFoundError), self.path("/var/lib/kubewright/lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)

    def run(self, command: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        argv = package.argv(command)
        return subprocess.run([sys.executable, *argv[1:-1], "--root", str(self.root), command], input=stdin,
                              capture_output=True, timeout=60, check=False)

    def leftovers(self) -> list[str]:
        return [str(p) for p in self.root.rglob("*kubewright-tmp*")]


def fresh(directory: Path, number: int) -> FakeHost:
    """Return a host of its own: one of many that a test makes, each with a systemd in its place from here on."""
    root, systemd = directory / f"root{number}", directory / f"systemd{number}"
    root.mkdir()
    systemd.mkdir()
    os.environ.update(FAKE_ROOT=str(root), FAKE_SYSTEMD=str(systemd))
    return FakeHost(root, systemd)


def b64(data: str | bytes) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def state_of(text: str, mode: int = 0o644) -> str:
    return f"file sha256:{hashlib.sha256(text.encode()).hexdigest()} {mode:04o} {ME}:{US}"


def file_change(path: str, text: str, expect: str = "absent", mode: int = 0o644, **more: Any) -> dict[str, Any]:
    return {"kind": "file", "path": path, "action": "add" if expect == "absent" else "change", "expect": expect,
            "want": state_of(text, mode), "content": b64(text), "mode": mode, "owner": ME, "group": US, **more}


def unit_change(name: str, inputs: list[str], action: str = "restart") -> dict[str, Any]:
    return {"kind": "unit", "path": name, "action": action, "expect": "active enabled due",
            "want": "active enabled current", "inputs": inputs}


def pair(common_name: str = "test") -> tuple[bytes, bytes]:
    """Return a self-signed certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("api.test"), x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1)).add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256()))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                            serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def certificate_change(path: str, key_path: str, certificate: bytes, key: bytes, expect: str) -> dict[str, Any]:
    return {"kind": "certificate", "path": path, "key_path": key_path, "action": "change", "expect": expect,
            "want": "", "certificate": b64(certificate), "key": b64(key), "mode": 0o600, "owner": ME, "group": US}
