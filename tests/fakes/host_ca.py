"""An authority that signs host keys, as `ssh-keygen -s` does."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.fakes.sshd import keygen


class HostCa:
    """Makes certificates; `line` is what a known_hosts file says of it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._key = directory / "ca"
        self.public = keygen(self._key)

    def line(self, patterns: str) -> str:
        return f"@cert-authority {patterns} {self.public}\n"

    def sign(self, key: Path, *options: str, names: str = "127.0.0.1") -> Path:
        """Sign a public key for these names and return the certificate."""
        subject = ["-n", names] if names else []
        subprocess.run(["ssh-keygen", "-q", "-s", str(self._key), "-I", "test", "-h", *subject, *options, str(key)],
                       check=True, timeout=60)
        return key.with_name(key.name.replace(".pub", "") + "-cert.pub")
