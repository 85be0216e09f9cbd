"""What a system says of itself in os-release(5)."""

from __future__ import annotations

from .host import Host


def os_release(host: Host) -> dict[str, str]:
    """Return its fields, without their quotes; none where there is no such file."""
    text = host.text("/etc/os-release") or host.text("/usr/lib/os-release") or ""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
