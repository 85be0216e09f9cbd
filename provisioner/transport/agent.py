"""A private key with a passphrase: the agent signs with it where it holds it, and nobody is asked.

So it is with OpenSSH: `IdentitiesOnly` with such a file takes the agent's key of the same public half.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from pathlib import Path

import paramiko

_OPENSSH = b"openssh-key-v1\0"      # PROTOCOL.key: cipher, kdf, its options, the number of keys, the public key, ...


def held(file: Path) -> paramiko.AgentKey | None:
    """Return the agent's key for a file with a passphrase, None for one that has none.

    Raises PasswordRequiredException where no agent holds it.
    """
    public = _locked(file)
    if public is None:
        return None
    with suppress(paramiko.SSHException, OSError):
        for key in paramiko.Agent().get_keys():
            if key.asbytes() == public:
                return key
    raise paramiko.PasswordRequiredException("Private key file is encrypted")


def _locked(file: Path) -> bytes | None:
    """Return the public half of a private key that has a passphrase, b"" where it is unknown; None where it has none.
    """
    try:
        lines = file.read_bytes().splitlines()
        if b"OPENSSH" not in lines[0]:
            return _beside(file) if any(b"ENCRYPTED" in line for line in lines[:3]) else None
        message = paramiko.Message(base64.b64decode(b"".join(line for line in lines if not line.startswith(b"-----"))))
    except (OSError, IndexError, binascii.Error):       # what it is, others tell
        return None
    if message.get_bytes(len(_OPENSSH)) != _OPENSSH or message.get_binary() == b"none":
        return None
    message.get_binary(), message.get_binary(), message.get_int()
    return message.get_binary()


def _beside(file: Path) -> bytes:
    """Return the public half that lies beside a private key of the old form."""
    try:
        return base64.b64decode(file.with_name(f"{file.name}.pub").read_bytes().split()[1])
    except (OSError, IndexError, binascii.Error):
        return b""
