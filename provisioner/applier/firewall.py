"""What a firewall of others certainly keeps out of this host. Where a rule might let it in, nothing is said."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any, Iterator, Mapping, Optional, Sequence

from .host import Fault, Host, NoProgram
from .network import END, OURS, named, nft

VRRP = "112"
# A protocol by its number and the names that nft gives it.
_CONNTRACK = {"xt": {"type": "match", "name": "conntrack"}}
_STATES = re.compile(r"^[^\n]*\bct state ([a-z,]+) [^\n]*# handle (\d+)$", re.MULTILINE)
NAMES = {"tcp": {"tcp", "6"}, "udp": {"udp", "17"}, VRRP: {"vrrp", VRRP}}


def shut_out(host: Host, packets: Sequence[Sequence[Any]], peers: Sequence[str]) -> dict[str, list[list[Any]]]:
    """Return, for each chain that drops what nobody lets in, which of the `packets` from `peers` nobody lets in.

    A packet is a protocol (tcp, udp, 112) and a port, 0 where it has none.
    """
    try:
        listed = nft(host, "chains")
    except (Fault, ValueError):
        return {}
    found = {}
    for chain in input_chains(listed):
        try:
            table = with_states(host, chain, nft(host, "table", chain["family"], chain["table"]))
        except (Fault, ValueError):
            continue
        kept_out = [list(packet) for packet in packets if drops(chain, table, packet, peers)]
        if kept_out:
            found[named(chain)] = kept_out
    return found


def with_states(host: Host, chain: Mapping[str, Any], table: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return a table whose rules say which states of a connection they are for, where iptables wrote that.

    As JSON nft names the module alone (`xt`, `conntrack`), in its text the states.
    """
    if not any(_CONNTRACK in entry["rule"]["expr"] for entry in table if "rule" in entry):
        return list(table)
    text = host.run(["nft", "-a", "list", "table", chain["family"], chain["table"]])
    states = {int(found[2]): found[1].split(",") for found in _STATES.finditer(text)}
    return [_with_state(entry, states.get(entry["rule"].get("handle"), [])) if "rule" in entry else entry
            for entry in table]


def _with_state(entry: Mapping[str, Any], states: Sequence[str]) -> Mapping[str, Any]:
    said = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(states)}}
    parts = [said if part == _CONNTRACK and states else part for part in entry["rule"]["expr"]]
    return {"rule": {**entry["rule"], "expr": parts}}


def input_drops(host: Host) -> list[str]:
    """Return others' chains that drop of what comes in whatever no rule lets in, as `ip filter INPUT`; a rule may."""
    try:
        listed = nft(host, "chains")
    except NoProgram:
        return _iptables_drops(host)
    found = []
    for chain in input_chains(listed):
        table = nft(host, "table", chain["family"], chain["table"])
        if _by_default(chain, [entry["rule"] for entry in table if "rule" in entry]):
            found.append(named(chain))
    return found


def _iptables_drops(host: Host) -> list[str]:
    """Ask iptables, on a host that has no nft: a program for the kernel's rules may be there without the other."""
    try:
        lines = host.run(["iptables", "-S", "INPUT"]).splitlines()
    except NoProgram:
        return []
    last = lines[-1].split() if lines else []
    ends = last[:3] == ["-A", "INPUT", "-j"] and last[3] in ("DROP", "REJECT")
    return ["ip filter INPUT"] if "-P INPUT DROP" in lines or ends else []


