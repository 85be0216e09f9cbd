"""Is every machine reached, itself, and no copy of another?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

from provisioner.errors import KubewrightError
from provisioner.model import families, managers
from provisioner.model.cluster import Cluster, Host
from provisioner.model.finding import Severity
from provisioner.operate.checks.finding import Found, HostSeen, Seen

BUSY = "host-busy"
SLOW_LOGIN = 8.0        # seconds; of a login on a busy machine two or three are usual
FORWARDING = "forwarding-forbidden"
_PYTHON_FAULTS = ("no-python", "python-old", "python-incomplete")
# An unpinned key is one cause with one cure on all hosts, whatever each of them showed.
_ONE_CAUSE = {"host-key-unknown": ("the host key is not pinned", "kubewright trust")}


def answers(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that we can log in: network, host key, our own key."""
    for host, fault in seen.faults.items():
        if fault.code not in (*_PYTHON_FAULTS, BUSY) and not fault.code.startswith("sudo"):
            yield host, _told(host, fault)


def becomes_root(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that sudo gives us root without a question."""
    for host, fault in seen.faults.items():
        if fault.code.startswith("sudo"):
            yield host, _told(host, fault)
    for name, seen_there in seen.hosts.items():
        if seen_there.facts.uid:
            yield name, Found("error", f"we are user {seen_there.facts.uid} there, not root",
                              "in cluster.yaml: ssh.become: sudo, or ssh.user: root")


def is_idle(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that no step of a run is at work: what it is about to change cannot be judged."""
    for host, fault in seen.faults.items():
        if fault.code == BUSY:
            yield host, _told(host, fault)


def has_python(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask for a python3 that could run the applier at all."""
    for host, fault in seen.faults.items():
        if fault.code in _PYTHON_FAULTS:
            yield host, _told(host, fault)


def _told(host: str, fault: KubewrightError) -> Found:
    saw = str(getattr(fault, "saw", fault.message.removeprefix(f"{host}: ")))
    saw, cure = _ONE_CAUSE.get(fault.code, (saw, fault.hint))
    return Found("error", saw, cure, fault.passes)


def forwards(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that sshd lets us through to etcd and the API: nothing can be proved without."""
    return _refused(seen, lambda code: code == FORWARDING)


def lets_ansible_in(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that Ansible's login, which is not ours, gets in and becomes root."""
    yield from _refused(seen, lambda code: code != FORWARDING)
    for name, host in seen.hosts.items():
        if host.login > SLOW_LOGIN:
            yield name, Found("warning", f"a login takes {host.login:.0f} s (sshd, PAM or sudo), and each step of `up` "
                                         "has one",
                              f"on {name}: journalctl -u ssh -u systemd-logind --since -5min")


def _refused(seen: Seen, of: Callable[[str], bool]) -> Iterator[tuple[str, Found]]:
    for name, host in seen.hosts.items():
        for fault in host.refused:
            if of(fault.code):
                yield name, _told(name, fault)


def address(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that an interface carries the inventory's address: etcd and the kubelet bind to it."""
    if not host.facts.interfaces:
        yield Found("error", "it does not tell its addresses: there is no `ip` command",
                    f"on {host.name}: {managers.install(host.facts, 'iproute2')}")
        return
    lost = [address for address in host.host.addresses if host.facts.interface_of(address) is None]
    if lost:
        there = [a.partition("/")[0] for i in host.facts.interfaces if i.name != "lo" for a in i.addresses]
        yield Found("error", f"no interface carries {' and '.join(lost)}; there are {', '.join(there) or 'none'}",
                    _where_it_is(seen.cluster, host.host, lost[0], there))


def _where_it_is(cluster: Cluster, host: Host, lost: str, there: Sequence[str]) -> str:
    """Return what to write: we are on a machine with other addresses, so one of the two places in the file is wrong."""
    ssh = cluster.ssh_of(host.name)
    other = next((h.name for h in cluster.machines if h.name != host.name and set(h.addresses) & set(there)), None)
    if other:
        return f"in cluster.yaml: hosts.{host.name}.ssh.host, where {host.name} lets us in: {ssh.host} is {other}"
    own = next((a for a in there if ":" not in a), "")
    if ssh.host == lost and own:        # an address that a router or a cloud leads here
        return f"in cluster.yaml: hosts.{host.name}.address: {own}, and hosts.{host.name}.ssh.host: {lost}"
    return f"in cluster.yaml: hosts.{host.name}.address, or give {host.name} that address"


def own_address(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that no host's address is on another host too: VirtualBox's NAT gives 10.0.2.15 to every machine."""
    on = {name: frozenset(a.partition("/")[0] for i in host.facts.interfaces for a in i.addresses)
          for name, host in seen.hosts.items()}
    for name, host in seen.hosts.items():
        others = [addresses for other, addresses in on.items() if other != name]
        for shared in host.host.addresses:
            holders = [other for other, addresses in on.items() if other != name and shared in addresses]
            if holders:
                yield name, Found("error", f"{shared} is on {' and '.join(holders)} too: it leads nobody to {name}",
                                  _address_of_its_own(seen.cluster, host, others))


def _address_of_its_own(cluster: Cluster, host: HostSeen, others: Sequence[frozenset[str]]) -> str:
    """Return what to write: an address that no other machine has, one of the hosts' networks before any."""
    there = [a.partition("/")[0] for i in host.facts.interfaces if i.name != "lo" for a in i.addresses]
    alone = [a for a in there if ":" not in a and not any(a in other for other in others)]
    alone.sort(key=lambda a: not any(ip_address(a) in network for network in cluster.network.hosts))
    return (f"in cluster.yaml: hosts.{host.name}.address: {alone[0]}" if alone else
            f"give {host.name} an address that no other machine has, and write it as hosts.{host.name}.address")


def hostname(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that no two machines call themselves the same, in whatever case."""
    return _copies(seen, "hostname", lambda h: h.facts.hostname.lower(), "error",
                   lambda h: f"on {h.name}: hostnamectl set-hostname {h.name}")


def machine_id(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that no two machines have one machine-id: the sign of a cloned root file system."""
    return _copies(seen, "machine-id", lambda h: h.facts.machine_id, "error",
                   lambda h: f"on {h.name}: rm -f /etc/machine-id /var/lib/dbus/machine-id && "
                             "systemd-machine-id-setup && systemctl reboot")


def product(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Say where the firmware gives two machines one UUID; some boards are made so, hence no error."""
    return _copies(seen, "product UUID", lambda h: h.told.product, "warning",
                   lambda h: f"give the virtual machine {h.name} a UUID of its own; storage drivers tell nodes by it")


def mac(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that no two hosts have one hardware address: a segment with two knows neither."""
    def of(host: HostSeen) -> str:
        carrier = host.facts.carrier(host.host.address)
        return carrier.mac.lower() if carrier and carrier.mac.strip("0:") else ""   # loopback's is zeros on every host

    return _copies(seen, "hardware address", of, "error",
                   lambda h: f"give the machine {h.name} a MAC of its own (in its hypervisor, or: ip link set "
                             f"{h.facts.interface_of(h.host.address)} address MAC), and boot it anew")


def host_key(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that no two hosts have one SSH host key: whoever has the one can pose as the other."""
    return _copies(seen, "SSH host key", lambda h: h.told.host_key, "warning",
                   lambda h: f"on {h.name}: rm /etc/ssh/ssh_host_* && ssh-keygen -A && systemctl restart "
                             f"{families.of_facts(h.facts).places.ssh}    # then "
                             f"here: kubewright trust {h.name} --replace")


def _copies(seen: Seen, what: str, value: Callable[[HostSeen], str], severity: Severity,
            cure: Callable[[HostSeen], str]) -> Iterator[tuple[str, Found]]:
    """Find hosts that share a value; the cure goes to all but one: whose name it is, or the first, may keep it."""
    holders: dict[str, list[HostSeen]] = {}
    for host in seen.hosts.values():
        if value(host):
            holders.setdefault(value(host), []).append(host)
    for shared, hosts in holders.items():
        keeps = next((host for host in hosts if host.name == shared), hosts[0])
        for host in hosts if len(hosts) > 1 else ():
            others = f"{len(hosts)} hosts have the same {what} {shared}"
            yield host.name, Found(severity, others, "" if host is keeps else cure(host))
