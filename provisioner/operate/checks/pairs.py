"""What only trying shows: do hosts reach each other, how fast, with packets of which size, and who else is there?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from provisioner.model.etcd import quorum
from provisioner.model.finding import Severity
from provisioner.model.reach import ETCD_PEER, Probed, Tried
from provisioner.operate.checks import groups
from provisioner.operate.checks.finding import Found, HostSeen, Seen
from provisioner.operate.checks.groups import Pair
from provisioner.operate.checks.past import opens

# OpenShift's assisted installer: control planes 100 ms and nothing lost, workers 1000 ms.
MEMBER_MS, HOST_MS = 100.0, 1000.0
MANY_LOST = 2           # connections that needed a second packet; one in twenty may be chance
OVERHEAD = 50           # bytes that VXLAN puts around a packet of a Pod over IPv4
NAMED = 5               # hosts in one sentence
On = tuple[str, Found]


def probed(host: HostSeen) -> bool:
    """Say whether the host took part in the tries."""
    return host.alone is not None


def sized(host: HostSeen) -> bool:
    """Say whether it was to be found out what size of packets passes between the host and another."""
    return host.alone is not None and host.alone.sized


def hears(host: HostSeen) -> bool:
    """Say whether the host heard what is said in VRRP there."""
    return host.alone is not None and host.alone.routers is not None


def reach(seen: Seen) -> Iterator[On]:
    """Ask that every host reaches what it needs of others, through whatever firewall is there.

    A host that sees none of the largest group is one finding, not one for each of its ways.
    """
    done = _done(seen)
    largest, outside = groups.apart(done.tried, _order(seen))
    for name in outside:
        yield name, _cut_off(seen, done, name, largest)
    inside = [t for t in done.tried if not {t.need.source, t.need.target} & set(outside)]
    place = _order(seen).index
    for one in sorted(joined(blocked(inside)), key=lambda one: place(one.host)):
        yield one.host, _not_passing(seen, one)
    unseen = dict.fromkeys((t.need.source, t.why) for t in done.tried if t.ok is None)
    for source, why in sorted(unseen, key=lambda row: place(row[0])):
        yield source, Found("unseen", f"not looked at: {why}", "")


def majority(seen: Seen) -> Iterator[On]:
    """Ask that a majority of etcd's members see each other: without one there is no cluster at all."""
    members = [h.name for h in seen.cluster.etcd_hosts]
    together = groups.members_together(_done(seen).tried, members)
    need = quorum(len(members))
    if len(together) >= need or seen.probed is None:
        return
    see = "sees itself" if len(together) == 1 else "see each other"
    for name in (m for m in members if m not in together):
        yield name, Found("error", f"etcd finds no majority: of its {len(members)} members only {_named(together)} "
                          f"{see}; {need} have to see each other, both ways",
                          f"on {name}: {_let_in(seen, ['tcp 2380'])}", retry=True)


def _cut_off(seen: Seen, done: Probed, name: str, largest: Sequence[str]) -> Found:
    to = [t for t in done.tried if t.need.source == name and t.need.target in largest and t.ok is not None]
    back = [t for t in done.tried if t.need.target == name and t.need.source in largest and t.ok is not None]
    failed = [t for t in (*to, *back) if not t.ok]
    at = sorted({t.need.at for t in failed})
    why = ", ".join(dict.fromkeys(t.why for t in failed))
    if any(t.ok for t in to):
        saw = f"none of {_named(largest)} reaches it, though it reaches them"
    elif any(t.ok for t in back):
        saw = f"it reaches none of {_named(largest)}, though they reach it"
    else:
        saw = f"nothing passes between it and {_named(largest)}"
    return Found("error", f"{saw}: {why} at {', '.join(at)}",
                 f"on {name}: {_let_in(seen, at)}", retry=True)


def _done(seen: Seen) -> Probed:
    """Return what was tried; what failed at a firewall that `up` opens counts as passed: it was still closed."""
    done = seen.probed or Probed()
    closed = {name for name, host in seen.hosts.items()
              if any(opens(seen.cluster, chain) for chain in (*host.told.shut_out, *host.told.input_drops))}
    return replace(done, tried=tuple(
        replace(t, ok=True) if t.ok is False and t.need.target in closed else t for t in done.tried))


