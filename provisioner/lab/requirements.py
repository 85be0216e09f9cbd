"""What this machine must have for a lab: asked before anything is made, all that is missing told at once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from provisioner.errors import PreflightRefused

# command -> Debian package that brings it
TOOLS: Mapping[str, str] = {
    "systemd-nspawn": "systemd-container", "ip": "iproute2", "nsenter": "util-linux", "ssh": "openssh-client",
    "ssh-keygen": "openssh-client", "sysctl": "procps", "mount": "mount", "chroot": "coreutils",
    "nft": "nftables",
}
IMAGE_TOOLS: Mapping[str, str] = {"mmdebstrap": "mmdebstrap", "dpkg-deb": "dpkg", "apt-get": "apt"}


def missing_tools(tools: Mapping[str, str], found: Mapping[str, bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the commands that are not there and the packages that bring them."""
    commands = tuple(name for name in tools if not found.get(name))
    return commands, tuple(dict.fromkeys(tools[name] for name in commands))


def kernel_faults(filesystems: str, overlay_module: bool, links: Mapping[str, bool]) -> tuple[str, ...]:
    """Return what the kernel cannot do, from /proc/filesystems and from having tried to make links."""
    names = {line.split()[-1] for line in filesystems.splitlines() if line.strip()}
    faults = [] if "overlay" in names or overlay_module else ["the kernel has no overlay file system"]
    faults += [f"the kernel cannot make a link of type {kind}" for kind, works in links.items() if not works]
    return tuple(faults)


def require_root() -> None:
    """Refuse everyone else: mounts, namespaces and cgroups are root's."""
    if os.geteuid() != 0:
        raise PreflightRefused("this machine: working on a lab: only root may (mounts, namespaces, cgroups)",
                               hint="sudo -E kubewright lab status", code="lab-not-root")


def require(*, image_is_cached: bool) -> None:
    """Refuse a machine that cannot hold a lab, with every reason and the packages to install."""
    require_root()
    tools = TOOLS if image_is_cached else {**TOOLS, **IMAGE_TOOLS}
    commands, packages = missing_tools(tools, {name: shutil.which(name) is not None for name in tools})
    if commands:
        raise PreflightRefused(f"this machine: booting lab nodes: not installed: {', '.join(commands)}",
                               hint=f"apt-get install {' '.join(packages)}", code="lab-tools")
    faults = kernel_faults(Path("/proc/filesystems").read_text(), _has_module("overlay"),
                           {kind: _can_link(kind) for kind in ("bridge", "veth")})
    if not any(Path("/sys/fs/cgroup").iterdir()):
        faults = (*faults, "no cgroups are mounted at /sys/fs/cgroup")
    if faults:
        raise PreflightRefused("this machine: booting lab nodes: the kernel cannot do it", details=faults,
                               hint="kubewright lab up  # on another machine, or with vagrant", code="lab-kernel")


def _has_module(name: str) -> bool:
    return _succeeds(["modprobe", "--dry-run", "--quiet", name])


def _can_link(kind: str) -> bool:
    """Try it in a network namespace that ends with the command: the answer of the kernel, not of a version table."""
    return _succeeds(["unshare", "--net", "ip", "link", "add", "name", "probe", "type", kind])


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=15, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
