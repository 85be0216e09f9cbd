"""What another cluster, an interrupted package manager or a hardened sshd left in the way."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.compile import networks
from provisioner.model import families, managers
from provisioner.model.cluster import Cluster
from provisioner.operate.checks.finding import Found, HostSeen, Seen

# Devices that other clusters make, by the beginning of their names: whose, and what they do to ours.
DEVICES = {
    "kube-ipvs": ("kube-proxy in IPVS mode", "holds the addresses of its Services, so that ours are not reached"),
    "flannel.": ("flannel", "has its VXLAN port and routes to its Pods"),
    "cilium_": ("Cilium", "has routes and programs for its Pods"),
    "cali": ("Calico", "has routes for its Pods"), "tunl0": ("Calico", "has routes for its Pods"),
    "vxlan.calico": ("Calico", "has its VXLAN port and routes to its Pods"),
    "weave": ("Weave Net", "has routes for its Pods"), "ovn-k8s": ("OVN-Kubernetes", "has routes for its Pods"),
    "antrea-gw": ("Antrea", "has routes for its Pods"), "kube-bridge": ("kube-router", "has routes for its Pods"),
    "nodelocaldns": ("NodeLocal DNSCache", "answers for its cluster's names"),
    "cni0": ("a CNI bridge", "has routes for its Pods"),
}
# Chains of iptables that others make, by the beginning of their names; those of kube-proxy are the check `rules`'s.
CHAINS = {"cali-": "Calico", "CILIUM_": "Cilium", "WEAVE-": "Weave Net", "KUBE-ROUTER-": "kube-router",
          "ANTREA-": "Antrea", "FLANNEL-": "flannel", "CNI-": "CNI's portmap"}
_TOOLS = {"ip": "iptables", "ip6": "ip6tables"}      # whose chains a family's are
STAYS = ("tunl0",)              # made by the kernel module ipip in every network namespace: no proof of a cluster
KUBELET = "/var/lib/kubelet"
PODS = ("/var/lib/kubelet", "/run/containerd", "/var/lib/containerd")   # where a node mounts what its Pods see
SESSIONS = 8                    # channels that one login of ours has at a time; more logins are made where it may not
STARTUPS = 4                    # logins at a time: ours, one that it opens more, Ansible's, and a person's


def asked(cluster: Cluster) -> dict[str, list[str]]:
    """Return where to look for what others left: mounts of Pods, CNI configuration where containerd will read it."""
    network = networks.of(cluster)
    return {"mounted": list(PODS), "cni": [] if network.ours else [network.config_dir]}


def devices(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that no network device of another cluster is left; on a host that is ours they are our own."""
    if host.told.prepared:
        return
    for name in host.told.netdevs:
        row = next((row for begin, row in DEVICES.items() if name.startswith(begin) and name not in STAYS), None)
        if row:
            yield Found("error", f"the network device {name} of {row[0]} is left: it {row[1]}",
                        f"on {host.name}, if nobody needs it any more: ip link delete {name}")


def chains(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say which chains of another Pod network are left in iptables: they see Pods' packets before ours do."""
    if host.told.prepared:
        return
    for begin, whose in CHAINS.items():
        left = [name for name in host.told.chains
                if name.split()[0] in _TOOLS and name.split()[-1].startswith(begin)]
        if left:
            tools = [tool for family, tool in _TOOLS.items() if any(name.split()[0] == family for name in left)]
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            yield Found("warning", f"iptables chains of {whose} are left: {left[0]}{more}",
                        f"on {host.name}, if nobody needs them any more: " + "; ".join(
                            f"{tool}-save | grep -v '{begin}' | {tool}-restore" for tool in tools))


def mounts(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that nothing of another cluster's Pods is mounted where ours will be."""
    if host.told.prepared or not host.told.mounted:
        return
    first, *more = host.told.mounted
    rest = f" and {len(more)} more" if more else ""
    yield Found("error", f"volumes or containers of others are mounted: {first}{rest}",
                f"on {host.name}, if nobody needs them any more: findmnt -rno TARGET | grep -E '^({'|'.join(PODS)})/' "
                "| sort -r | xargs -r umount")


def cni(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say which CNI configuration is there already where the network is left to others: the first by name wins."""
    if host.host.is_node and host.told.cni and not host.told.prepared:
        first = host.told.cni[0]
        yield Found("warning", f"{first} is there already; containerd will take the first file by name for every Pod",
                    f"on {host.name}, if it is not the network that you want: mv {first} /root/")


def package_manager(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say where the package manager is at work, or was ended in the middle; `up` waits for the one, ends the other."""
    told = host.told.dpkg
    if told.held:
        file, pid, program = told.held
        who = f"{program} (process {pid})" if program else "a process that cannot be seen from there"
        yield Found("warning", f"the package manager is at work: {who} holds {file}; `up` waits for it",
                    f"on {host.name}: ps -fp {pid}" if pid else f"on {host.name}: fuser -v {file}", retry=True)
    if told.half:
        manager = managers.of_facts(host.facts)
        names = ", ".join(told.half)
        saw = f"packages are left half installed: {names}; `up` ends that first" if manager.mended else (
            f"packages are there in two versions: {names}; `up` leaves them so")
        yield Found("warning", saw,
                    f"on {host.name}: {manager.mend}")


def sshd(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say where sshd allows fewer sessions or logins at a time than we open: it goes on, and takes longer."""
    limits = host.told.sshd
    sessions, startups = limits.get("maxsessions", ""), limits.get("maxstartups", "").partition(":")[0]
    if sessions.isdigit() and int(sessions) < SESSIONS:
        yield Found("warning", f"sshd allows {sessions} sessions of one login (MaxSessions); we open {SESSIONS}",
                    _unset(host, "MaxSessions"))
    if startups.isdigit() and int(startups) < STARTUPS:
        yield Found("warning", f"sshd drops logins while {startups} are not finished (MaxStartups); we make up to "
                               f"{STARTUPS} at a time", _unset(host, "MaxStartups"))


def _unset(host: HostSeen, name: str) -> str:
    """Return what gives sshd its own default back: of some settings the first line counts, of MaxStartups the last."""
    return (f"on {host.name}: sed -i '/^[[:space:]]*{name}/Id' $(grep -rli '^[[:space:]]*{name}' /etc/ssh) && "
            f"systemctl reload {families.of_facts(host.facts).places.ssh}")
