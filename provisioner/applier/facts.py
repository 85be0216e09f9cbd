"""The facts of a host: the fields of the model's Facts, nothing guessed."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from . import managers, resolver
from .host import Fault, Host
from .release import os_release

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}
CAP_SYS_RESOURCE = 24


def gather(host: Host) -> dict[str, Any]:
    """Return every fact; what cannot be read is empty, so that preflight names it instead of us failing."""
    system = os.uname()
    release = os_release(host)
    return {
        "hostname": system.nodename,
        "machine_id": (host.text("/etc/machine-id") or "").strip(),
        "boot_id": (host.text("/proc/sys/kernel/random/boot_id") or "").strip(),
        "os_id": release.get("ID", ""),
        "os_version": release.get("VERSION_ID", ""),
        "arch": ARCHITECTURES.get(system.machine, system.machine),
        "kernel": system.release,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": _memory_mib(host),
        "cgroup": "v2" if os.path.exists(host.at("/sys/fs/cgroup/cgroup.controllers")) else "v1",
        "cap_sys_resource": _capable(host, CAP_SYS_RESOURCE),
        "epoch": time.time(),
        "interfaces": _interfaces(host),
        "uid": os.geteuid(),
        "systemd": os.path.isdir(host.at("/run/systemd/system")),  # sd_booted(3)
        "resolv_conf": resolver.resolv_conf(host),
        "manager": managers.name_of(host),
    }


def _memory_mib(host: Host) -> int:
    for line in (host.text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return 0


def _capable(host: Host, capability: int) -> bool:
    """Say whether root's processes here have a capability: a container's root often lacks some."""
    for line in (host.text("/proc/self/status") or "").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def _interfaces(host: Host) -> list[dict[str, Any]]:
    """Return interfaces with their lasting addresses; the Pods' ends, which have none, are left out."""
    try:
        links = json.loads(host.run(["ip", "-json", "address", "show"]) or "[]")
    except (Fault, ValueError):
        return []
    found = []
    for link in links:
        addresses = [f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", ())
                     if "local" in a and a.get("scope") != "link"]
        if addresses or "link_netnsid" not in link:
            found.append({"name": link["ifname"], "addresses": addresses, "mtu": link.get("mtu", 0),
                          "mac": link.get("address", "")})
    return found