def input_chains(listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return others' base chains that see what comes in, of what `nft -j list chains` says."""
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    return [c for c in chains if c.get("hook") == "input" and c.get("family") in ("ip", "inet")
            and c.get("table") not in OURS]


def drops(chain: Mapping[str, Any], table: Sequence[Mapping[str, Any]], packet: Sequence[Any], peers: Sequence[str],
          ) -> bool:
    """Say whether this chain drops by default, and no rule that it leads to can let the packet in.

    A rule that accepts, or that does what we cannot read, counts as one that lets in unless its own words exclude it.
    """
    rules = [entry["rule"] for entry in table if "rule" in entry]
    return _by_default(chain, rules) and not any(
        _may_accept(rule["expr"]) for rule in _met(chain["name"], rules, packet, peers))


def _met(chain: str, rules: Sequence[Mapping[str, Any]], packet: Sequence[Any], peers: Sequence[str],
         ) -> Iterator[Mapping[str, Any]]:
    """Yield the rules that may fit the packet, of a chain and of those that it leads to; others never see it."""
    names, done = [chain], set()
    while names:
        name = names.pop()
        if name not in done:
            done.add(name)
            for rule in (r for r in rules if r["chain"] == name and not _excludes(r["expr"], packet, peers)):
                yield rule
                names += [part[way]["target"] for part in rule["expr"] for way in ("jump", "goto") if way in part]


def _by_default(chain: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> bool:
    own = [rule["expr"] for rule in rules if rule["chain"] == chain["name"]]
    ends = bool(own) and any(end in part for part in own[-1] for end in END) and all(
        part.keys() <= {"counter", "log", *END} for part in own[-1])
    return chain.get("policy") == "drop" or ends


def _may_accept(expression: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a rule ends in an accept, or in what we do not know (a verdict map)."""
    return any("accept" in part or "vmap" in part or "queue" in part for part in expression)


def _excludes(expression: Sequence[Mapping[str, Any]], packet: Sequence[Any], peers: Sequence[str]) -> bool:
    return any(_differs(part["match"], packet, peers) for part in expression if "match" in part)


def _differs(match: Mapping[str, Any], packet: Sequence[Any], peers: Sequence[str]) -> bool:
    """Say whether the packet certainly does not fit a condition."""
    left, values = match.get("left", {}), _values(match.get("right"))
    if match.get("op") not in ("==", "in") or values is None or not isinstance(left, dict):
        return False
    meta, payload = left.get("meta", {}).get("key"), left.get("payload", {})
    protocol, field = payload.get("protocol"), payload.get("field")
    if left.get("ct", {}).get("key") == "state":
        return set(values) <= {"established", "related", "invalid"}
    if meta in ("iif", "iifname"):
        return set(values) == {"lo"}
    if meta == "nfproto" or protocol == "ip6":
        return protocol == "ip6" or "ipv4" not in values
    if meta == "l4proto" or (protocol == "ip" and field == "protocol"):
        return not NAMES[packet[0]] & {str(value) for value in values}
    if protocol == "ip" and field == "saddr":
        return not _overlap(values, peers)
    if protocol in (None, "ip", "ether", "th"):
        return False
    return str(protocol) not in NAMES[packet[0]] or (field == "dport" and not _holds(values, int(packet[1])))


def _values(right: Any) -> Optional[list[Any]]:
    """Return the values of a condition's right side, None where it names a set that lies elsewhere."""
    if isinstance(right, dict) and "set" in right:
        right = right["set"]
    values = right if isinstance(right, list) else [right]
    return None if any(isinstance(value, str) and value.startswith("@") for value in values) else [
        json.dumps(value) if isinstance(value, (dict, list)) else value for value in values]


def _holds(values: Sequence[Any], port: int) -> bool:
    """Say whether a port is among values, ranges and what we cannot read."""
    for value in values:
        if isinstance(value, int):
            if value == port:
                return True
            continue
        try:
            first, last = json.loads(value)["range"]
        except (ValueError, KeyError, TypeError):
            return True
        if first <= port <= last:
            return True
    return False


def _overlap(values: Sequence[Any], peers: Sequence[str]) -> bool:
    try:
        known = list(_networks(values))
    except (ValueError, KeyError, TypeError):
        return True
    return any(one.overlaps(ipaddress.ip_network(peer)) for one in known for peer in peers)


def _networks(values: Sequence[Any]) -> Iterator[ipaddress.IPv4Network]:
    for value in values:
        if isinstance(value, str) and value.startswith("{"):
            prefix = json.loads(value)["prefix"]
            value = f"{prefix['addr']}/{prefix['len']}"
        yield ipaddress.IPv4Network(value, strict=False)
