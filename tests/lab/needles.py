"""Finding secrets where they must not be: a fragment of each, in the clear, in base64, and in base64 twice."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

FRAGMENT = 24       # characters of base64: 18 bytes of a key, which nothing else has by chance


def fragment(secret: bytes) -> bytes:
    """Return a short text that only this secret has; of a PEM key a part that is private."""
    lines = secret.strip().splitlines()
    if lines[0].startswith(b"-----BEGIN"):
        # A P-256 key in PKCS #8 has 48 characters in common with every other, then the private number; at the end of
        # the second line its public point begins. Longer keys (RSA, OpenSSH) are private behind the middle.
        return lines[2][:FRAGMENT] if len(lines) == 5 else lines[len(lines) * 2 // 3][:FRAGMENT]
    if lines[0].startswith(b"{"):
        return bytes(re.findall(rb'"secret": "([^"]+)"', secret)[0])
    return secret


def in_base64(text: bytes) -> Iterator[bytes]:
    """Yield how a text looks inside base64 of something longer: one form for each place in a group of three bytes."""
    for before in range(3):
        code = base64.b64encode(bytes(before) + text).rstrip(b"=")
        tail = 0 if (before + len(text)) % 3 == 0 else 1        # its last character depends on what follows
        yield code[(0, 2, 3)[before]:len(code) - tail]


class Needles:
    """The fragments of many secrets, each in all its forms."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self.names: dict[bytes, str] = {}
        for name, secret in secrets.items():
            plain = fragment(secret)
            assert len(plain) >= FRAGMENT, f"{name}: too short to be told from others"
            for form in (plain, *in_base64(plain), *(f for once in in_base64(plain) for f in in_base64(once))):
                self.names[form] = name

    @property
    def patterns(self) -> bytes:
        """Return all forms, a line each, as grep takes them."""
        return b"".join(form + b"\n" for form in self.names)

    def within(self, data: bytes) -> set[str]:
        """Return the names of the secrets of which something stands in `data`."""
        return self._named(self._grep(["-oh", "-"], data))

    def in_files(self, files: Iterable[Path]) -> dict[Path, set[str]]:
        """Return which of the files hold what; a file that has gone meanwhile holds nothing."""
        paths = list(files)
        holds: dict[Path, set[str]] = {}
        for start in range(0, len(paths), 500):
            found = self._grep(["-lZ", "--", *map(str, paths[start:start + 500])])
            for name in filter(None, found.split(b"\0")):
                path = Path(os.fsdecode(name))
                holds[path] = self._named(self._grep(["-oh", "--", str(path)]))
        return holds

    def _named(self, found: bytes) -> set[str]:
        return {self.names[form] for form in found.splitlines()}

    def _grep(self, words: list[str], data: bytes | None = None) -> bytes:
        """Run grep for all forms at once; they are handed over in memory, never in a file or an argument."""
        memory = os.memfd_create("patterns")
        try:
            os.write(memory, self.patterns)
            call = ["grep", "-F", "-a", "-s", "-f", f"/proc/self/fd/{memory}", *words]
            done = subprocess.run(call, input=data, stdin=subprocess.DEVNULL if data is None else None, timeout=120,
                                  capture_output=True, check=False, pass_fds=(memory,), env={"LC_ALL": "C"})
        finally:
            os.close(memory)
        assert done.returncode < 2 or not done.stderr, done.stderr.decode()
        return done.stdout
