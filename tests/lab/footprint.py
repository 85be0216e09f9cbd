"""What a node looks like: everything that a cluster could have left on it, to be compared with what it was before."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tests.lab.conftest import Lab

# Not ours to put back, each named in docs/how-to/reset-a-host.md: logs, what package tools keep for themselves, and
# what systemd and the kernel count, cache or make by themselves.
NOT_COMPARED = (
    r"/var/log/(?!pods|containers|kubernetes).*", r"/var/lib/dpkg/.*", r"/var/lib/apt/.*", r"/var/cache/.*", r"/tmp/.*",
    r"/var/tmp/.*", r"/run/(systemd|udev|log|user|lock|sudo|credentials|dbus|utmp|mount|blkid|sshd)\b.*",
    r"/var/lib/systemd/.*", r"/var/lib/ucf/.*", r"/run/adduser", r"/etc/ld\.so\.cache",
    # The order in which nodes of the lab start after a boot.
    r"/run/lab-boot-order",
    # Who the machine is: a fresh one of the same name is another.
    r"/etc/machine-id", r"/etc/ssh/ssh_host_.*", r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-",
)
COUNTED = re.compile(r"(fs\.(dentry|file-nr|inode|aio-nr|quota)|kernel\.(random|ns_last_pid|pty\.nr|sched)|"
                     r"net\.netfilter\.nf_conntrack_(count|buckets|expect_max)|dev\.|kernel\.perf|kernel\.keys\.gc|"
                     r"net\.ipv[46]\.(conf|neigh)\.(?!all|default|host0|lo|eth0)|fs\.binfmt|kernel\.core_modes)")
# What systemd mounts for who is logged in, and the lab for the order of a boot.
MOUNTED = re.compile(r"/run/(user|credentials)/|/run/systemd/.*/lab-boot-order\.conf")
SHOWN = r"-printf %p\t%y\t%m\t%u:%g\t%l\n"
# The first does not go into other file systems, the second into those that a node has for its containers.
FILES = (f"find / -xdev ( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /var/lib/containerd "
         f"-o -path /var/lib/kubelet ) -prune -o {SHOWN}",
         f"find /var/lib/containerd /var/lib/kubelet /run {SHOWN}")
Footprint = Mapping[str, frozenset[str]]


def footprint(lab: Lab, host: str) -> Footprint:
    """Return what is on a node, a set of lines for each aspect."""
    def said(*command: str) -> list[str]:
        return lab.on(host, *command, check=False).splitlines()

    places = [line for command in FILES for line in said(*command.split())]
    ignored = re.compile("|".join(f"(?:{pattern})" for pattern in NOT_COMPARED))
    return {
        "files": frozenset(line for line in places if not ignored.fullmatch(line.partition("\t")[0])),
        "texts": frozenset(line for line in said("find", "/etc", "-type", "f", "-exec", "sha256sum", "{}", "+")
                           if not ignored.fullmatch(line.split(maxsplit=1)[1])),
        "packages": frozenset(said("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\\n")),
        "users": frozenset([*said("cat", "/etc/passwd"), *said("cat", "/etc/group")]),
        "units": frozenset(" ".join(line.split()[:2])
                           for line in said("systemctl", "list-unit-files", "--no-legend", "--no-pager")),
        "active": frozenset(line.split()[0] for line in said(
            "systemctl", "list-units", "--no-legend", "--no-pager", "--plain", "--type=service,socket,slice,timer")
            if "user@" not in line and "user-" not in line and "session" not in line),
        "mounts": frozenset(line.split()[4] for line in said("cat", "/proc/self/mountinfo")
                            if not MOUNTED.match(line.split()[4])),
        "links": frozenset(re.sub(r"@.*|:.*", "", line.split()[0]) for line in said("ip", "-brief", "link")),
        "addresses": frozenset(" ".join(re.sub(r"@\S+", "", line).split())
                               for line in said("ip", "-brief", "-4", "address")),
        "routes": frozenset(said("ip", "route")),
        "nft": frozenset(said("/usr/sbin/nft", "list", "tables")),
        "netns": frozenset(said("ls", "/run/netns")),
        "sysctls": frozenset(line for line in said("sysctl", "-a") if not COUNTED.match(line)),
    }


def differences(before: Footprint, after: Footprint, but: Sequence[str] = ()) -> list[str]:
    """Return what came (+) and went (-), a line each; lines that hold one of `but` are expected."""
    lines = [f"{sign} {aspect}: {line}" for aspect in before
             for sign, found in (("+", after[aspect] - before[aspect]), ("-", before[aspect] - after[aspect]))
             for line in sorted(found)]
    return [line for line in lines if not any(word in line for word in but)]
