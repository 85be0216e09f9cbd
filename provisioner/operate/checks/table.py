"""Every check, one a line: the order of the table that `check` prints, and of what `up` refuses for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from provisioner.errors import UsageFault
from provisioner.model.finding import Finding
from provisioner.operate.checks import identity, kernel, leftovers, machine, occupied, past, places, surroundings
from provisioner.operate.checks.by_trying import TRIED
from provisioner.operate.checks.explained import nearest
from provisioner.operate.checks.finding import Check, Found, Seen, each, inspected


def _python(seen: Seen) -> Iterator[tuple[str, Found]]:
    yield from identity.has_python(seen)
    yield from each(machine.python)(seen)


CHECKS: tuple[Check, ...] = (
    Check("ssh", "we can log in", identity.answers, needed=True),
    Check("sudo", "we become root", identity.becomes_root, needed=True),
    Check("python", "Python 3.9 or later", _python, needed=True),
    Check("idle", "no step of a run is at work there", identity.is_idle, needed=True),
    Check("ansible", "Ansible's own ssh logs in and becomes root", identity.lets_ansible_in, asked=inspected),
    Check("forwarding", "sshd lets us through to etcd and the API", identity.forwards, asked=inspected),
    Check("sshd", "sshd allows as many sessions and logins as we open", each(leftovers.sshd), of=("sshd",)),
    Check("init", "systemd is its init", each(machine.init), needed=True),
    Check("os", "a supported operating system", each(machine.system)),
    Check("arch", "artifacts.lock has binaries for it", each(machine.architecture), needed=True),
    Check("systemd", "a systemd that knows our units, none of them masked", each(kernel.systemd), of=("units",)),
    Check("python-modules", "the standard modules of Python that we import", each(kernel.python_modules),
          of=("python_lacks",)),
    Check("kernel", "the features of the kernel that nodes use", each(kernel.kernel), of=("kernel", "container")),
    Check("cgroup", "cgroups that the kubelet accepts", each(machine.cgroup)),
    Check("controllers", "the cgroup controllers that limit Pods", each(kernel.controllers), of=("controllers",)),
    Check("capabilities", "root may do what a node does", each(kernel.capabilities), of=("capabilities_lost",)),
    Check("devices", "the device files that the kubelet opens", each(kernel.devices), of=("devices_lost",)),
    Check("confinement", "no SELinux or AppArmor in the way", each(kernel.confinement), of=("confinement",)),
    Check("selinux", "SELinux can be told of what we install", each(kernel.selinux), of=("confinement",)),
    Check("address", "an interface carries the inventory's address", each(identity.address), needed=True),
    Check("own-address", "no other host has the address too", identity.own_address, needed=True),
    Check("hostname", "no two hosts of one name", identity.hostname),
    Check("machine-id", "no two hosts from one cloned root", identity.machine_id),
    Check("product", "no two hosts of one firmware UUID", identity.product, of=("product",)),
    Check("mac", "no two hosts of one hardware address", identity.mac),
    Check("host-key", "no two hosts of one SSH host key", identity.host_key, of=("host_key",)),
    Check("clock", "the clocks agree", machine.clock),
    Check("timekeeper", "a service keeps the clock", each(kernel.timekeeper), of=("units", "container")),
    Check("cloud-routes", "no agent of a cloud makes rules of routes", each(kernel.cloud_routes), of=("units",)),
    Check("cpus", "enough CPUs for the roles", each(machine.cpus)),
    Check("memory", "enough memory for the roles", each(machine.memory)),
    Check("disk", "room for artifacts, images and data", each(machine.disk), of=("disks",)),
    Check("room", "room where the kubelet, etcd and logs write", each(places.room), of=("disks",)),
    Check("inodes", "inodes where files are made", each(places.inodes), of=("disks",)),
    Check("mounted", "what grows can be written and run", each(places.file_systems), of=("disks",)),
    Check("swap", "no swap", each(machine.swap), of=("swap", "swap_by")),
    Check("directories", "our directories are no links", each(past.links), of=("links",)),
    Check("sysctl", "no file sets the kernel otherwise at boot", each(past.sysctls), of=("sysctls",)),
    Check("local-ports", "no port of ours is given to outgoing connections", each(surroundings.local_ports),
          of=("local_ports",)),
    Check("packages", "missing packages can be had", each(past.packages), of=("packages",)),
    Check("mirror", "it reaches the mirror of artifacts", each(past.mirror), of=("mirror",)),
    Check("dpkg", "the package manager is idle and whole", each(leftovers.package_manager), of=("dpkg",)),
    Check("locale", "logins get a locale that is there", each(surroundings.locales), of=("locale_refused",)),
    Check("proxy", "no proxy for the cluster's own addresses", each(surroundings.proxies), of=("environment",)),
    Check("hosts-file", "/etc/hosts leads no name astray", each(surroundings.hosts_file), of=("hosts_file",)),
    Check("route", "a route that Services are reached by", each(surroundings.default_route), of=("routes",)),
    Check("ranges", "nobody has the ranges of Pods and Services", each(surroundings.ranges), of=("routes",)),
    Check("firewall", "no firewall drops what Pods and hosts send", each(past.firewall),
          of=("forward_drops", "shut_out", "input_drops")),
    Check("rules", "no rules of another kube-proxy", each(past.services), of=("services_of_others",)),
    Check("resolver", "a DNS server that Pods reach", each(past.resolver)),
    Check("nameservers", "Pods get the host's resolver as a whole", each(surroundings.nameservers), of=("resolv",)),
    Check("vip", "no other machine has the VIP", past.vip_is_free, asked=past.heard),
    Check("ports", "nobody else on the ports we need", each(occupied.ports_free), of=("listeners",)),
    Check("services", "no service of others under our names", each(occupied.services), of=("there",)),
    Check("files", "no file of others where ours go", each(occupied.files), of=("others",)),
    Check("cluster", "no other cluster on the host", each(occupied.no_other_cluster), of=("there",)),
    Check("netdevs", "no network device of another cluster", each(leftovers.devices), of=("netdevs",)),
    Check("chains", "no iptables chains of another Pod network", each(leftovers.chains), of=("chains",)),
    Check("mounts", "no mounts of another cluster's Pods", each(leftovers.mounts), of=("mounted",)),
    Check("cni", "no CNI configuration of others where ours is", each(leftovers.cni), of=("cni",)),
    *TRIED,
)
REACHING = ("ssh", "sudo", "python", "idle")     # a host that fails one of these is judged by nothing after it
SKIPPABLE = tuple(check.name for check in CHECKS if not check.needed)


def named(name: str) -> int:
    """Return where in the table a check stands; UsageFault with the nearest names where there is none."""
    names = [check.name for check in CHECKS]
    if name not in names:
        close = nearest(name, names)
        told = f"did you mean {', '.join(close)}?" if close else f"there are: {' '.join(names)}"
        raise UsageFault(f"there is no check {name}", details=[told], code="no-check",
                         hint=f"kubewright check --explain {close[0] if close else names[0]}")
    return names.index(name)


def run(seen: Seen, skip: Collection[str] = ()) -> list[Finding]:
    """Return what all checks but those skipped find, check by check."""
    return [finding for check in CHECKS if check.name not in skip for finding in check.findings(seen)]


def asked(seen: Seen, findings: Iterable[Finding]) -> dict[str, int]:
    """Return of how many hosts each check could be asked: one that we cannot log in to is judged by nothing else."""
    errors = [f for f in findings if f.severity == "error"]
    answers = {}
    for number, check in enumerate(CHECKS):
        if check.name in REACHING:
            earlier = {c.name for c in CHECKS[:number]}
            lost = {f.host for f in errors if f.check in earlier}
            answers[check.name] = len({*seen.hosts, *seen.faults} - lost)
        else:
            answers[check.name] = sum(check.answered(host) for host in seen.hosts.values())
    return answers
