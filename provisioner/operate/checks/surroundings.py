"""What a machine's files and routes tell programs there: names, resolvers, proxies, locales, ports, other networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from provisioner.compile import networks
from provisioner.model.addresses import is_loopback
from provisioner.model.cluster import Cluster
from provisioner.operate.checks.finding import Found, HostSeen, Seen
from provisioner.operate.checks.occupied import uses

# What a Pod's resolv.conf holds: kubernetes 1.36, pkg/apis/core/validation, MaxDNSNameservers and those below it.
SERVERS, DOMAINS, CHARACTERS = 3, 32, 2048
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def hosts_file(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that /etc/hosts leads localhost home, and no name of the cluster's hosts astray."""
    rows = host.told.hosts_file
    if not rows:
        return
    home = [address for address, names in rows if "localhost" in names]
    strange = [address for address in home if not is_loopback(address)]
    if not home:
        yield Found("warning", "/etc/hosts does not know localhost",
                    f"on {host.name}: echo '127.0.0.1 localhost' >> /etc/hosts")
    for address in strange:
        yield Found("error", f"/etc/hosts leads localhost to {address}",
                    f"on {host.name}: {_led(address, 'localhost', '127.0.0.1')}")
    for name, right in _names(seen.cluster, host).items():
        for address, names in rows:
            mine = name == host.facts.hostname and host.has(address)
            if name in names and address not in right and not mine:
                yield Found("warning", f"/etc/hosts leads {name} to {address}, which is not {' or '.join(right)}",
                            f"on {host.name}: {_led(address, name, right[0])}")


def _names(cluster: Cluster, host: HostSeen) -> dict[str, tuple[str, ...]]:
    """Return the names of the cluster's hosts, and this one's own, with the addresses that they have."""
    known = {machine.name: machine.addresses for machine in cluster.machines}
    return {**known, host.facts.hostname: host.host.addresses}


def _led(wrong: str, name: str, right: str) -> str:
    """Return what takes the name, and no other, from one address to another."""
    return (f"sed -i -E '/^{_escaped(wrong)}[[:space:]]/s/[[:space:]]+{_escaped(name)}([[:space:]]|$)/\\1/' /etc/hosts "
            f"&& echo '{right} {name}' >> /etc/hosts")


def _escaped(address: str) -> str:
    return address.replace(".", "\\.")


