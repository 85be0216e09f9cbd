"""What a node's packets meet: rules that must be there, ways to other nodes' Pods, and chains that drop what is
forwarded. Each is a command and a pure reader of what it said."""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Iterator, Mapping, Optional, Sequence

from .host import Fault, Host, NoProgram

# Tables of the cluster's own: what they drop, they drop with reason.
OURS = ("kube-proxy", "flannel-ipv4", "flannel-ipv6", "cni_hostport")
END = ("drop", "reject")
TOOLS = {"iptables": "ip", "ip6tables": "ip6"}      # and whose packets they see


def rules(host: Host, one: Mapping[str, Any], timeout: float) -> Optional[str]:
    """Hold when every chain (`ip kube-proxy services`) has a rule with the wanted words."""
    lost = []
    for wanted in one["rules"]:
        try:
            text = host.run(["nft", "list", "chain", *str(wanted["chain"]).split()], timeout=timeout)
        except Fault as fault:
            if "No such file" not in str(fault):
                raise
            lost.append(f"{wanted['chain']} is gone")
            continue
        if wanted["has"] not in text:
            lost.append(f"{wanted['chain']} has no `{wanted['has']}`")
    return ", ".join(lost) or None


def ways(host: Host, one: Mapping[str, Any], timeout: float) -> Optional[str]:
    """Hold when packets for the Pods of every peer (name -> node's address) have a way through an overlay device."""
    device = str(one["device"])
    try:
        seen = [json.loads(host.run(argv, timeout=timeout) or "[]") for argv in (
            ["bridge", "-json", "fdb", "show", "dev", device], ["ip", "-json", "-4", "neigh", "show", "dev", device],
            ["ip", "-json", "-4", "route", "show", "dev", device])]
    except Fault as fault:
        if "does not exist" not in str(fault) and "Cannot find device" not in str(fault):
            raise
        return f"{device} is not there"
    lost = no_way(one["peers"], *seen)
    return f"no way through {device} to the Pods of {', '.join(lost)}" if lost else None


