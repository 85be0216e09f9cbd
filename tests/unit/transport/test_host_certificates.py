"""Certificates of hosts: what speaks for a key, and every reason why one does not, on what ssh-keygen has signed."""

from __future__ import annotations

import base64
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)

from provisioner.transport import host_certificates
from tests.fakes.host_ca import HostCa
from tests.fakes.sshd import keygen


def shown(file: Path) -> str:
    """Return a certificate as it is handed to us, without its comment."""
    return " ".join(file.read_text().split()[:2])


def authority(ca: HostCa) -> str:
    return " ".join(ca.public.split()[:2])


@pytest.mark.parametrize(("options", "names", "host", "says"), [
    ((), "cp1.example.org,10.0.0.11", "10.0.0.11", ""),
    ((), "*.example.org", "cp1.example.org", ""),
    ((), "", "anybody", ""),
    ((), "cp2.example.org", "cp1.example.org", "its certificate is for cp2.example.org"),
    (("-V", "20200101:20210101"), "cp1", "cp1", "its certificate is not valid now"),
    (("-V", "20400101:20410101"), "cp1", "cp1", "its certificate is not valid now"),
])
def test_what_a_certificate_says(tmp_path: Path, options: tuple[str, ...], names: str, host: str, says: str) -> None:
    ca = HostCa(tmp_path)
    keygen(tmp_path / "host")
    key = shown(ca.sign(tmp_path / "host.pub", *options, names=names))
    assert host_certificates.doubt(key, host, [authority(ca)]) == says
    assert host_certificates.doubt(key, host, [authority(HostCa(tmp_path / "other"))]) == (
        "its certificate is of another authority")


def test_a_certificate_of_a_user_and_a_plain_key_say_nothing_of_a_host(tmp_path: Path) -> None:
    ca = HostCa(tmp_path)
    keygen(tmp_path / "host")
    subprocess.run(["ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-I", "x", "-n", "cp1", str(tmp_path / "host.pub")],
                   check=True, timeout=60)
    assert host_certificates.doubt(shown(tmp_path / "host-cert.pub"), "cp1", [authority(ca)]) == (
        "its certificate is none of a host")
    assert host_certificates.doubt("", "cp1", [authority(ca)]) == "it shows no certificate"
    assert host_certificates.doubt("ssh-ed25519 AAAA", "cp1", [authority(ca)]) == "its certificate cannot be read"


def test_a_certificate_that_was_written_into_is_not_believed(tmp_path: Path) -> None:
    ca = HostCa(tmp_path)
    keygen(tmp_path / "host")
    file = ca.sign(tmp_path / "host.pub", names="cp1")
    kind, text = file.read_text().split()[:2]
    forged = base64.b64decode(text).replace(b"\x00\x00\x00\x03cp1", b"\x00\x00\x00\x03cp2")
    file.write_text(f"{kind} {base64.b64encode(forged).decode()}\n")
    assert host_certificates.doubt(shown(file), "cp2", [authority(ca)], time.time()) == (
        "the signature of its certificate is wrong")


def test_a_certificate_with_an_option_that_must_be_understood_is_not_believed(tmp_path: Path) -> None:
    ca = Ed25519PrivateKey.generate()
    public = ca.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    plain = (SSHCertificateBuilder().public_key(Ed25519PrivateKey.generate().public_key()).serial(1)
             .type(SSHCertificateType.HOST).key_id(b"test").valid_principals([b"cp1"])
             .valid_after(0).valid_before(2**64 - 1))
    signed = [one.sign(ca).public_bytes().decode()
              for one in (plain, plain.add_critical_option(b"only-on-mondays", b""))]
    assert [host_certificates.doubt(one, "cp1", [public]) for one in signed] == [
        "", "its certificate has options that nobody here knows"]


@pytest.mark.parametrize(("name", "host"), [("CP1.Example.org", "cp1.example.org"), ("cp?", "cp1"), ("[ab]1", "[ab]1")])
def test_names_are_matched_as_ssh_does(tmp_path: Path, name: str, host: str) -> None:
    ca = HostCa(tmp_path)
    keygen(tmp_path / "host")
    key = shown(ca.sign(tmp_path / "host.pub", names=name))
    assert host_certificates.doubt(key, host, [authority(ca)]) == ""
    assert host_certificates.doubt(key, "a1", [authority(ca)]) == f"its certificate is for {name}"
