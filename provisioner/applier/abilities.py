"""What a machine can do for a cluster: kernel, cgroups, capabilities, Python, systemd. Reads; changes nothing."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from typing import Any, Optional, Sequence

from . import kernel
from . import selinux as of_selinux
from . import units as systemd
from .host import Fault, Host

# capabilities(7): what runc, the kubelet and kube-proxy cannot do without, by number.
CAPABILITIES = {"CAP_DAC_OVERRIDE": 1, "CAP_SETUID": 7, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_CHROOT": 18,
                "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27, "CAP_SETFCAP": 31}
# Standard modules that the applier and Ansible's own modules import; a minimal Python leaves some of them out.
PYTHON = ("json", "ctypes", "fcntl", "grp", "hashlib", "http.client", "locale", "logging", "platform", "pwd",
          "selectors", "shlex", "socket", "ssl", "subprocess", "syslog", "tempfile", "urllib.request", "zipfile",
          "zlib")
TIMEX, TIME_ERROR = 512, 5      # more bytes than struct timex has on any machine; <sys/timex.h>
AGENTS = ("nm-cloud-setup.timer", "nm-cloud-setup.service")      # they make rules of routes as a cloud tells them
KEEPERS = ("systemd-timesyncd", "chrony", "chronyd", "ntp", "ntpd", "ntpsec", "openntpd")


def container(host: Host) -> str:
    """Return what kind of container this is, as its manager says; empty on a machine."""
    return (host.text("/run/systemd/container") or "").strip()


def kernel_of(host: Host, features: Sequence[str]) -> dict[str, Any]:
    """Answer which of the features the kernel has neither now nor as a module, and whether its modules are there.

    `features` are names of modules; one that is built in counts, as one does that could be loaded.
    """
    release = os.uname().release
    tree = os.path.isdir(host.at(f"/lib/modules/{release}"))
    lost = [name for name in features if not kernel.has_module(host, name)]
    if lost and not tree and container(host) and not kernel.is_told(host):
        raise Fault("in this container neither the kernel's modules nor its configuration are to be seen")
    known = _loadable(host, release) if lost and tree else frozenset()
    others = _names(host.at("/lib/modules")) if lost and not tree else []
    return {"release": release, "missing": [name for name in lost if name not in known], "other_trees": sorted(others)}


def _loadable(host: Host, release: str) -> frozenset[str]:
    """Return the modules that depmod knows; each line of modules.dep begins with a module's file."""
    lines = (host.text(f"/lib/modules/{release}/modules.dep") or "").splitlines()
    files = (line.partition(":")[0].rpartition("/")[2].partition(".")[0] for line in lines)
    return frozenset(name.replace("-", "_") for name in files)


def capabilities_lost(host: Host) -> list[str]:
    """Return the capabilities that no process here can have, of those that a node needs."""
    for line in (host.text("/proc/self/status") or "").splitlines():
        if line.startswith("CapBnd:"):
            held = int(line.split()[1], 16)
            return [name for name, number in CAPABILITIES.items() if not held >> number & 1]
    raise Fault("/proc/self/status does not tell the capabilities")


def controllers(host: Host) -> list[str]:
    """Return the cgroup controllers that the kernel has and has not been told to leave out."""
    text = host.text("/sys/fs/cgroup/cgroup.controllers")
    if text is not None:
        return text.split()
    rows = [line.split() for line in (host.text("/proc/cgroups") or "").splitlines() if not line.startswith("#")]
    if not rows:
        raise Fault("neither /sys/fs/cgroup/cgroup.controllers nor /proc/cgroups can be read")
    return [row[0] for row in rows if row[-1] == "1"]


def devices_lost(host: Host, paths: Sequence[str]) -> list[str]:
    """Return those of the device files that are not there."""
    return [path for path in paths if not os.path.exists(host.at(path))]


def confinement(host: Host) -> dict[str, str]:
    """Answer what SELinux does and which of its programs are missing, and whether AppArmor is on without its parser."""
    enforces = (host.text("/sys/fs/selinux/enforce") or "").strip()
    selinux = {"1": "enforcing", "0": "permissive"}.get(enforces, "")
    on = (host.text("/sys/module/apparmor/parameters/enabled") or "").strip() == "Y"
    parser = any(os.path.exists(host.at(f"{place}/apparmor_parser")) for place in ("/sbin", "/usr/sbin"))
    lacks = " ".join(of_selinux.lacks(host)) if selinux else ""
    return {"selinux": selinux, "lacks": lacks, "apparmor": "" if not on else "on" if parser else "no parser"}


def python_lacks() -> list[str]:
    """Return those of the standard modules that this Python does not have."""
    return [name for name in PYTHON if not _found(name)]


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def units(host: Host, ours: Sequence[str]) -> dict[str, Any]:
    """Answer which units of ours are masked, what keeps the clock or makes routes of its own, and which systemd it is.
    """
    keepers = [f"{name}.service" for name in KEEPERS]
    states = systemd.show(host, [*keepers, *AGENTS, *ours], ("LoadState", "ActiveState"))
    return {"masked": [unit for unit in ours if states[unit].get("LoadState") == "masked"],
            "keepers": [unit for unit in keepers if states[unit].get("ActiveState") == "active"],
            "agents": [unit for unit in AGENTS if states[unit].get("ActiveState") == "active"],
            "systemd": systemd_version(host.run(["systemctl", "--version"])), "synchronized": synchronized()}


def synchronized() -> Optional[bool]:
    """Return whether the kernel holds its clock for set by somebody, None where it does not say; sets nothing.

    adjtimex(2) with `modes` 0 only reads, and returns TIME_ERROR where nobody keeps the clock.
    """
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX))
    return None if state < 0 else state != TIME_ERROR


def systemd_version(text: str) -> int:
    """Read `systemd 252 (252.39-1~deb12u2)`; 0 where it is something else."""
    words = text.split()
    return int(words[1]) if len(words) > 1 and words[0] == "systemd" and words[1].isdigit() else 0


def _names(place: str) -> list[str]:
    try:
        return os.listdir(place)
    except OSError:
        return []