def nameservers(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say where a Pod is given less of the resolver's file than the host itself has."""
    told = host.told.resolv if host.host.is_node else {}
    servers, search = told.get("servers", ()), told.get("search", ())
    file = host.facts.resolv_conf or "/etc/resolv.conf"
    # systemd-resolved writes its file anew: what stands there comes from its own settings and from the links.
    resolved = file.startswith("/run/systemd/resolve/")
    where = ("in all: DNS= and Domains= in /etc/systemd/resolved.conf, and of the links; "
             "systemctl restart systemd-resolved")
    if len(servers) > SERVERS:
        yield Found("warning", f"{file} names {len(servers)} DNS servers; Pods are given the first {SERVERS}",
                    f"on {host.name}: resolvectl dns    # leave {SERVERS} {where}" if resolved else
                    f"on {host.name}: awk '!/^nameserver/ || ++n <= {SERVERS}' {file} > /run/resolv.new && cat "
                    f"/run/resolv.new > {file}")
    if len(search) > DOMAINS or len(" ".join(search)) > CHARACTERS:
        yield Found("warning", f"{file} has {len(search)} search domains of {len(' '.join(search))} characters; Pods "
                               f"are given {DOMAINS} and {CHARACTERS} at most",
                    f"on {host.name}: resolvectl domain    # leave fewer {where}" if resolved else
                    f"on {host.name}: leave fewer of them in {file}")


def default_route(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask for a way to addresses that nobody has: without any route to it, no Service is reached from the host."""
    routes = host.told.routes if host.host.is_node else ()
    ways = [_network(destination) for destination, _ in routes]
    services = seen.cluster.network.services[0]
    if routes and not any(way is not None and _covers(way, services) for way in ways):
        yield Found("warning", f"there is no default route, and none to {services}: programs of the host itself reach "
                               "no Service",
                    f"on {host.name}: ip route add default via ROUTER    # and where the network is set up for a boot")


def _covers(way: Network, other: Network) -> bool:
    if isinstance(way, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and other.subnet_of(way)
    return isinstance(other, ipaddress.IPv6Network) and other.subnet_of(way)


def ranges(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that the ranges of Pods and Services are nobody's here: a route that is more exact than ours wins.

    A wider one, of a provider or a VPN, loses to ours: what it leads to within the range is out of reach, and no more.
    """
    network = seen.cluster.network
    own = _own_devices(seen.cluster, host)
    ours = {"Pods": network.pods, "Services": network.services}
    addresses = [(address, i.name) for i in host.facts.interfaces for address in i.addresses]
    routes = host.told.routes
    taken = {**{text: device for text, device in routes if text != "default"},
             **{str(ipaddress.ip_interface(text).network): device for text, device in addresses}}
    for text, device in taken.items():
        other = _network(text)
        if other is None or device in own or device == "lo":
            continue
        met = [(whose, one) for whose, known in ours.items() for one in known
               if one.version == other.version and one.overlaps(other)]
        for whose, one in met:
            yield Found("error" if _covers(one, other) else "warning",
                        f"the range of {whose} {one} meets {text}, which {device} leads to there",
                        f"in cluster.yaml: network.{whose.lower()}, a range that is free on every host; who has it: "
                        f"ip route get {other.network_address}")


def _own_devices(cluster: Cluster, host: HostSeen) -> frozenset[str]:
    """Return devices that carry Pods: of a host that we prepared, whatever leads to Pods is the cluster's own."""
    if host.inspection is None or host.inspection.prepared:
        taken = {device for _, device in host.told.routes}
        named = {i.name for i in host.facts.interfaces}
        carries = host.facts.interface_of(host.host.address) or ""
        return frozenset(taken | named) - {carries}
    return frozenset({networks.of(cluster).device(cluster, host.host)})


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network("0.0.0.0/0" if text == "default" else text, strict=False)
    except ValueError:
        return None


def proxies(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say where logins or services are sent to a proxy also for the cluster's own addresses."""
    rows = host.told.environment
    # systemd reads all of its files into one environment; a later one wins.
    of_services = [(file, name.lower(), value) for file, name, value in rows if file.startswith("/etc/systemd/")]
    of_logins = [(file, name.lower(), value) for file, name, value in rows if file == "/etc/environment"]
    for found in (of_logins, of_services):
        values = {name: value for _, name, value in found if value}
        set_in = next((file for file, name, _ in found if name in PROXIES), "")
        if not set_in:
            continue
        wanted = [str(one) for one in (*seen.cluster.network.hosts, *seen.cluster.network.services)]
        lost = [one for one in wanted if not _is_direct(one, values)]
        if lost:
            named = ", ".join(name for name in PROXIES if name in values)
            direct = ",".join(dict.fromkeys([*filter(None, values.get("no_proxy", "localhost,127.0.0.1").split(",")),
                                             *lost]))
            yield Found("warning", f"{set_in} sets {named} without {', '.join(lost)} in no_proxy: what people type "
                                   "there asks the proxy for the API (our own units do not)",
                        f"on {host.name}: {_told_to_go_straight(set_in, direct)}")


def _told_to_go_straight(file: str, direct: str) -> str:
    if file == "/etc/environment":
        return f"sed -i '/^\\(export \\)*no_proxy=/Id' {file} && echo 'no_proxy={direct}' >> {file}"
    return ("mkdir -p /etc/systemd/system.conf.d && printf '[Manager]\\nDefaultEnvironment=no_proxy=%s\\n' "
            f"'{direct}' > /etc/systemd/system.conf.d/zz-no-proxy.conf && systemctl daemon-reload")


def _is_direct(wanted: str, values: Mapping[str, str]) -> bool:
    """Say whether no_proxy covers a network: by name, by a network around it, or by `*`."""
    range_ = ipaddress.ip_network(wanted)
    for part in values.get("no_proxy", "").split(","):
        if part.strip() == "*":
            return True
        other = _network(part.strip()) if "/" in part else None
        if other is not None and _covers(other, range_):
            return True
    return False


def locales(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Say where logins are given a locale that is not there: Perl, apt and Python complain of it with each command."""
    if host.told.locale_refused:
        yield Found("warning", f"logins get the locale {host.told.locale_refused}, which is not there",
                    f"on {host.name}: printf 'LANG=C.UTF-8\\n' > /etc/default/locale")


def local_ports(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that the kernel gives none of our ports to an outgoing connection: the unit could not start then."""
    if host.inspection is None:
        return
    given = host.inspection.local_ports
    taken = sorted({use.port for use in uses(seen.cluster, host.host) if given.takes(use.port)})
    if taken:
        ports = ",".join(str(port) for port in taken)
        kept = [f"{a}-{b}" if a != b else str(a) for a, b in given.reserved]
        file = "/etc/sysctl.d/90-local-ports.conf"
        yield Found("warning", f"outgoing connections take ports from {given.low} to {given.high}, ours among them: "
                    f"{ports}",
                    f"on {host.name}: echo net.ipv4.ip_local_reserved_ports={','.join([*kept, ports])} > {file} && "
                    f"sysctl -p {file}")
