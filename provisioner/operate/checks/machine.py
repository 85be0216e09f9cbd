"""What one machine is: its system, its size, its room. Figures of kubeadm 1.36's preflight where it has one."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from provisioner.model import families
from provisioner.model.cluster import Role
from provisioner.model.releases import minor_of
from provisioner.operate.checks.finding import Found, HostSeen, Seen

PYTHON = (3, 9)                       # the applier's
CONTROL_PLANE_CPUS = 2                # kubeadm: ControlPlaneNumCPU
CONTROL_PLANE_MIB = 1700              # kubeadm: ControlPlaneMem
WORKER_MIB = 700                      # kubelet, containerd, kube-proxy and flannel take 300; the rest is the system's
MARGIN_MIB = 1024                     # beyond the artifacts: unpacked images, etcd, logs
ROOMY_MIB = 4096                      # less is enough to start with, not to live with
CLOCK_WARN, CLOCK_ERROR = 0.5, 30.0   # etcd warns of a second; certificates are backdated, tokens are not
CLOCKS = 3                            # so many, and the median is not the one that is wrong
STORE, STATE = "/opt/kubewright", "/var/lib"
DIRECTORIES = (STORE, STATE)


def python(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for a Python that the applier runs on."""
    version = tuple(int(part) for part in host.facts.python.split(".")[:2] if part.isdigit())
    if version < PYTHON:
        yield Found("error", f"Python {host.facts.python} is too old; 3.9 is needed", _new_system(host))


