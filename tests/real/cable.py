"""Two network namespaces with a cable between them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


def inside(name: str, *argv: str, given: str = "") -> str:
    """Run a command in a namespace and return what it printed."""
    done = subprocess.run(["ip", "netns", "exec", name, *argv], input=given, capture_output=True, text=True, timeout=30,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def connected(kind: str, first: str, second: str) -> Iterator[tuple[str, str]]:
    """Give the names of two, each with one of these addresses at its `eth0`; they are gone after the block."""
    names = (f"kw-{kind}-{os.getpid()}-a", f"kw-{kind}-{os.getpid()}-b")
    with ExitStack() as after:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True, timeout=20)
            after.callback(subprocess.run, ["ip", "netns", "del", name], check=True, timeout=20)
        subprocess.run(["ip", "link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns",
                        names[1]], check=True, timeout=20)
        for name, address in zip(names, (first, second), strict=True):
            inside(name, "ip", "address", "add", f"{address}/24", "dev", "eth0")
            inside(name, "ip", "link", "set", "eth0", "up")
            inside(name, "ip", "link", "set", "lo", "up")
        yield names