class Blocked(NamedTuple):
    """What does not pass, by whose doing it seems: of a source that reaches nobody at a port, else of the target.

    `outward`: from the host; `both`: to it as well.
    """

    host: str
    outward: bool
    others: tuple[str, ...]
    why: str
    at: tuple[str, ...]
    essential: bool
    alone: bool         # do all of those fail that tried?
    both: bool = False


def joined(found: Sequence[Blocked]) -> list[Blocked]:
    """Return the same, where what fails from and to a host is one."""
    by_way = {_way(one, outward=one.outward): one for one in found}
    kept = []
    for one in found:
        back = by_way.get(_way(one, outward=not one.outward))
        if back is None:
            kept.append(one)
        elif one.outward:
            kept.append(one._replace(others=max(one.others, back.others, key=len), both=True,
                                     essential=one.essential or back.essential))
    return kept


def _way(one: Blocked, *, outward: bool) -> tuple[object, ...]:
    return one.host, one.why, frozenset(one.at), outward


def blocked(tried: Sequence[Tried]) -> list[Blocked]:
    """Return the ways that failed, those of one host with the same others and the same failure together."""
    found: dict[tuple[str, bool, str, str], list[Tried]] = {}
    ways: dict[str, list[Tried]] = {}
    for t in tried:
        if t.ok is not None:
            ways.setdefault(t.need.at, []).append(t)
    for at, there in ways.items():
        reached = {t.need.target for t in there if t.ok}
        for t in (t for t in there if not t.ok):
            own = [o for o in there if o.need.source == t.need.source]
            outward = len(own) > 1 and not any(o.ok for o in own) and all(o.need.target in reached for o in own)
            found.setdefault((t.need.source if outward else t.need.target, outward, at, t.why), []).append(t)
    same: dict[tuple[str, bool, tuple[str, ...], str], list[Tried]] = {}
    for (host, outward, _, why), failed in found.items():
        others = tuple(t.need.target if outward else t.need.source for t in failed)
        same.setdefault((host, outward, others, why), []).extend(failed)
    return [Blocked(host, outward, others, why, tuple(dict.fromkeys(t.need.at for t in failed)),
                    any(t.need.essential for t in failed), _all_fail(ways, host, failed))
            for (host, outward, others, why), failed in same.items()]


def _all_fail(ways: Mapping[str, Sequence[Tried]], host: str, failed: Sequence[Tried]) -> bool:
    at = {t.need.at for t in failed}
    return not any(t.ok for port in at for t in ways[port] if t.need.target == host)


def _not_passing(seen: Seen, one: Blocked) -> Found:
    at = ", ".join(one.at)
    verb = "are" if len(one.at) > 1 else "is"
    if one.both:
        saw = f"{at} {verb} not reached between it and {_named(one.others)}, from either side: {one.why}"
    elif one.outward:
        saw = f"it reaches none of {_named(one.others)} at {at}, which others do: {one.why}"
    else:
        saw = f"{at} {verb} not reached from {_named(one.others)}: {one.why}"
        if one.alone and len(one.others) > 1:
            saw = f"{at} {verb} reached by none of the {len(one.others)} hosts that need it: {one.why}"
    return Found("error" if one.essential else "warning", saw, f"on {one.host}: {_let_in(seen, one.at)}", retry=True)


def latency(seen: Seen) -> Iterator[On]:
    """Ask that packets are quick and none is lost, of etcd's members above all: each write waits for a majority."""
    tried = [t for t in (seen.probed or Probed()).tried if t.ok and t.of]
    ms: dict[Pair, float] = {}
    lost: dict[Pair, list[int]] = {}
    members = {_pair(t) for t in tried if t.need.why == ETCD_PEER}
    for t in tried:
        ms[_pair(t)] = max(ms.get(_pair(t), 0.0), t.median)
        sums = lost.setdefault(_pair(t), [0, 0])
        sums[0], sums[1] = sums[0] + t.lost, sums[1] + t.of
    for limit, of in ((MEMBER_MS, members), (HOST_MS, set(ms) - members)):
        slow = {pair for pair in of if ms[pair] > limit}
        for host, others in groups.by_culprit(slow, _order(seen)):
            worst = max(ms[frozenset((host, o))] for o in others)
            yield host, Found("error" if of is members else "warning",
                              f"a packet to {_named(others)} and back takes {worst:.0f} ms; "
                              f"{_limit(limit, of is members)}",
                              f"on {host}: ping -c 20 {_address(seen, others[0])}", retry=True)
    yield from _losing(seen, lost, members)


