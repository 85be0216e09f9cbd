"""SELinux as a host has it: labels of what we write, and the module of rules that we brought."""

from __future__ import annotations

import os
from typing import Sequence

from .host import Host

ENFORCE = "/sys/fs/selinux/enforce"     # there only where SELinux is on
PROGRAMS = ("semodule", "restorecon")   # of policycoreutils
PLACES = ("/usr/sbin", "/sbin")
SECONDS = 300                           # a policy is built anew as a whole


def lacks(host: Host) -> list[str]:
    """Return which of the programs that we need with SELinux are not there."""
    return [name for name in PROGRAMS if not any(os.path.exists(host.at(f"{place}/{name}")) for place in PLACES)]


def label(host: Host, paths: Sequence[str]) -> None:
    """Give files and directories the label that the policy has for their names; they came with their directory's.

    Not where its program is not there: a container may see the SELinux of a kernel whose labels are not its own.
    """
    if paths and os.path.exists(host.at(ENFORCE)) and "restorecon" not in lacks(host):
        host.run(["restorecon", "--", *map(host.at, paths)])


def module(host: Host, name: str) -> str:
    """Say whether the policy has a module; it does also while SELinux is off, for when that is on again."""
    if "semodule" in lacks(host):
        return "absent"
    return "there" if name in host.run(["semodule", "--list"], timeout=SECONDS).split() else "absent"


def forget(host: Host, name: str) -> str:
    """Take a module out of the policy; what it allowed is forbidden again."""
    host.run(["semodule", f"--remove={name}"], timeout=SECONDS)
    return "taken out of the policy"
