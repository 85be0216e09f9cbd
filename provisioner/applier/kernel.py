"""Kernel settings and abilities, read from /proc and /sys: no process, no change."""

from __future__ import annotations

import os
import re
from typing import Optional

from .host import Host

# What shows that a module's code is there although it is in no list: built in, or the list is hidden in a container.
EVIDENCE = {
    "br_netfilter": "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "ip_vs": "/proc/net/ip_vs",
    "nf_conntrack": "/proc/sys/net/netfilter/nf_conntrack_max",
}
OPTIONS = {
    "br_netfilter": "BRIDGE_NETFILTER", "overlay": "OVERLAY_FS", "nf_tables": "NF_TABLES", "vxlan": "VXLAN",
    "ip_vs": "IP_VS", "nf_conntrack": "NF_CONNTRACK",
}


def sysctl(host: Host, key: str) -> str:
    """Return a kernel setting as it is in force, blanks folded to one, or `absent`."""
    first = re.search(r"[./]", key)
    if first and first.group() == ".":  # sysctl's own rule: with dots outside, a slash stands for a dot in a name
        key = key.translate(str.maketrans("./", "/."))
    text = host.text("/proc/sys/" + key)
    return "absent" if text is None else " ".join(text.split())


def swap(host: Host) -> str:
    """Return `off`, or `on` with the devices in use."""
    lines = (host.text("/proc/swaps") or "").splitlines()[1:]
    return " ".join(["on", *(line.split()[0] for line in lines)]) if lines else "off"


def has_module(host: Host, name: str) -> bool:
    """Say whether a module's code is in the kernel now: loaded or built in."""
    name = name.replace("-", "_")
    if os.path.isdir(host.at(f"/sys/module/{name}")):
        return True
    if name in EVIDENCE and os.path.exists(host.at(EVIDENCE[name])):
        return True
    if name in (host.text("/proc/filesystems") or "").split():
        return True
    return _built_in(host, name)


def is_told(host: Host) -> bool:
    """Say whether the kernel's configuration can be read here, so that what is not in it is not there."""
    return _config(host, os.uname().release) is not None


def _built_in(host: Host, name: str) -> bool:
    release = os.uname().release
    for line in (host.text(f"/lib/modules/{release}/modules.builtin") or "").splitlines():
        if line.rpartition("/")[2].partition(".")[0].replace("-", "_") == name:
            return True
    option = OPTIONS.get(name)
    config = _config(host, release) if option else None
    return config is not None and f"\nCONFIG_{option}=y\n" in config


def _config(host: Host, release: str) -> Optional[str]:
    text = host.text(f"/boot/config-{release}")
    if text is not None:
        return text
    try:
        with open(host.at("/proc/config.gz"), "rb") as stream:
            import zlib  # only a kernel without a module list needs it
            return zlib.decompress(stream.read(), wbits=31).decode(errors="replace")
    except OSError:
        return None
