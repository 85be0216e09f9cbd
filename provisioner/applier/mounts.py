"""Where file systems are mounted, as the kernel tells it."""

from __future__ import annotations

from .host import Fault, Host


def mounts(host: Host) -> list[str]:
    """Return where, in the order in which they were mounted; not to know is a Fault: whoever removes would go in."""
    text = host.text("/proc/self/mountinfo")
    if text is None:
        raise Fault("/proc/self/mountinfo cannot be read: what is mounted is not known")
    return [_unescaped(line.split()[4]) for line in text.splitlines()]


def _unescaped(word: str) -> str:
    """Undo the kernel's \\040 and the like."""
    return word.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
