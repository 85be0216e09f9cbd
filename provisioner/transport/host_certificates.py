"""SSH certificates of hosts: whether an authority that somebody named says whose a key is.

Only `trust` reads them: the key itself is pinned then, so every login after it goes by that key alone, and no
certificate's end shuts us out. The handshake has proved that the host holds the key.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from provisioner.transport.hostkeys import matches


def doubt(certificate: str, host: str, authorities: Collection[str], now: float | None = None) -> str:
    """Return why the certificate that came with a host's key does not speak for it, "" where it does.

    Certificate and authorities are `TYPE BASE64`. What is asked is what ssh asks: kind, authority, signature, time, the
    host's name, and no option that is unknown.
    """
    if not certificate:
        return "it shows no certificate"
    try:
        found = load_ssh_public_identity(certificate.encode())
    except (ValueError, UnsupportedAlgorithm):
        return "its certificate cannot be read"
    if not isinstance(found, SSHCertificate) or found.type != SSHCertificateType.HOST:
        return "its certificate is none of a host"
    signer = found.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    if signer not in authorities:
        return "its certificate is of another authority"
    try:
        found.verify_cert_signature()
    except InvalidSignature:
        return "the signature of its certificate is wrong"
    if not found.valid_after <= (time.time() if now is None else now) < found.valid_before:
        return "its certificate is not valid now"
    names = [name.decode(errors="replace") for name in found.valid_principals]
    if names and not any(matches(name, host) for name in names):
        return f"its certificate is for {', '.join(names)}"
    return "its certificate has options that nobody here knows" if found.critical_options else ""
