"""What a machine brings from before: package sources, kernel settings, links, a neighbour with the VIP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from provisioner.applier.firewall import VRRP
from provisioner.compile import firewall as opening
from provisioner.compile import networks, system
from provisioner.compile.context import config_of, vip_interface
from provisioner.compile.etcd import DATA_DIR
from provisioner.compile.firewall import Packet
from provisioner.model import families, managers, ports
from provisioner.model.cluster import Cluster, Host
from provisioner.model.components import packages_of
from provisioner.model.facts import Facts
from provisioner.operate.checks.finding import Found, HostSeen, Seen

# Directories of ours; one that is a link is refused when it is made, since whoever can write there would lead us away.
OWN = (DATA_DIR, *networks.DIRECTORIES, "/etc/containerd", "/etc/haproxy",
       "/etc/keepalived",
       "/etc/kubernetes", "/etc/kubernetes/pki", "/etc/kubernetes/pki/etcd", "/etc/kubewright",
       "/opt/kubewright", "/opt/kubewright/bin", "/var/lib/kubelet", "/var/lib/kubewright")
_NAMES: Mapping[Packet, str] = {
    (VRRP, 0): "VRRP (protocol 112)", ("tcp", ports.ETCD_PEER): f"etcd (tcp {ports.ETCD_PEER})",
    ("tcp", ports.APISERVER): f"the API (tcp {ports.APISERVER})",
    ("tcp", ports.KUBELET): f"the kubelet (tcp {ports.KUBELET})"}
_PACKAGED = ("/usr/lib/", "/lib/")      # defaults of packages are there to be overruled
UFW, DOCKER = "ufw", "Docker"
_KEEPERS = {UFW: "ufw-", DOCKER: "DOCKER-USER"}     # by the beginning of their chains' names
_AT_BOOT = "and for every boot in what loads it: /etc/nftables.conf, /etc/iptables/rules.v4 or a script"


def question(cluster: Cluster, host: Host, facts: Facts) -> dict[str, object]:
    """Return what one host is asked for the checks of this module."""
    vip = cluster.api.vip if host.name in {h.name for h in cluster.load_balancers} else None
    interface = vip_interface(cluster, facts, host.address)
    return {"own": list(OWN), "let_in": [list(packet) for packet in opening.needed(cluster, host)],
            "peers": [str(network) for network in cluster.network.hosts],
            "packages": list(packages_of(cluster, host, families.of_facts(facts))),
            "proxied": cluster.proxy is not None,
            "sysctls": list(system.node_sysctls(cluster)) if host.is_node or not host.roles else [],
            "vip": [interface, str(vip)] if vip is not None and interface else None}


def packages(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that the packages which are missing can be had; sources that do not matter for them may be broken.

    Where the run's bundle brings them, nothing else is asked; it may bring those of other systems only.
    """
    if host.facts.packaged_as in seen.brought:
        return
    asked = host.told.packages
    names, manager = " ".join(asked.missing), managers.of_facts(host.facts)
    if asked.missing and seen.brought:
        yield Found("warning", f"the bundle brings packages for {', '.join(sorted(seen.brought))}, and none for "
                               f"{host.facts.packaged_as}: {names} must come from its own sources",
                    f"on {host.name}: {manager.source}")
    bad = {site: why for site, why in asked.sites.items() if why}
    if asked.missing and not asked.listed and not asked.sites:
        yield Found("error", f"there is no package source; missing: {names}",
                    f"on {host.name}: {manager.source}")
    elif asked.missing and bad and (asked.listed or len(bad) == len(asked.sites)):
        why = ", ".join(f"{site} {reason}" for site, reason in sorted(bad.items()))
        yield Found("error", f"missing packages cannot be had ({names}): {why}",
                    f"on {host.name}: {managers.install(host.facts, *asked.missing, fresh=True)}", retry=True)
    if asked.removes:
        gone = " ".join(asked.removes)
        yield Found("error", f"installing {names} would remove {gone}; nothing of others is ever removed",
                    f"take another machine, or on {host.name}, if nobody needs them any more: {manager.purge} {gone}")


