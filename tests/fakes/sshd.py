"""A real sshd on a high loopback port, with keys of its own: what the transport tests log in to."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SSHD = Path("/usr/sbin/sshd")


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    return free_ports(1)[0]


# Below what Linux gives to connections (32768 and up), so a port that is found free stays so until it is taken.
_LOWEST, _PORTS = 12_000, 18_000
_candidates = itertools.count(os.getpid() * 101)      # processes of one run begin apart, and none gives a port twice


def free_ports(count: int) -> list[int]:
    """Return different loopback ports that nobody listens on now, and that nobody is given before they are used."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port, held = _LOWEST + next(_candidates) % _PORTS, stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                held.bind(("127.0.0.1", port))
                ports.append(port)
        return ports


def keygen(path: Path) -> str:
    """Make an Ed25519 key and return its public line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=30)
    return path.with_suffix(".pub").read_text().strip()


@dataclass
class Sshd:
    """Where it listens, the key that it accepts, and the line that pins its own key."""

    directory: Path
    port: int
    key: Path
    host_key: str
    process: subprocess.Popen[bytes]

    @property
    def known_hosts(self) -> str:
        return self.pinned_at("127.0.0.1")

    def pinned_at(self, address: str) -> str:
        """Return the line that pins this sshd's key for one of its addresses."""
        kind, blob = self.host_key.split()[:2]
        return f"[{address}]:{self.port} {kind} {blob}\n"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()


@contextlib.contextmanager
def run_sshd(directory: Path, *options: str, addresses: tuple[str, ...] = ("127.0.0.1",)) -> Iterator[Sshd]:
    """Start sshd, wait until it listens, and end it in the end."""
    directory.mkdir(parents=True, exist_ok=True)
    host_key, public = keygen(directory / "host"), keygen(directory / "id")
    (directory / "authorized").write_text(public + "\n")
    lines = [
        *(f"ListenAddress {a}" for a in addresses), f"HostKey {directory}/host",
        f"PidFile {directory}/pid", f"AuthorizedKeysFile {directory}/authorized", "StrictModes no", "UsePAM no",
        "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes",
        "LogLevel VERBOSE", *options]
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)      # privilege separation: sshd insists on it
    port, process = _listening(directory, lines, addresses)
    try:
        yield Sshd(directory, port, directory / "id", host_key, process)
    finally:
        process.terminate()
        process.wait(10)


def _listening(directory: Path, lines: list[str], addresses: tuple[str, ...]) -> tuple[int, subprocess.Popen[bytes]]:
    """Start sshd at a free port, at another one where somebody was faster."""
    log = directory / "log"
    for port in free_ports(3):
        (directory / "config").write_text("\n".join([f"Port {port}", *lines]) + "\n")
        with log.open("wb") as output:
            process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(directory / "config")], stderr=output)
        deadline = time.monotonic() + 60
        while process.poll() is None and "Bind to port" not in log.read_text() and time.monotonic() < deadline:
            if all(f"Server listening on {address} port {port}" in log.read_text() for address in addresses):
                return port, process
            time.sleep(0.02)
        process.kill()
        process.wait()
    raise RuntimeError(f"sshd did not start: {log.read_text()}")


def connections(listener: socket.socket) -> int:
    """How many connections wait at a listener that takes none; whoever made them has ended, so the count stays."""
    listener.setblocking(False)
    for count in range(1000):
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
    raise AssertionError("more than anybody would make")
