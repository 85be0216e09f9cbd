"""An ssh-agent of a test's own, which holds a key that has a passphrase."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

PASSPHRASE = "a passphrase"


def locked_key(file: Path, *options: str) -> str:
    """Make a key with a passphrase and return its public line."""
    subprocess.run(["ssh-keygen", "-q", *(options or ("-t", "ed25519")), "-N", PASSPHRASE, "-f", str(file)], check=True,
                   timeout=60)
    return file.with_name(f"{file.name}.pub").read_text().strip()


@contextlib.contextmanager
def agent_with(directory: Path, *keys: Path) -> Iterator[str]:
    """Run an agent that holds these keys, and return its socket."""
    socket, asks = directory / "agent", directory / "asks"
    asks.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    asks.chmod(0o700)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()     # it says where it listens, when it does
        environment = os.environ | {"SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS": str(asks),
                                    "SSH_ASKPASS_REQUIRE": "force"}
        subprocess.run(["ssh-add", "-q", *map(str, keys)], check=True, env=environment, stdin=subprocess.DEVNULL,
                       timeout=60)
        yield str(socket)
    finally:
        agent.terminate()
        agent.wait(10)