def _losing(seen: Seen, lost: Mapping[Pair, Sequence[int]], members: Collection[Pair]) -> Iterator[On]:
    many = {pair for pair, (gone, _) in lost.items() if gone >= MANY_LOST}
    one = {pair for pair, (gone, _) in lost.items() if gone and pair in members}
    between = "; between etcd's members none may be"
    kinds: tuple[tuple[set[Pair], Severity, str], ...] = (
        (many & set(members), "error", between), (one - many, "warning", between), (many - set(members), "warning", ""))
    for pairs, severity, more in kinds:
        for host, others in groups.by_culprit(pairs, _order(seen)):
            gone, of = (sum(lost[frozenset((host, o))][n] for o in others) for n in (0, 1))
            yield host, Found(severity,
                              f"{gone} of {of} connections with {_named(others)} lost a packet{more}",
                              f"on {host}: ping -c 100 -i 0.2 {_address(seen, others[0])}", retry=True)


def _limit(ms: float, members: bool) -> str:
    return f"between etcd's members it may be {ms:.0f}" if members else f"it may be {ms:.0f}"


def mtu(seen: Seen) -> Iterator[On]:
    """Ask that the network takes packets as large as the Pod network sends: else large answers never come, small do."""
    tried = (seen.probed or Probed()).tried
    short = {_pair(t): t for t in tried if t.passes is not None and t.passes < t.need.size}
    for host, others in groups.by_culprit(set(short), _order(seen)):
        ways = [short[frozenset((host, o))] for o in others]
        passes, need = min(t.passes or 0 for t in ways), max(t.need.size for t in ways)
        largest = f"the largest that do have {passes}" if passes else "nor do small ones"
        device, own = _link(seen, host)
        saw = (f"packets of {need} bytes do not pass between it and {_named(others)}, {largest}; the Pod network sends "
               f"such ({need - OVERHEAD} of a Pod and {OVERHEAD} of VXLAN)")
        if 0 < own < need:
            yield host, Found("error", f"{saw}; its own {device} takes {own}",
                              f"on {host}: ip link set dev {device} mtu {need}    # and where that is set at boot")
        else:
            pods = f"config: {{flannel: {{Backend: {{Type: vxlan, MTU: {passes}}}}}}}"     # with what VXLAN puts around
            yield host, Found("error", saw, f"on {host}: ip link show    # one MTU on the whole way, switches too; or "
                              f"in cluster.yaml: {pods}")
    for name in dict.fromkeys(t.need.source for t in tried if t.unsized):
        why = next(t for t in tried if t.unsized and t.need.source == name)
        yield name, Found("unseen", f"not looked at: to {why.need.target}: {why.unsized}", "")


def vrrp(seen: Seen) -> Iterator[On]:
    """Ask that no machine of others speaks VRRP with our router id: two VIPs would fight."""
    ours = {address for host in seen.cluster.machines for address in host.addresses}
    for name, host in seen.hosts.items():
        heard = (host.alone.routers or ()) if host.alone else ()
        for sender in dict.fromkeys(who for who, router in heard if router == _router(seen) and who not in ours):
            taken = ", ".join(str(router) for router in sorted({router for _, router in heard}))
            yield name, Found("error", f"{sender}, none of these hosts, speaks VRRP with this cluster's router id "
                              f"{_router(seen)}",
                              f"in cluster.yaml: api.virtual_router_id, from 1 to 255; in use there: {taken}")


def _router(seen: Seen) -> int:
    return seen.probed.router if seen.probed else 0


def _link(seen: Seen, name: str) -> tuple[str, int]:
    """Return the interface that has a host's address, and the largest packet that it takes; 0 where nobody knows."""
    carrier = seen.hosts[name].facts.carrier(_address(seen, name)) if name in seen.hosts else None
    return (carrier.name, carrier.mtu) if carrier else ("", 0)


def _pair(t: Tried) -> Pair:
    return frozenset((t.need.source, t.need.target))


def _order(seen: Seen) -> list[str]:
    return [host.name for host in seen.cluster.machines]


def _address(seen: Seen, name: str) -> str:
    return seen.cluster.machine(name).address


def _let_in(seen: Seen, at: Iterable[str]) -> str:
    """Return what shows the rules of a firewall, and beside it what they have to let through."""
    networks = ", ".join(str(network) for network in seen.cluster.network.hosts)
    return f"nft list ruleset    # there or on the way, let {networks} through to {', '.join(at)}"


def _named(names: Sequence[str]) -> str:
    """Return names as one reads them; of many the first few."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