def no_way(peers: Mapping[str, str], fdb: Sequence[Mapping[str, Any]], neighbours: Sequence[Mapping[str, Any]],
           routes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the peers without a way: a route through a gateway, the gateway's MAC, and where that MAC lives."""
    gateways = {route.get("gateway") for route in routes}
    macs = {n.get("lladdr") for n in neighbours if n.get("dst") in gateways}
    reached = {entry.get("dst") for entry in fdb if entry.get("mac") in macs}
    return [name for name, address in peers.items() if address not in reached]


def nft(host: Host, *what: str) -> Sequence[Mapping[str, Any]]:
    """Return what nft lists, of `chains` or of `table FAMILY NAME`: one entry for each thing."""
    listed: Sequence[Mapping[str, Any]] = json.loads(host.run(["nft", "-j", "list", *what]) or "{}").get("nftables", ())
    return listed


def named(chain: Mapping[str, Any]) -> str:
    """Return a chain's whole name, as nft itself takes it."""
    return " ".join(str(chain[key]) for key in ("family", "table", "name"))


def forward_drops(host: Host, pods: Sequence[str]) -> list[str]:
    """Return the chains of others that drop what the machine forwards for Pods, as `ip filter FORWARD (policy drop)`.

    Every such chain has its say, whatever another accepts. One that lets an address of the Pods through counts as told
    about them. Empty also where nothing here can be asked.
    """
    try:
        listed = nft(host, "chains")
    except (Fault, ValueError):
        return _iptables_drops(host, pods)
    found = []
    for chain in forward_chains(listed):
        try:
            table = nft(host, "table", chain["family"], chain["table"])
        except (Fault, ValueError):
            continue
        why = drops(chain, table, pods)
        if why:
            found.append(f"{named(chain)} ({why})")
    return found


def services_of_others(host: Host) -> list[str]:
    """Return the iptables chains of another kube-proxy that still have rules, as `nat KUBE-SERVICES`.

    They see a packet for a Service before ours do. Each chain's text is one that iptables or nft understands.
    """
    return [f"{table} KUBE-SERVICES" for table in ("nat", "filter") if _has_rules(host, table, "KUBE-SERVICES")]


def chains(host: Host) -> list[str]:
    """Return every chain as `ip nat NAME`, by nft or iptables; where neither is there, nobody has made any."""
    try:
        listed = nft(host, "chains")
    except NoProgram:
        return _iptables_chains(host)
    return [named(entry["chain"]) for entry in listed if "chain" in entry]


def _iptables_chains(host: Host) -> list[str]:
    return [f"{TOOLS[tool]} {table} {line[1:].split()[0]}" for (tool, table), lines in saved(host).items()
            for line in lines if line.startswith(":")]


def saved(host: Host) -> dict[tuple[str, str], list[str]]:
    """Return the lines of iptables-save and of its twin for IPv6 by tool and table: `*TABLE`, `:CHAIN POLICY [0:0]`,
    rules; nothing of a tool that is not there."""
    found: dict[tuple[str, str], list[str]] = {}
    for tool in TOOLS:
        try:
            text = host.run([f"{tool}-save"])
        except NoProgram:
            continue
        table = ""
        for line in text.splitlines():
            table = line[1:] if line.startswith("*") else table
            found.setdefault((tool, table), []).append(line)
    return found


def _has_rules(host: Host, table: str, chain: str) -> bool:
    """Ask iptables where there is one (it knows which of its two ways is in use), else nft."""
    try:
        return "\n-A " in f"\n{host.run(['iptables', '-t', table, '-S', chain])}"
    except Fault:
        pass
    try:
        lines = host.run(["nft", "list", "chain", "ip", table, chain]).splitlines()
    except Fault:
        return False
    return any(line.startswith("\t\t") for line in lines)


def forward_chains(listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return others' base chains that see what is forwarded, of what `nft -j list chains` says."""
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    return [c for c in chains if c.get("hook") == "forward" and c.get("family") in ("ip", "inet")
            and c.get("table") not in OURS]


def drops(chain: Mapping[str, Any], table: Sequence[Mapping[str, Any]], pods: Sequence[str]) -> str:
    """Say why a forward chain drops what nobody lets through, or nothing: its policy, or a last rule without condition.

    `table` is what `nft -j list table` says of the chain's table: a rule there that accepts an address of `pods`, from
    whichever chain, is enough to be let through.
    """
    rules = [entry["rule"] for entry in table if "rule" in entry]
    if any(_accepts(rule["expr"], pods) for rule in rules):
        return ""
    if chain.get("policy") == "drop":
        return "policy drop"
    own = [rule["expr"] for rule in rules if rule["chain"] == chain["name"]]
    last = next((end for end in END if own and any(end in part for part in own[-1])), "")
    if last and all(part.keys() <= {"counter", "log", *END} for part in own[-1]):
        return f"{last}s at its end"
    return ""


def _accepts(expression: Sequence[Mapping[str, Any]], pods: Sequence[str]) -> bool:
    if not any("accept" in part for part in expression):
        return False
    ranges = [ipaddress.ip_network(text) for text in pods]
    return any(one.version == known.version and one.overlaps(known)
               for one in _networks(expression) for known in ranges)


def _networks(value: Any) -> Iterator[Any]:
    """Return every address or network that a JSON expression names."""
    if isinstance(value, Mapping) and "prefix" in value:
        yield from _networks(f"{value['prefix'].get('addr')}/{value['prefix'].get('len')}")
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _networks(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _networks(inner)
    elif isinstance(value, str) and (value[:1].isdigit() or ":" in value):
        try:
            yield ipaddress.ip_network(value, strict=False)
        except ValueError:
            return


def _iptables_drops(host: Host, pods: Sequence[str]) -> list[str]:
    """Ask iptables where there is no nft: a machine with Docker has the one without the other."""
    try:
        said = host.run(["iptables", "-S", "FORWARD"])
    except Fault:
        return []
    return ["iptables FORWARD (policy drop)"] if iptables_drops(said, pods) else []


def iptables_drops(said: str, pods: Sequence[str]) -> bool:
    """Say whether `iptables -S FORWARD` drops by policy, with no rule that accepts an address of the Pods."""
    lines = [line.split() for line in said.splitlines()]
    ranges = [ipaddress.ip_network(text) for text in pods]
    told = any("ACCEPT" in words and any(one.version == known.version and one.overlaps(known)
                                         for one in _networks(words) for known in ranges) for words in lines)
    return ["-P", "FORWARD", "DROP"] in lines and not told
