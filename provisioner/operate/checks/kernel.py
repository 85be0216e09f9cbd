"""What a machine's system can do: kernel, cgroups, a container's limits, security modules, systemd, Python."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provisioner.model import families, managers
from provisioner.model.cluster import Cluster, Host
from provisioner.model.components import modules_of
from provisioner.model.families import NFTABLES_KERNEL, SYSTEMD
from provisioner.operate.checks.finding import Found, HostSeen, Seen

CONTROLLERS = ("cpu", "cpuset", "memory", "pids")   # kubelet 1.36 refuses without the first three; we limit pids
DEVICES = ("/dev/kmsg",)        # the kubelet ends where it cannot read it


def features(cluster: Cluster, host: Host) -> tuple[str, ...]:
    """Return the modules that the kernel of this host must have or be able to load."""
    nft = ("nf_tables",) if host.is_node else ()
    return (*modules_of(cluster, host), *nft)


def kernel(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for a kernel that has or can load what containers, rules and the overlay are made of."""
    inspection = host.inspection
    if inspection is None:
        return
    by_nftables = host.host.is_node and families.of_facts(host.facts).rules == "nftables"
    if by_nftables and _version(host.facts.kernel) < NFTABLES_KERNEL:
        yield Found("error", f"Linux {host.facts.kernel}; kube-proxy in nftables mode refuses one before 5.13",
                    f"on {host.name}: {_newer_kernel(host)} && systemctl reboot")
    if not inspection.kernel.missing:
        return
    names = ", ".join(inspection.kernel.missing)
    if inspection.kernel.other_trees:
        there = ", ".join(inspection.kernel.other_trees)
        yield Found("error", f"Linux {inspection.kernel.release} runs, and only modules of {there} are there: "
                             f"{names} cannot be loaded before it boots the new kernel",
                    f"on {host.name}: systemctl reboot")
    elif inspection.container:
        yield Found("error", f"the kernel below this container ({inspection.container}) has not loaded {names}",
                    f"on the machine that {host.name} runs on: modprobe -a {names.replace(',', '')}")
    else:
        yield Found("error", f"Linux {inspection.kernel.release} has no {names}, neither built in nor as a module",
                    f"on {host.name}: {_newer_kernel(host)} && systemctl reboot")


def _newer_kernel(host: HostSeen) -> str:
    return managers.install(host.facts, managers.of_facts(host.facts).kernel.format(arch=host.facts.arch))


