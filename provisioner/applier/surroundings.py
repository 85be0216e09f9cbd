"""What files of the system tell every program there: names, resolvers, proxies, locale, ports, swap's origin."""

from __future__ import annotations

import hashlib
import locale
import os
import re
from typing import Any, Iterator

from . import resolver
from .host import Host

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_ASSIGNED = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)=("[^"]*"|'[^']*'|[^\s"']*)""")
ZRAM = ("/etc/systemd/zram-generator.conf", "/usr/lib/systemd/zram-generator.conf", "/etc/default/zramswap")


def hosts_file(host: Host) -> list[list[Any]]:
    """Return [address, [name, ...]] for each line of /etc/hosts; a file that is not there has none."""
    rows = []
    for line in (host.text("/etc/hosts") or "").splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 1:
            rows.append([words[0], words[1:]])
    return rows


def resolv(host: Host) -> dict[str, list[str]]:
    """Return the servers and the search domains of the file that Pods' resolvers are made from."""
    text = host.text(resolver.resolv_conf(host) or resolver.RESOLV_CONF) or ""
    return {"servers": resolver.servers(text), "search": resolver.search(text)}


def environment(host: Host) -> list[list[str]]:
    """Return [file, name, value] of what is set for proxies and the locale, for logins and for systemd's services."""
    files = [(path, _plain(host.text(path) or "")) for path in ("/etc/environment", "/etc/default/locale")]
    files += [(path, _default_environment(host.text(path) or "")) for path in _system_conf(host)]
    return [[path, name, value] for path, pairs in files for name, value in pairs
            if name.lower() in PROXIES or name in ("LANG", "LC_ALL")]


def _plain(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        found = _ASSIGNED.match(line.strip().removeprefix("export ").strip())
        if found:
            yield found[1], found[2].strip("\"'")


def _default_environment(text: str) -> Iterator[tuple[str, str]]:
    """Read systemd-system.conf(5): `DefaultEnvironment="A=b c" D=e`; the quotes may stand around a whole assignment."""
    for line in text.splitlines():
        key, _, rest = line.strip().partition("=")
        if key == "DefaultEnvironment":
            for name, value in _ASSIGNED.findall(re.sub(r"""["']([A-Za-z_]\w*=[^"']*)["']""", r"\1", rest)):
                yield name, value.strip("\"'")


def _system_conf(host: Host) -> list[str]:
    directory = "/etc/systemd/system.conf.d"
    try:
        names = sorted(name for name in os.listdir(host.at(directory)) if name.endswith(".conf"))
    except OSError:
        names = []
    return ["/etc/systemd/system.conf", *(f"{directory}/{name}" for name in names)]


def locale_refused(host: Host) -> str:
    """Return the locale that logins are given and that the system does not have; empty where it has it."""
    given = {name: value for _, name, value in environment(host) if name in ("LANG", "LC_ALL") and value}
    was = locale.setlocale(locale.LC_CTYPE)
    try:
        for value in given.values():
            locale.setlocale(locale.LC_CTYPE, value)
    except locale.Error:
        return value
    finally:
        locale.setlocale(locale.LC_CTYPE, was)
    return ""


def local_ports(host: Host) -> dict[str, Any]:
    """Return the range from which the kernel takes ports for outgoing connections, and what is kept out of it."""
    low, high = (int(word) for word in (host.text("/proc/sys/net/ipv4/ip_local_port_range") or "0 0").split())
    kept = []
    for part in (host.text("/proc/sys/net/ipv4/ip_local_reserved_ports") or "").strip().split(","):
        first, _, last = part.partition("-")
        if first:
            kept.append([int(first), int(last or first)])
    return {"low": low, "high": high, "reserved": kept}


def swap_by(host: Host) -> list[str]:
    """Return what brings swap back at a boot: `/etc/fstab:7`, a swap unit, a file that asks for zram."""
    found = []
    for number, line in enumerate((host.text("/etc/fstab") or "").splitlines(), 1):
        words = line.split()
        if len(words) > 2 and not words[0].startswith("#") and words[2] == "swap" and "noauto" not in words[3:4]:
            found.append(f"/etc/fstab:{number}")
    try:
        names = sorted(os.listdir(host.at("/etc/systemd/system")))
    except OSError:
        names = []
    found += [name for name in names if name.endswith(".swap") and host.text(f"/etc/systemd/system/{name}")]
    return found + [path for path in ZRAM if host.text(path) is not None]


def host_key(host: Host) -> str:
    """Return the digest of the first of sshd's own keys, as `ssh-keygen -l` does not: only to compare machines."""
    for kind in ("ed25519", "ecdsa", "rsa"):
        words = (host.text(f"/etc/ssh/ssh_host_{kind}_key.pub") or "").split()
        if len(words) > 1:
            return hashlib.sha256(words[1].encode()).hexdigest()[:16]
    return ""


def netdevs(host: Host) -> list[str]:
    """Return the names of the network devices, as the kernel lists them for our network namespace."""
    lines = (host.text("/proc/net/dev") or "").splitlines()[2:]
    return [line.partition(":")[0].strip() for line in lines]
