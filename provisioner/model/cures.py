"""What many hosts need done, in as few lines as it takes."""

from __future__ import annotations

from collections.abc import Iterable


def cures(told: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return each cure of `(host, cure)` once; what is to be done `on HOST: ` on many hosts is one line."""
    hosts: dict[str, list[str]] = {}
    for host, cure in told:
        act = cure.removeprefix(f"on {host}: ")
        on = hosts.setdefault(act, [])
        if act != cure:
            on.append(host)
    return tuple(f"on {', '.join(on)}: {act}" if on else act for act, on in hosts.items() if act)