def _version(release: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else NFTABLES_KERNEL


def controllers(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for the cgroup controllers that the kubelet limits Pods with."""
    there = host.told.controllers if host.host.is_node else ()
    lost = [name for name in CONTROLLERS if name not in there]
    if there and lost:
        switches = " ".join(f"cgroup_enable={name}" for name in lost)
        yield Found("error", f"its kernel runs without the cgroup controllers {', '.join(lost)}; the kubelet needs "
                             "them",
                    f"on {host.name}: sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{switches} /' /etc/default/grub && update-grub "
                    "&& systemctl reboot")


def capabilities(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that root there may do what runc, the kubelet and kube-proxy do: a container's root often may not."""
    lost = host.told.capabilities_lost if host.host.is_node else ()
    if lost:
        where = f"this container ({host.told.container})" if host.told.container else "root there"
        yield Found("error", f"{where} has no {', '.join(lost)}; a node runs no containers without",
                    f"start {host.name} with these capabilities (systemd-nspawn: --capability=all; LXC: lxc.cap.drop "
                    "empty), or take a virtual machine")


def devices(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for the device files without which the kubelet does not start; a container is often not given them."""
    for path in host.told.devices_lost if host.host.is_node else ():
        yield Found("error", f"there is no {path}; the kubelet does not start without",
                    f"bind {path} of the machine below into {host.name} (systemd-nspawn: --bind={path})")


def confinement(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say where SELinux enforces rules that know nothing of us, and where AppArmor's profiles cannot be loaded."""
    states = host.told.confinement
    if states.get("selinux") == "enforcing" and not families.of_facts(host.facts).places.selinux:
        yield Found("warning", "SELinux is enforcing, and no policy here knows what we install: it may be kept from "
                               "running",
                    f"on {host.name}: setenforce 0 && sed -i 's/^SELINUX=enforcing/SELINUX=permissive/' "
                    "/etc/selinux/config")
    # In a container containerd leaves AppArmor alone.
    if states.get("apparmor") == "no parser" and host.host.is_node and not host.told.container:
        yield Found("warning", "AppArmor is on and apparmor_parser is missing: containers run without its default "
                               "profile", f"on {host.name}: {managers.install(host.facts, 'apparmor')}")


def selinux(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that SELinux's policy can be told of what we install, and say that it will be, where a system comes with it.
    """
    states, places = host.told.confinement, families.of_facts(host.facts).places
    state, lacks = states.get("selinux", ""), states.get("lacks", "").split()
    if not state or not places.selinux:
        return
    if lacks:
        yield Found("error", f"SELinux is {state}, and there is no {' and no '.join(lacks)}: its policy cannot be told "
                             "of what we install", f"on {host.name}: {managers.install(host.facts, 'policycoreutils')}")
    elif state == "enforcing":
        yield Found("warning", "SELinux is enforcing; `up` adds rules of ours to its policy, which were compiled and "
                               "never run: what it forbids all the same keeps a program from working",
                    f"on {host.name}: ausearch -m avc -ts recent    # and, while something fails: setenforce 0")


def python_modules(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for the standard modules that the applier and Ansible import: minimal Pythons lack some."""
    lost = host.told.python_lacks
    if lost:
        yield Found("error", f"its Python {host.facts.python} lacks {', '.join(lost)} of the standard library",
                    f"on {host.name}: {managers.install(host.facts, 'python3')}")


def systemd(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for a systemd that knows what our units say, and that none of them is masked."""
    told = host.told.units
    if 0 < told.systemd < SYSTEMD:
        yield Found("error", f"systemd {told.systemd}; our units need {SYSTEMD}",
                    f"install {families.DEFAULT.name} on {host.name}, or take another machine")
    for unit in told.masked:
        yield Found("error", f"{unit} is masked: systemd will not start it", f"on {host.name}: systemctl unmask {unit}")


def cloud_routes(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that no agent of a cloud makes rules of routes: they send away what is for Pods of other nodes."""
    agents = host.told.units.agents if host.host.is_node else ()
    if agents:
        yield Found("warning", f"{' and '.join(agents)}: makes rules of routes as its cloud tells it, which may lead "
                               "what is for Pods astray",
                    f"on {host.name}: systemctl disable --now {' '.join(agents)} && systemctl reboot")


# Whose files compile/surroundings.py writes.
_TOLD_OF_SERVERS = frozenset({"systemd-timesyncd.service", families.DEBIAN.chrony, families.REDHAT.chrony})


def timekeeper(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that some service keeps the clock and has set it; a container has that of the machine below it."""
    if host.told.container:
        return
    told = host.told.units
    if told.keepers == ():
        yield Found("warning", "nothing keeps its clock: no time service runs (systemd-timesyncd, chrony, ntp)",
                    f"on {host.name}: {families.of_facts(host.facts).places.keeper}")
    elif told.keepers and seen.cluster.time.servers and not set(told.keepers) & _TOLD_OF_SERVERS:
        yield Found("warning", f"{told.keepers[0]} keeps its clock, and reads none of time.servers",
                    f"on {host.name}: {managers.install(host.facts, 'chrony')}    # which takes its place; or tell it "
                    "in its own file")
    elif told.keepers and told.synchronized is False:
        yield Found("warning", f"{told.keepers[0]} runs and has not set the clock: it may reach no time server",
                    f"on {host.name}: journalctl -u {told.keepers[0]} --since -1h", retry=True)