def mirror(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that the inventory's mirror has what the host is to fetch there; what it does not give comes from here."""
    if host.told.mirror:
        url = str(seen.cluster.artifacts.mirror)
        yield Found("warning", f"the mirror {url} gives it no artifacts, which come from this machine then: "
                               f"{host.told.mirror}", f"on {host.name}: curl -sSI {url}", retry=True)


def sysctls(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say which files set the kernel otherwise at boot; where they win, the kubelet may not start any more."""
    rows = host.told.sysctls
    last = {key: (file, value) for file, key, value in rows if file != system.SYSCTL_FILE}
    for key, (file, value) in last.items():
        want = system.node_sysctls(seen.cluster)[key]
        wins = _read_later(file, system.SYSCTL_FILE)
        if value == want or (not wins and file.startswith(_PACKAGED)):
            continue
        sets, cure = f"{file} sets {key} = {value}", f"on {host.name}: {_without(key, file)}"
        if not wins:
            yield Found("warning", f"{sets}; the cluster needs {want}, and its own file is read later at boot", cure)
        elif key in system.KUBELET_SYSCTLS:
            yield Found("error", f"{sets} after ours at boot; the kubelet does not start there without {want}", cure)
        else:
            yield Found("warning", f"{sets} after ours at boot; the cluster needs {want}", cure)


def _without(key: str, file: str) -> str:
    """Return the command that takes a setting out of a file of sysctl.d(5), with dots or slashes in its name."""
    return f"sed -i '\\|^ *-\\? *{key.replace('.', '[./]')} *=|d' {file}"


def _read_later(file: str, than: str) -> bool:
    """Files are read in the order of their names, whatever directory they lie in."""
    return file.rpartition("/")[2] > than.rpartition("/")[2]


def firewall(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that no chain of others drops what is forwarded for Pods, or what the hosts send each other.

    A chain of ours cannot overrule it; a Pod network that is not ours may tell the firewall itself. Where the inventory
    says `firewall: ours`, `up` opens what it may, and nothing is said of that here.
    """
    yield from _shut(seen, host)
    drops = [chain for chain in host.told.forward_drops if host.host.is_node and not opens(seen.cluster, chain)]
    pods = [str(network) for network in seen.cluster.network.pods]
    for chain in drops:
        yield Found("error" if networks.of(seen.cluster).ours else "warning",
                    f"its firewall drops what is forwarded for Pods: {chain}",
                    f"on {host.name}: {_opened(chain, pods, _keeper(host))}")


def services(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that no rules of another kube-proxy are left: they catch packets for Services before ours see them."""
    if not host.host.is_node or families.of_facts(host.facts).rules != "nftables":
        return
    for chain in host.told.services_of_others:
        table, name = chain.split()
        yield Found("error", f"rules of another kube-proxy are left in iptables' {chain}: they catch what is for "
                             "Services",
                    f"on {host.name}: iptables -t {table} -F {name}")


def resolver(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that a node knows a DNS server which its Pods reach too, unless the inventory names one.

    Where no node knows one, CoreDNS is told to ask nobody; where some do, it would not start on those that do not.
    """
    if not host.host.is_node or _resolves(seen, host):
        return
    others = [other for other in seen.hosts.values() if other.host.is_node and _resolves(seen, other)]
    saw = "/etc/resolv.conf names no DNS server that Pods reach"
    cure = (f"on {host.name}: name one there; or in cluster.yaml: config: {{coredns: {{upstreams: [ADDRESS]}}}}, "
            "[] for none")
    if others:
        yield Found("error", f"{saw}, those of other nodes do: CoreDNS starts on those only", cure)
    else:
        yield Found("warning", f"{saw}: they will know the names of this cluster only", cure)


def _resolves(seen: Seen, host: HostSeen) -> bool:
    named = "upstreams" in seen.cluster.config.get("coredns", {})
    return bool(named or config_of(seen.cluster, host.host, "kubelet").get("resolvConf") or host.facts.resolv_conf)


def _shut(seen: Seen, host: HostSeen) -> Iterator[Found]:
    peers = [str(network) for network in seen.cluster.network.hosts]
    names = {**_NAMES, **networks.of(seen.cluster).packets(seen.cluster)}
    for chain, packets in host.told.shut_out.items():
        if opens(seen.cluster, chain):
            continue
        words = ", ".join(names[packet] for packet in packets)
        yield Found("warning", f"the input chain {chain} drops by default, and no rule lets in what the other hosts "
                               f"send: {words}", f"on {host.name}: {_let_in(host, chain, packets, peers)}")


def opens(cluster: Cluster, chain: str) -> bool:
    """Say whether `up` opens a chain by itself: where the inventory says so, all but what others may not change."""
    return cluster.firewall == "ours" and opening.FIREWALLD not in chain.split()[:2]


def _keeper(host: HostSeen) -> str:
    """Return who makes the rules of iptables anew at each boot, by the chains that it has; nothing where none is known.
    """
    names = {chain.split()[-1] for chain in host.told.chains}
    return next((who for who, begin in _KEEPERS.items() if any(name.startswith(begin) for name in names)), "")


def _let_in(host: HostSeen, chain: str, packets: Sequence[Packet], peers: Sequence[str]) -> str:
    """Return what lets the hosts' packets in, and where it has to stand so that it does after a boot as well."""
    if opening.FIREWALLD in chain.split()[:2]:
        return _in_its_zone(host.facts.interface_of(host.host.address) or "", packets, peers)
    if _keeper(host) == UFW and chain.startswith("ip filter "):
        return " && ".join(f"ufw allow from {network}" for network in peers)
    rules = [f"nft insert rule {chain} {family} saddr {{ {', '.join(of_family)} }} {_match(packet)} accept"
             for family, of_family in _by_family(chain.split()[0], peers) for packet in packets
             if family == "ip" or packet[1]]        # VRRP speaks IPv4
    return f"{' && '.join(rules)}    # {_AT_BOOT}"


def _by_family(seen: str, ranges: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the ranges of each family that a table of family `seen` looks at, with nft's word for it."""
    split = {"ip": [r for r in ranges if ":" not in r], "ip6": [r for r in ranges if ":" in r]}
    return [(family, of) for family, of in split.items() if of and seen in (family, "inet")]


def _in_its_zone(interface: str, packets: Sequence[Packet], peers: Sequence[str]) -> str:
    """Return what lets packets in where firewalld has the host's interface, and keeps it.

    A zone by their sources would take all else that comes from there out of that one: SSH first of all.
    """
    rules = [f"rule family={'ipv6' if family == 'ip6' else 'ipv4'} source address={one} "
             f"{f'port port={port} protocol={protocol}' if port else 'protocol value=vrrp'} accept"
             for family, of_family in _by_family("inet", peers) for one in of_family for protocol, port in packets
             if family == "ip" or port]
    words = " ".join(f"--add-rich-rule='{rule}'" for rule in rules)
    zone = f"$(firewall-cmd --get-zone-of-interface={interface} || firewall-cmd --get-default-zone)"
    return f"firewall-cmd --permanent --zone={zone} {words} && firewall-cmd --reload"


def _match(packet: Packet) -> str:
    protocol, port = packet
    return f"{protocol} dport {port}" if port else f"ip protocol {protocol}"


def _opened(chain: str, pods: Sequence[str], keeper: str) -> str:
    """Return what lets Pods' packets through, and nobody else's, after a boot as well.

    Docker closes the chain only when it is itself who turns forwarding on: from the next boot on our sysctls are first.
    """
    family, table, name = chain.split()[:3] if not chain.startswith("iptables") else ("ip", "filter", "FORWARD")
    if table == opening.FIREWALLD:
        words = " ".join(f"--add-source={network}" for network in pods)
        zone = "firewall-cmd --permanent --zone=kubewright-pods"
        return (f"firewall-cmd --permanent --new-zone=kubewright-pods; {zone} {words} && {zone} --set-target=ACCEPT && "
                "firewall-cmd --reload")
    if (family, table, name) != ("ip", "filter", "FORWARD"):
        return f"let {', '.join(pods)} through there, from and to: nft list chain {family} {table} {name}"
    if keeper == UFW:
        return " && ".join(f"ufw route allow {way} {network}" for network in pods for way in ("from", "to"))
    pods = [network for network in pods if ":" not in network]      # this table sees IPv4 alone
    if keeper == DOCKER or chain.startswith("iptables"):
        own = "DOCKER-USER" if keeper == DOCKER else "FORWARD"
        rules = " && ".join(f"iptables -I {own} {way} {network} -j ACCEPT" for network in pods for way in ("-s", "-d"))
        return rules if keeper == DOCKER else f"{rules}    # {_AT_BOOT}"
    rules = " && ".join(f"nft insert rule {family} {table} {name} ip {way} {network} accept"
                        for network in pods for way in ("saddr", "daddr"))
    return f"{rules}    # {_AT_BOOT}"


def links(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that no directory of ours is a link to somewhere else."""
    for path, target in host.told.links.items():
        yield Found("error", f"{path} is a link to {target}; it has to be a directory",
                    f"on {host.name}: rm {path} && mkdir {path} && echo '{target} {path} none bind 0 0' >> /etc/fstab "
                    f"&& mount {path}")


def vip_is_free(seen: Seen) -> Iterator[tuple[str, Found]]:
    """Ask that no other machine has the VIP; our own holder is known by its hardware addresses.

    Nothing is said while a load balancer of ours has not answered: the holder may be that one. Nor of a host that we
    have prepared: it may have been a load balancer until this inventory, and `up` takes the VIP from it.
    """
    balancers = {h.name for h in seen.cluster.load_balancers}
    ours = {i.mac for host in seen.hosts.values() for i in host.facts.interfaces}
    vip = seen.cluster.api.vip
    for name, host in seen.hosts.items() if vip is not None else ():
        device = host.facts.interface_of(str(vip))
        is_new = host.inspection is not None and not host.inspection.prepared
        if device and is_new and name not in balancers:
            yield name, Found("error", f"it carries the VIP {vip} at {device}, and is no load balancer",
                              f"on {name}: ip address del {vip} dev {device}    # and where it is set up for a boot")
    for name in sorted(balancers & set(seen.hosts)) if balancers <= set(seen.hosts) else ():
        others = [mac for mac in seen.hosts[name].told.holders or () if mac not in ours]
        if others:
            yield name, Found("error", f"another machine has the VIP {vip} ({', '.join(others)} answers for it)",
                              f"in cluster.yaml: api.vip, an address that nobody has; who has it: ip neigh show {vip}")


def heard(host: HostSeen) -> bool:
    """Say whether this host asked its segment who has the VIP."""
    return host.told.holders is not None
