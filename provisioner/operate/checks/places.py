"""The file systems below what grows: room and inodes against what the kubelet and etcd do at their limits."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile.context import config_of
from provisioner.compile.etcd import DATA_DIR, quota_of
from provisioner.model.cluster import Cluster, Host
from provisioner.model.file_system import FileSystem
from provisioner.model.finding import Severity
from provisioner.operate.checks.finding import Found, HostSeen, Seen
from provisioner.operate.checks.machine import DIRECTORIES, mount_of

KUBELET, CONTAINERD, LOGS = "/var/lib/kubelet", "/var/lib/containerd", "/var/log"
TEMPORARY = "/tmp"  # noqa: S108 - asked about, not written to
# The kubelet's own evictionHard: kubernetes 1.36, pkg/kubelet/eviction/defaults_linux.go.
NODE_PERCENT, IMAGE_PERCENT, INODE_PERCENT = 10, 15, 5
INODES = 1000                   # a component's own files take tens; below this a log rotation or an apt-get may fail
LOG_MIB, TEMPORARY_MIB = 100, 16        # journald alone keeps this much by itself; a module of Ansible is below a MiB


def directories(cluster: Cluster, host: Host) -> tuple[str, ...]:
    """Return the directories of this host that grow: those of the check `disk`, and others."""
    of_node = (KUBELET, CONTAINERD) if host.is_node else ()
    of_etcd = (DATA_DIR,) if host.name in {h.name for h in cluster.etcd_hosts} else ()
    return (*DIRECTORIES, *of_etcd, *of_node, LOGS, TEMPORARY)


def file_systems(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that what grows can be written, and holds programs where Pods bring their own."""
    for place in host.told.disks:
        named = " and ".join(place.paths)
        if place.read_only and not set(DIRECTORIES) & set(place.paths):     # those are the check `disk`'s
            yield Found("error", f"{named} can only be read there",
                        f"on {host.name}: mount -o remount,rw {mount_of(place.paths[0])}")
        if place.no_exec and KUBELET in place.paths:
            yield Found("warning", f"{KUBELET} is mounted noexec: programs in Pods' volumes do not run",
                        f"on {host.name}: mount -o remount,exec {mount_of(KUBELET)}    # and in fstab")


def room(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for more room than that below which the kubelet ends Pods, and for what etcd may grow to."""
    for place in host.told.disks:
        yield from _for_pods(seen, host, place)
        for path, need, what in ((LOGS, LOG_MIB, "logs"), (TEMPORARY, TEMPORARY_MIB, "temporary files of `up`")):
            if path in place.paths and place.free_mib < need:
                yield Found("warning", f"{place.free_mib} MiB free in {path}; {what} need {need}",
                            f"on {host.name}: du -xhd1 {path} | sort -h | tail")
        if DATA_DIR in place.paths and not host.told.prepared:
            quota = quota_of(seen.cluster, host.name) >> 20
            if place.free_mib < quota:
                yield Found("warning", f"{place.free_mib} MiB free for {DATA_DIR}; etcd may grow to its quota of "
                                       f"{quota}",
                            f"give {DATA_DIR} a file system of its own, or in cluster.yaml a smaller quota: config: "
                            "{etcd: {flags: {quota-backend-bytes: BYTES}}}")


def _for_pods(seen: Seen, host: HostSeen, place: FileSystem) -> Iterator[Found]:
    """Judge by the kubelet's own limits, unless the inventory has others."""
    if "evictionHard" in config_of(seen.cluster, host.host, "kubelet"):
        return
    for path, percent in ((KUBELET, NODE_PERCENT), (CONTAINERD, IMAGE_PERCENT)):
        if path in place.paths and place.free_mib * 100 < place.size_mib * percent:
            have = place.free_mib * 100 // place.size_mib
            yield Found(_severity(host), f"{have} % of the file system of {path} is free; below {percent} % the "
                                         "kubelet ends Pods and takes no new ones",
                        f"on {host.name}: du -xhd1 {path} | sort -h")
            return


def inodes(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for inodes: a file system without any is full, whatever room it has."""
    for place in host.told.disks:
        pods = [path for path in (KUBELET, CONTAINERD) if path in place.paths]
        few = place.inodes_free * 100 < place.inodes * INODE_PERCENT
        if not place.inodes or place.read_only or not (place.inodes_free < INODES or (pods and few)):
            continue
        named = " and ".join(place.paths)
        why = f"; below {INODE_PERCENT} % the kubelet ends Pods" if pods else ""
        yield Found(_severity(host), f"{place.inodes_free} of {place.inodes} inodes are free for {named}{why}",
                    f"on {host.name}: du -x --inodes -d2 {place.paths[0]} | sort -n | tail")


def _severity(host: HostSeen) -> Severity:
    """A host that serves already is told, and not kept from being mended."""
    return "warning" if host.told.prepared else "error"