def system(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for an operating system whose packages and paths we know."""
    row = families.of(host.facts.os_id, host.facts.os_version)
    here = f"{host.facts.os_id} {host.facts.os_version}".strip() or "an unknown system"
    if row is None:
        yield Found("error", f"{here} is not supported: nobody has said what its packages, units and versions are. "
                             f"Supported are {families.SUPPORTED}", _new_system(host))
        return
    if row.needs:
        yield Found("error", f"{row.name} is not supported; it would need {row.needs}. "
                             f"Supported are {families.SUPPORTED}", _new_system(host))
        return
    said = host.host.spec.system
    if said not in (None, row.key):
        yield Found("error", f"it has {row.name}, and the inventory says {said}",
                    f"in cluster.yaml: hosts.{host.name}.system: {row.key}, or take the line out")
    if not row.seen:
        yield Found("warning", f"{row.name} is rendered for and was never run by us: what it does otherwise than its "
                               "packages say, `up` finds first", _new_system(host))


def init(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for systemd: everything of ours runs as its units."""
    if not host.facts.systemd:
        yield Found("error", "systemd does not run there (a container, or another init)", _new_system(host))


def _new_system(host: HostSeen) -> str:
    return f"install {families.DEFAULT.name} on {host.name}, or take another machine"


def architecture(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that artifacts.lock pins binaries that run there."""
    pinned = sorted({artifact.arch for artifact in seen.lock.artifacts})
    if host.facts.arch not in pinned:
        arches = " ".join(f"--arch {arch}" for arch in [*pinned, host.facts.arch])
        yield Found("error", f"the machine is {host.facts.arch}; artifacts.lock pins {', '.join(pinned) or 'nothing'}",
                    f"kubewright artifacts build --write-lock {arches}")


def cpus(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for the two CPUs that kubeadm wants of a control plane; with one it runs, slowly."""
    if Role.CONTROL_PLANE in host.host.roles and host.facts.cpus < CONTROL_PLANE_CPUS:
        yield Found("warning", f"{host.facts.cpus} CPU; a control plane should have {CONTROL_PLANE_CPUS}",
                    f"give {host.name} more CPUs")


def memory(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for the memory that kubeadm demands of a control plane, and for what a worker's services take."""
    have = host.facts.memory_mib
    if Role.CONTROL_PLANE in host.host.roles and have < CONTROL_PLANE_MIB:
        yield Found("error", f"{have} MiB of memory; a control plane needs {CONTROL_PLANE_MIB}",
                    f"give {host.name} more memory")
    elif host.host.is_node and have < WORKER_MIB:
        yield Found("warning", f"{have} MiB of memory; a node should have {WORKER_MIB}",
                    f"give {host.name} more memory")


def disk(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for room for the artifacts that are missing, and on a new host for what will grow."""
    margin = 0 if host.told.prepared else MARGIN_MIB
    for file_system in host.told.disks:
        paths = [path for path in DIRECTORIES if path in file_system.paths]
        if not paths:
            continue
        artifacts = host.missing_mib if STORE in paths else 0
        grows = STATE in paths
        need = artifacts + (margin if grows else 0)
        places, cure = " and ".join(paths), f"on {host.name}: df -h {' '.join(paths)}"
        if file_system.read_only:
            yield Found("error", f"{places} can only be read there",
                        f"on {host.name}: mount -o remount,rw {mount_of(paths[0])}    # and in fstab")
        elif file_system.no_exec and STORE in paths:
            yield Found("error", f"no program runs from {STORE} there: its file system is mounted noexec",
                        f"on {host.name}: mount -o remount,exec {mount_of(STORE)}    # and in fstab")
        elif file_system.free_mib < need:
            yield Found("error", f"{file_system.free_mib} MiB free for {places}; {need} are needed "
                                 f"({artifacts} of artifacts)", cure)
        elif grows and margin and file_system.free_mib < artifacts + ROOMY_MIB:
            yield Found("warning", f"{file_system.free_mib} MiB free for {places}; images and logs of Pods soon need "
                                   f"more than {artifacts + ROOMY_MIB}", cure)


def mount_of(path: str) -> str:
    """Return words for a shell that name where the file system of `path` is mounted, also while `path` is not there."""
    return f"$(df --output=target {path} {path.rpartition('/')[0]} 2>/dev/null | sed -n 2p)"


def swap(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say that swap will be turned off, and what brings it back: memory limits of Pods mean nothing with it."""
    told = host.told
    if not host.host.is_node or told.swap == "off":
        return
    devices = told.swap.removeprefix("on ")
    by = f", brought back at a boot by {', '.join(told.swap_by)}" if told.swap_by else ""
    acts = " && ".join([*(_unswapped(origin) for origin in told.swap_by), "swapoff -a"])
    yield Found("warning", f"swap is on ({devices}){by}; `up` turns it off", f"on {host.name}: {acts}")


def _unswapped(origin: str) -> str:
    """Return what keeps swap from coming back: `/etc/fstab:7`, a unit, or the file of one of the makers of zram."""
    file, _, line = origin.partition(":")
    if line:
        return f"sed -i '{line}s/^/#/' {file}"
    if file.endswith(".swap"):
        # Not masked: systemd masks no unit whose file is in /etc itself.
        return f"systemctl disable --now {file} && rm /etc/systemd/system/{file}"
    if file.endswith("zramswap"):
        return "systemctl disable --now zramswap"
    # An empty file in /etc hides the package's.
    return "touch /etc/systemd/zram-generator.conf" if file.startswith("/usr/") else f"mv {file} {file}.off"


def clock(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask for clocks that agree with the median of the hosts, and that it agrees with this machine's.

    What the round trip may explain is left out. With one or two hosts the median says nothing: they are asked to agree
    with this machine.
    """
    off = {name: host.clock_off for name, host in seen.hosts.items()}
    middle = statistics.median(off.values()) if len(off) >= CLOCKS else 0.0
    for name, by in off.items():
        if abs(by - middle) > CLOCK_WARN:
            others = "the median of the hosts" if middle else "this machine's"
            yield name, _off(by - middle, "the clock", others, f"on {name}: timedatectl set-ntp true")
        elif abs(middle) > CLOCK_WARN:
            yield name, _off(-middle, "this machine's clock", "the median of the hosts",
                             "on this machine: timedatectl set-ntp true")


def _off(by: float, whose: str, others: str, cure: str) -> Found:
    amount = f"{abs(by):.1f} s" if abs(by) < 120 else f"{abs(by) / 60:.0f} min"
    return Found("error" if abs(by) > CLOCK_ERROR else "warning",
                 f"{whose} is {amount} {'ahead of' if by > 0 else 'behind'} {others}", cure, retry=True)


def cgroup(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for cgroup v2, or that the inventory allows v1 where the kubelet would refuse it."""
    if host.facts.cgroup == "v2" or not host.host.is_node or not minor_of(seen.cluster.kubernetes).refuses_cgroup_v1:
        return
    config = {**seen.cluster.config.get("kubelet", {}), **host.host.spec.config.get("kubelet", {})}
    if config.get("failCgroupV1", True) is not False:
        yield Found("error", f"cgroup v1, which kubelet {seen.cluster.kubernetes} refuses",
                    "boot with systemd.unified_cgroup_hierarchy=1, or in cluster.yaml: "
                    "config: {kubelet: {failCgroupV1: false}}")
