"""Which of the host's files names DNS servers that a Pod reaches as well."""

from __future__ import annotations

import ipaddress

from .host import Host

RESOLV_CONF = "/etc/resolv.conf"
# Where systemd-resolved writes the servers that stand behind its stub at 127.0.0.53.
BEHIND_THE_STUB = "/run/systemd/resolve/resolv.conf"


def resolv_conf(host: Host) -> str:
    """Return the file whose servers a Pod reaches; empty where there is none.

    A server on the machine's loopback (a stub of systemd-resolved, dnsmasq) is no server for a Pod: there it is the Pod
    itself.
    """
    for path in (RESOLV_CONF, BEHIND_THE_STUB):
        if any(_is_reached(server) for server in servers(host.text(path) or "")):
            return path
    return ""


def servers(text: str) -> list[str]:
    """Return the `nameserver` lines of a resolv.conf."""
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def search(text: str) -> list[str]:
    """Return the search domains of a resolv.conf: of several lines the last counts, and one without words is none."""
    lines = (line.split() for line in text.splitlines())
    found = [words[1:] for words in lines if len(words) > 1 and words[0] in ("search", "domain")]
    return found[-1] if found else []


def _is_reached(server: str) -> bool:
    try:
        address = ipaddress.ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)
