"""What a host finds out by trying, without another: its disk, its name servers, and a twin of its address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from provisioner.compile.etcd import DATA_DIR
from provisioner.model.reach import Alone
from provisioner.operate.checks.finding import Found, HostSeen, Seen

P99_WARN, P99_ERROR = 10.0, 100.0       # milliseconds; etcd's documentation asks for a p99 below 10
MANY = 100                              # writes; of so few the worst alone is the p99, and one hiccup tells nothing
SLOW = 1.0                              # seconds for the answer of a name server


def synced(host: HostSeen) -> bool:
    """Say whether the host's disk was written to."""
    return host.alone is not None and host.alone.disk is not None


def resolved(host: HostSeen) -> bool:
    """Say whether the host's name servers were asked."""
    return host.alone is not None and host.alone.dns is not None


def on_segment(host: HostSeen) -> bool:
    """Say whether the segment was asked who has the host's address."""
    return host.alone is not None and host.alone.also is not None


def disk(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that a small write is safe as soon as etcd needs it: each of its entries waits for one.

    Where so few were tried that one of them is the p99, only a middle one that is slow refuses the disk.
    A lab is told and not refused: its nodes have one disk, this computer's, with whatever else is at work on it.
    """
    yield from _unseen(host.alone, "fsync")
    said = host.alone.disk if host.alone else None
    if said and said["p99"] > P99_WARN:
        few = said["samples"] <= MANY
        is_slow = said["p99"] > P99_ERROR and (not few or said["p50"] > P99_ERROR)
        of = f"the slowest of {said['samples']:.0f} small writes below {DATA_DIR} took" if few else \
            f"1 of 100 small writes below {DATA_DIR} takes longer than"
        tried = "" if few else f"{said['samples']:.0f} tried, "
        limit = f"etcd wants less than {P99_WARN:.0f}" + (
            f", and loses its leader for much more than {P99_ERROR:.0f}" if said["p99"] > P99_ERROR else "")
        yield Found("error" if is_slow and not seen.cluster.lab else "warning",
                    f"{of} {said['p99']:.0f} ms until it {'was' if few else 'is'} safe "
                    f"({tried}the middle one {said['p50']:g} ms); {limit}",
                    f"on {host.name}: cat /proc/pressure/io; findmnt -T {DATA_DIR}    # who else writes there? Or "
                    "mount a disk of its own at that place", retry=True)


def twin(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that no other machine answers for the host's address."""
    yield from _unseen(host.alone, "arp")
    own = {i.mac for i in host.facts.interfaces}
    others = [mac for mac in ((host.alone.also or ()) if host.alone else ()) if mac not in own]
    proxies = _proxies(seen)
    for mac in (mac for mac in others if mac in proxies):
        yield Found("warning", f"{mac}, none of these hosts, answers for its address {host.host.address} and for "
                    "others': a router with proxy ARP",
                    f"on {host.name}: ip neigh    # find {mac}, and let it answer for other networks only")
    others = [mac for mac in others if mac not in proxies]
    if others:
        known = {i.mac: name for name, other in seen.hosts.items() for i in other.facts.interfaces if i.mac}
        who = ", ".join(f"{known[mac]} ({mac})" if mac in known else mac for mac in others)
        yield Found("error", f"another machine has its address {host.host.address} too: {who} answers for it",
                    f"on {host.name}: ip neigh    # find {others[0]}, and give one of the two another address")


def _proxies(seen: Seen) -> frozenset[str]:
    """Return hardware addresses of nobody here that answer for several hosts: a copy of a machine does for one."""
    known = {i.mac for other in seen.hosts.values() for i in other.facts.interfaces}
    answering = Counter(mac for other in seen.hosts.values() if other.alone for mac in set(other.alone.also or ()))
    return frozenset(mac for mac, hosts in answering.items() if hosts > 1 and mac not in known)


def dns(seen: Seen, host: HostSeen) -> Iterator[Found]:
    """Ask that the host's name servers answer, quickly, and make up no answers for names that nobody has."""
    yield from _unseen(host.alone, "dns")
    told: Mapping[str, Any] = (host.alone.dns or {}) if host.alone else {}
    for one in told.get("servers", ()):
        yield from _server(seen, host, one, told.get("behind", ()))


def _server(seen: Seen, host: HostSeen, one: Mapping[str, Any], behind: Sequence[str]) -> Iterator[Found]:
    server, look = one["server"], f"on {host.name}: cat /etc/resolv.conf"
    if seen.cluster.dns_ip in (server, *behind):
        yield Found("error", f"its DNS server is the cluster's own, {seen.cluster.dns_ip}, which asks the host's: "
                    "a loop",
                    f"{look}    # name a server that stands outside of the cluster")
    elif "why" in one:
        itself = host.has(server)
        saw = f"its DNS server {server} is itself, and nothing answers there" if itself else \
            f"its DNS server {server} does not answer"
        yield Found("warning", f"{saw}: {one['why']}", f"{look}    # name one that answers, and take {server} out",
                    retry=not itself)
    elif one["seconds"] > SLOW:
        yield Found("warning", f"its DNS server {server} takes {one['seconds']:.1f} s for an answer; every name that a "
                    "Pod asks for takes as long", f"{look}    # put a quicker one first", retry=True)
    if one.get("made_up"):
        yield Found("warning", f"its DNS server {server} makes answers up: a name that nobody has is "
                    f"{', '.join(one['made_up'])}", f"{look}    # name a server that says what does not exist")
    for domain, found in one.get("wild", {}).items():
        yield Found("warning", f"every name below the search domain {domain} is {', '.join(found)}: Pods take that for "
                    "names of others", f"on {host.name}: grep search /etc/resolv.conf    # take {domain} out")


def _unseen(alone: Alone | None, part: str) -> Iterator[Found]:
    if alone is not None and part in alone.unseen:
        yield Found("unseen", f"not looked at: {alone.unseen[part]}", "")
