"""`inspect`: what preflight asks of a host that is to be changed; changes nothing and creates nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

from . import (
    abilities,
    admission,
    arp,
    firewall,
    kernel,
    mirror,
    network,
    others,
    places,
    sources,
    surroundings,
    sysctls,
)
from .host import STATE_DIR, TRYING, Fault, Host

LISTEN = "0A"  # TCP_LISTEN as /proc/net/tcp writes it
# Services that people and timers start programs from: stopping them would not only stop the program.
LAUNCHERS = ("ssh", "sshd", "ssh@", "sshd@", "cron", "crond", "atd", "getty@", "serial-getty@", "user@")
Socket = tuple[str, int, str]


def inspect(host: Host, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer who listens on the ports, which of the paths exist, and the room where the directories lie.

    With them: which of our own directories are links, whether the packages can be had and what they would remove, which
    of the files that we write are somebody else's, what sets the kernel settings at boot, and who says that the address
    `vip` is theirs.
    """
    interface, vip = request.get("vip") or ("", "")
    with contextlib.closing(arp.Probe(interface, vip)) if vip else contextlib.nullcontext() as probe:
        answer, unseen = looked(_questions(host, request))
        return {**answer, "unseen": unseen, "holders": probe.heard() if probe else None}


def looked(questions: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Ask all; return the answers, and why there is none to those that could not be asked."""
    answers: dict[str, Any] = {}
    unseen: dict[str, str] = {}
    for name, ask in questions.items():
        try:
            answers[name] = ask()
        except (Fault, OSError, ValueError) as fault:
            unseen[name] = str(fault)
    return answers, unseen


def _questions(host: Host, request: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    asked = request.get
    return {
        "prepared": lambda: os.path.isdir(host.at(STATE_DIR)),
        "listeners": lambda: listeners(host, asked("ports", ())),
        "there": lambda: [path for path in asked("paths", ()) if os.path.lexists(host.at(path))],
        "disks": lambda: places.look(host, asked("directories", ())),
        "swap": lambda: kernel.swap(host),
        "product": lambda: _product(host),
        "forward_drops": lambda: network.forward_drops(host, asked("pods", ())),
        "services_of_others": lambda: network.services_of_others(host),
        "shut_out": lambda: firewall.shut_out(host, asked("let_in", ()), asked("peers", ())),
        "input_drops": lambda: firewall.input_drops(host),
        "links": lambda: {path: os.readlink(host.at(path)) for path in asked("own", ())
                          if os.path.islink(host.at(path))},
        "packages": lambda: sources.look(host, asked("packages", ()), bool(asked("proxied", False))),
        "others": lambda: others.look(host, asked("files", ())),
        "mirror": lambda: mirror.reached(asked("mirror", {}), asked("mirrored", "")) if asked("mirrored") else "",
        "sysctls": lambda: sysctls.lines(host, asked("sysctls", ())),
        **(_of_system(host, request) if asked("system") else {}),
    }


def _of_system(host: Host, request: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """Return what is asked of the system as a whole: files of /proc, /sys and /etc, and four short commands."""
    asked = request.get
    return {
        "container": lambda: abilities.container(host),
        "kernel": lambda: abilities.kernel_of(host, asked("features", ())),
        "capabilities_lost": lambda: abilities.capabilities_lost(host),
        "controllers": lambda: abilities.controllers(host),
        "devices_lost": lambda: abilities.devices_lost(host, asked("devices", ())),
        "confinement": lambda: abilities.confinement(host),
        "python_lacks": abilities.python_lacks,
        "units": lambda: abilities.units(host, asked("units", ())),
        "mounted": lambda: places.mounted_below(host, asked("mounted", ())),
        "cni": lambda: others.files_in(host, asked("cni", ())),
        "hosts_file": lambda: surroundings.hosts_file(host),
        "resolv": lambda: surroundings.resolv(host),
        "environment": lambda: surroundings.environment(host),
        "locale_refused": lambda: surroundings.locale_refused(host),
        "local_ports": lambda: surroundings.local_ports(host),
        "swap_by": lambda: surroundings.swap_by(host),
        "host_key": lambda: surroundings.host_key(host),
        "netdevs": lambda: surroundings.netdevs(host),
        "chains": lambda: network.chains(host),
        "sshd": lambda: admission.sshd_limits(host),
        "dpkg": lambda: admission.dpkg(host),
        "routes": lambda: admission.routes(host),
    }


def listeners(host: Host, ports: Sequence[int]) -> list[dict[str, Any]]:
    """Return the processes that listen on `ports`; the search for them costs only where somebody does."""
    wanted = frozenset(ports)
    found = [s for table in ("tcp", "tcp6") for s in _sockets(host, table) if s[1] in wanted]
    owners = _owners(host, frozenset(inode for _, _, inode in found)) if found else {}
    if len(owners) < len(found):        # who could not be found may have ended meanwhile
        there = {s for table in ("tcp", "tcp6") for s in _sockets(host, table)}
        found = [s for s in found if s in there]
    answer = []
    for address, port, inode in found:
        pid = owners.get(inode)
        process = _comm(host, pid)
        if process != TRYING:           # one of ours, which ends with its question
            answer.append({"port": port, "address": address, "pid": pid or 0, "process": process,
                           "unit": _unit(host, pid)})
    return answer


def _sockets(host: Host, table: str) -> Iterator[Socket]:
    for line in (host.text(f"/proc/net/{table}") or "").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN:
            address, _, port = fields[1].partition(":")
            yield _address(address), int(port, 16), fields[9]


def _address(text: str) -> str:
    """Read an address: 32-bit words in the machine's own byte order."""
    words = [int(text[i:i + 8], 16) for i in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def _owners(host: Host, inodes: frozenset[str]) -> dict[str, int]:
    """Return which process holds each socket, by the links in /proc/PID/fd; the parent of a family stands first."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    owners: dict[str, int] = {}
    pids = sorted(int(name) for name in os.listdir(host.at("/proc")) if name.isdigit())
    for pid in pids:
        for link in _links(host.at(f"/proc/{pid}/fd")):
            if link in links:
                owners.setdefault(links[link], pid)
        if len(owners) == len(inodes):
            break
    return owners


def _links(directory: str) -> Iterator[str]:
    try:
        names = os.listdir(directory)
    except OSError:  # the process has ended, or is another's
        return
    for name in names:
        try:
            yield os.readlink(f"{directory}/{name}")
        except OSError:
            continue


def _comm(host: Host, pid: Optional[int]) -> str:
    return "" if pid is None else (host.text(f"/proc/{pid}/comm") or "").strip()


def _unit(host: Host, pid: Optional[int]) -> str:
    """Return the innermost systemd unit of a process, empty for what a person or a timer has started.

    systemd's own hierarchy is v2's (`0::`) or v1's name=systemd.
    """
    if pid is None:
        return ""
    for line in (host.text(f"/proc/{pid}/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "/user@" in path:  # a user's own service: systemctl does not know its name
            return ""
        if controllers == "name=systemd" or number == "0":
            for part in reversed(path.split("/")):
                if part.endswith((".service", ".scope")):
                    return "" if _launches(part) else part
    return ""


def _launches(unit: str) -> bool:
    name, at, _ = unit.rpartition(".")[0].partition("@")
    return name + at in LAUNCHERS


def _product(host: Host) -> str:
    """Return the UUID that the firmware gives the machine; a container sees that of the machine below it."""
    if os.path.exists(host.at("/run/systemd/container")):
        return ""
    return (host.text("/sys/class/dmi/id/product_uuid") or "").strip().lower()
