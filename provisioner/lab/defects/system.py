"""Defects of a machine's system: its disks, its packages, what it sets at boot."""

from __future__ import annotations

from provisioner.lab.defects.defect import UNIT_ENDS, Defect, writes

_LOCALE = "/etc/default/locale"
_PROXY = "/etc/systemd/system.conf.d/proxy.conf"
_REREAD = "systemctl daemon-reload"
_LOCK = """
import fcntl, signal
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
signal.pause()
"""


def _mounted(name: str, says: str, where: str, options: str, check: str = "disk") -> Defect:
    """Return a small file system over an empty directory: tmpfs, for a node has no loop devices of its own."""
    return Defect(name, says, check, f"mkdir -p {where}\nmount -t tmpfs -o {options} lab-{name} {where}",
                  undo=f"umount {where} 2>/dev/null || true", files=() if where == "/opt" else (where,),
                  place=f"mount {where}", at="control-plane" if where.endswith("etcd") else "any")


SYSTEM: tuple[Defect, ...] = (
    _mounted("store-full", "/opt has 64 MiB in all", "/opt", "size=64m,mode=755"),
    _mounted("store-read-only", "/opt can only be read", "/opt", "ro,size=8g,mode=755"),
    _mounted("store-noexec", "/opt is mounted noexec", "/opt", "noexec,size=8g,mode=755"),
    _mounted("store-no-inodes", "/opt has room, but for 8 files", "/opt", "nr_inodes=8,size=8g,mode=755",
             check="inodes"),
    _mounted("etcd-disk-small", "/var/lib/etcd lies on a file system of 64 MiB", "/var/lib/etcd",
             "size=64m,mode=700", check="room"),
    _mounted("etcd-disk-read-only", "/var/lib/etcd can only be read", "/var/lib/etcd", "ro,size=8g,mode=700",
             check="mounted"),
    Defect("os-unknown", "/etc/os-release says that it is another system", "os",
           "rm /etc/os-release\nprintf 'ID=plan9\\nVERSION_ID=\"4\"\\n' > /etc/os-release", files=("/etc/os-release",)),
    Defect("dpkg-locked", "another process holds the package manager's lock", "dpkg",
           f"systemd-run --quiet --unit=\"$UNIT\" python3 -c '{_LOCK}'", undo=UNIT_ENDS),
    Defect("dpkg-interrupted", "dpkg was interrupted", "dpkg",
           "awk '/^Package: less$/ { ours = 1 } ours && /^Status: install ok installed$/ "
           "{ $0 = \"Status: install ok half-configured\"; ours = 0 } { print }' /var/lib/dpkg/status > /run/status\n"
           "cat /run/status > /var/lib/dpkg/status; rm /run/status", files=("/var/lib/dpkg/status",), place="dpkg"),
    Defect("source-unreachable", "the package source's name does not resolve", "packages",
           "echo 'deb [trusted=yes] http://nowhere.invalid/ ./' > /etc/apt/sources.list; rm -rf /var/lib/apt/lists/*",
           files=("/etc/apt/sources.list", "/var/lib/apt/lists"), place="apt"),
    Defect("no-source", "there is no package source", "packages",
           "rm -f /etc/apt/sources.list; rm -rf /var/lib/apt/lists/*",
           files=("/etc/apt/sources.list", "/var/lib/apt/lists"), place="apt"),
    Defect("sysctl-wins", "a file that is read after ours turns forwarding off at boot", "sysctl",
           writes("/etc/sysctl.d/99-hard.conf", "net.ipv4.ip_forward = 0"), files=("/etc/sysctl.d/99-hard.conf",),
           at="node"),
    Defect("locale-absent", "the default locale is not there", "locale",
           writes(_LOCALE, "LANG=de_DE.UTF-8\nLC_ALL=de_DE.UTF-8"), files=(_LOCALE,)),
    Defect("proxy-everywhere", "systemd's default environment sends everybody to a proxy", "proxy",
           writes(_PROXY, "[Manager]\nDefaultEnvironment=http_proxy=http://192.0.2.1:3128 "
                          "https_proxy=http://192.0.2.1:3128", _REREAD), files=("/etc/systemd/system.conf.d",),
           after=_REREAD),
)
