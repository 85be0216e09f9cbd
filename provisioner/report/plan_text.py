"""A plan as people read it: changed hosts only, identical hosts folded, each restart with its cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from provisioner.model.cluster import Cluster
from provisioner.model.desired import Artifact
from provisioner.model.plan import NEEDS_FLAG, REMOVED_APIS, Change, ObjectChange, Plan
from provisioner.report.drain_text import drain_lines
from provisioner.report.impact import count, impact, impact_lines, names, version_lines
from provisioner.report.legs import leg_lines

SYMBOLS = {"add": "+", "change": "~", "remove": "-", "start": "+", "restart": "!", "reload": "!", "enable": "~",
           "restore": "~"}
_FOLD = 12   # lines of one kind shown without --diff before the rest is counted
_COUNT = 40  # changes of one host shown without --diff before they are counted by phase
_CAUSES = 4  # causes of a restart shown beside such counts
_PATHS = ("file", "directory", "symlink", "artifact", "certificate")
_MANY = {"directory": "directories", "sysctl": "kernel settings", "module": "kernel modules", "swap": "swap devices",
         "data": "places of data", "processes": "groups of processes", "netdev": "network devices",
         "nft": "tables of nftables", "chains": "groups of iptables chains", "os-package": "OS packages",
         "netns": "groups of network namespaces", "selinux-module": "SELinux modules"}
_ONE = {"sysctl": "kernel setting", "module": "kernel module", "swap": "swap device",
        "data": "place of data", "processes": "group of processes", "netdev": "network device",
        "nft": "table of nftables", "chains": "group of iptables chains", "os-package": "OS package",
        "netns": "group of network namespaces", "selinux-module": "SELinux module"}


def plan_text(plan: Plan, cluster: Cluster, *, seconds: float, diff: bool = False) -> str:
    """Return the plan as text; `diff` adds the unified diffs and shows every line."""
    if plan.is_empty:
        hosts = len(plan.desired.hosts)
        return "\n".join([f"No changes. {count(hosts, 'host')} {'match' if hosts > 1 else 'matches'} the inventory "
                          f"(checked {plan.checked} items in {seconds:.1f}s).", *note_lines(plan)])
    head = f"Cluster  {cluster.cluster}    {count(len(cluster.control_planes), 'control plane')}, " \
        f"{count(len(cluster.workers), 'worker')}, API {cluster.api_endpoint}    Kubernetes {cluster.kubernetes}"
    return "\n".join([head, "", *_table(plan, cluster, diff=diff), "", *leg_lines(plan.legs), *version_lines(plan),
                      *impact_lines(plan, cluster), *note_lines(plan), _totals(plan)])


def back_text(plan: Plan, cluster: Cluster, host: str) -> str:
    """Return what going back does to one host, every line and diff, and what that means for those who are served."""
    head = f"{host}  {cluster.machine(host).address}  goes back:"
    out = [f"{server} is left out of service in the HAProxy of {', '.join(hosts)}: put back as well"
           for server, hosts in plan.drained_servers.items()]
    return "\n".join([head, *_host_lines(plan.changes, diff=True), *impact_lines(plan, cluster), *out])


def reset_text(plan: Plan, cluster: Cluster, whole: bool, silent: Sequence[str]) -> str:
    """Return what a reset takes off hosts, what it leaves there and what that means; `silent` are those without answer.
    """
    if not plan.has_work:
        lines = [f"Nothing of ours is on {names(list(plan.desired.hosts))}."]
    else:
        made = len(plan.changes) + len(plan.objects)
        amount = f"{count(made, 'removal')} on {count(len(plan.desired.hosts), 'host')}"
        head = f"Cluster  {cluster.cluster}    {'ends' if whole else 'goes on without these hosts'}: {amount}"
        impact = [f"{'' if n else 'Impact':<9}{line}" for n, line in enumerate(_of_reset(plan, cluster, whole))]
        lines = [head, "", *_table(plan, cluster, diff=False), "", *impact]
    left = [f"Note     {host} does not answer: left as it is" for host in silent]
    return "\n".join([*lines, *note_lines(plan), *left])


def leaving_text(plan: Plan, cluster: Cluster, hosts: Sequence[str], *, lost: bool) -> str:
    """Return what it takes that hosts leave: what goes there, and what changes on those that stay."""
    gone = [c for c in plan.changes if c.host in hosts]
    stay = replace(plan.desired, hosts={h: d for h, d in plan.desired.hosts.items() if h not in hosts})
    rest = replace(plan, desired=stay, changes=tuple(c for c in plan.changes if c.host not in hosts))
    there = "nothing is done there" if lost else f"{count(len(gone), 'removal')} there"
    head = f"Cluster  {cluster.cluster}    {', '.join(hosts)} {'leaves' if len(hosts) == 1 else 'leave'}: {there}"
    leaves = [line for drain in plan.drains for line in drain_lines(drain)]
    return "\n".join([head, *leaves, "", *_table(rest, cluster, diff=False), "", *impact_lines(plan, cluster),
                      *note_lines(plan), _totals(plan)])


def _of_reset(plan: Plan, cluster: Cluster, whole: bool) -> list[str]:
    members = [h.name for h in cluster.etcd_hosts if h.name in plan.desired.hosts]
    if whole:
        return ["the cluster's data is deleted for good: every Kubernetes object and Secret in etcd, volumes of Pods "
                "on these hosts, the audit logs",
                "packages that others need, files that others changed, SSH and the host's own firewall stay"]
    lines = [o.impact for o in plan.objects if o.impact]
    if members:
        lines.append(f"etcd keeps its quorum without {names(members)}; it counts as a member that is down until "
                     "another takes its place (kubewright node replace)")
    return lines or ["nothing that the other hosts need goes"]


def drift_text(plan: Plan, cluster: Cluster, *, seconds: float, diff: bool = False) -> str:
    """Return what differs from what was last applied; the same table, without what a run would do about it."""
    hosts = len(plan.desired.hosts)
    if plan.is_empty:
        return "\n".join([f"No drift. {count(hosts, 'host')} {'are' if hosts > 1 else 'is'} what the last `up` made "
                          f"{'them' if hosts > 1 else 'it'} "
                          f"(checked {plan.checked} items in {seconds:.1f}s).", *note_lines(plan)])
    changed = len({c.host for c in plan.changes})
    return "\n".join([f"Cluster  {cluster.cluster}    Kubernetes {cluster.kubernetes}, as last applied", "",
                      *_table(plan, cluster, diff=diff), "", *note_lines(plan),
                      f"Drift: {count(len(plan.changes) + len(plan.objects), 'difference')} on {changed} of {hosts} "
                      "hosts."])


def _table(plan: Plan, cluster: Cluster, *, diff: bool) -> list[str]:
    lines: list[str] = []
    for hosts, host_lines in _folded(plan, diff=diff):
        lines.append("  " + ", ".join(f"{h}  {cluster.machine(h).address}" if len(hosts) == 1 else h for h in hosts))
        lines += host_lines or ["    up to date"]
    if plan.objects:
        lines += ["  objects", *(line for o in _folded_objects(plan) for line in _object_lines(o, diff=diff))]
    return lines


def _folded_objects(plan: Plan) -> list[ObjectChange]:
    """Return the objects, Nodes that change in the same way as one."""
    folded: dict[tuple[str, ...], list[ObjectChange]] = {}
    for change in plan.objects:
        kind, _, name = change.identity.partition(" ")
        folded.setdefault((kind, change.action, change.reason, "" if kind == "Node" else name), []).append(change)
    return [replace(alike[0], identity=f"{key[0]} {names([c.identity.partition(' ')[2] for c in alike])}")
            for key, alike in folded.items()]


def _folded(plan: Plan, *, diff: bool) -> list[tuple[list[str], list[str]]]:
    """Group hosts whose changes read the same, whatever of them is shown."""
    by_host: dict[str, list[Change]] = {name: [] for name in plan.desired.hosts}
    for change in plan.changes:
        by_host[change.host].append(change)
    groups: dict[tuple[object, ...], tuple[list[str], list[str]]] = {}
    for host, changes in by_host.items():
        counted = not diff and len(changes) > _COUNT
        lines = _phase_lines(changes) if counted else _host_lines(changes, diff=diff)
        said = () if counted else tuple((c.kind, c.path, c.action, c.reason) for c in changes)
        groups.setdefault((*lines, said), ([], lines))[0].append(host)
    return list(groups.values())


def _phase_lines(changes: Sequence[Change]) -> list[str]:
    """Count a host's changes by phase; what is restarted still has its line, with the cause."""
    lines: list[str] = []
    for phase in dict.fromkeys(c.phase for c in changes):
        of_phase = [c for c in changes if c.phase == phase]
        for symbol in dict.fromkeys(SYMBOLS[c.action] for c in of_phase):
            alike = [c for c in of_phase if SYMBOLS[c.action] == symbol]
            if symbol == "!":
                for change in alike:
                    lines += _change_lines(replace(change, reason=_brief(change)), diff=False)
            else:
                lines.append(f"    {symbol} {phase:<14} {_counted(alike)}")
    return lines


def _brief(change: Change) -> str:
    hidden = len(change.causes) - (_CAUSES - 1)
    if len(change.causes) <= _CAUSES:
        return change.reason
    return f"{', '.join(change.causes[:_CAUSES - 1])} and {hidden} more"


def _counted(changes: Sequence[Change]) -> str:
    """Say how many of each kind, most first: `24 files, 15 certificates`."""
    parts = []
    for kind, number in Counter(c.kind for c in changes).most_common():
        parts.append(f"{number} {_ONE.get(kind, kind) if number == 1 else _MANY.get(kind, f'{kind}s')}")
    size = sum(c.item.size for c in changes if isinstance(c.item, Artifact) and c.action != "remove")
    return ", ".join(parts) + (f", {size / 1e6:.0f} MB" if size else "")


def _host_lines(changes: Sequence[Change], *, diff: bool) -> list[str]:
    lines: list[str] = []
    for kind in dict.fromkeys(c.kind for c in changes):
        of_kind = [c for c in changes if c.kind == kind]
        for change in of_kind if diff or len(of_kind) <= _FOLD else of_kind[:_FOLD - 1]:
            lines += _change_lines(change, diff=diff)
        hidden = len(of_kind) - (_FOLD - 1)
        if not diff and len(of_kind) > _FOLD:
            lines.append(f"    {SYMBOLS[of_kind[-1].action]} and {hidden} more of kind {kind} (--diff shows all)")
    return lines


def _change_lines(change: Change, *, diff: bool) -> list[str]:
    name = change.path if change.kind in _PATHS else f"{change.kind} {change.path}"
    verb = f"{change.action}s: " if change.kind == "unit" else ""
    reason = ": ".join(part for part in (change.reason, change.about) if part)
    return [f"    {SYMBOLS[change.action]} {name:<58}  {verb}{reason}", *_diff_lines(change, diff)]


def _object_lines(change: ObjectChange, *, diff: bool) -> list[str]:
    return [f"    {SYMBOLS[change.action]} {change.identity:<58}  {change.reason}", *_diff_lines(change, diff)]


def _diff_lines(change: Change | ObjectChange, shown: bool) -> list[str]:
    return [f"        {line}" for line in change.diff.splitlines()] if shown else []


def note_lines(plan: Plan) -> list[str]:
    """Return what is said beside the changes, a line each."""
    notes = [f"not in the inventory and left alone: {', '.join(plan.strangers)}"] if plan.strangers else []
    notes += [f"{v}" + (f": `{'upgrade' if v.code == REMOVED_APIS else 'up'}` wants --allow {v.code}"
                        if v.outcome == NEEDS_FLAG else "") for v in plan.verdicts]
    notes += [f"{server} is left out of service in the HAProxy of {', '.join(hosts)}: up puts it back"
              for server, hosts in plan.drained_servers.items()]
    notes += [f"{names(plan.cordoned)}: drained by a run that ended before, takes no Pods: that is undone"
              ] if plan.cordoned else []
    for member in plan.lost:
        notes.append(f"{member.host}: {member.saw}: `up` changes nothing until that is mended"
                     + (f": {member.typed}" if member.cure else ""))
    return [f"Note     {note}" for note in notes]


def _totals(plan: Plan) -> str:
    every: Sequence[Change | ObjectChange] = (*plan.changes, *plan.objects)
    added = sum(c.action in ("add", "start") for c in every)
    removed = sum(c.action == "remove" for c in every)
    hosts = len({c.host for c in plan.changes})
    return (f"Plan: {added} to add, {len(every) - added - removed} to change, {removed} to remove "
            f"on {hosts} of {len(plan.desired.hosts)} hosts.")


def plan_json(plan: Plan, cluster: Cluster, allowed: Collection[str] = ()) -> Mapping[str, Any]:
    """Return the plan as plain values, as provisioner/model/plan_document.py describes them."""
    return {
        "cluster": plan.cluster, "inventory_digest": plan.inventory_digest, "lock_digest": plan.lock_digest,
        "bootstrap": plan.bootstrap, "checked": plan.checked,
        "hosts": list(plan.desired.hosts), "changes": [c.to_json() for c in plan.changes],
        "objects": [o.to_json() for o in plan.objects], "unlisted": list(plan.strangers),
        "left_out": {server: list(hosts) for server, hosts in plan.drained_servers.items()},
        "cordoned": list(plan.cordoned), "lost": [member.to_json() for member in plan.lost],
        "drains": [d.to_json() for d in plan.drains],
        "members": [m.to_json() for m in plan.members], "voters": plan.voters,
        "stages": [s.to_json() for s in plan.stages], "impact": [] if plan.bootstrap else list(impact(plan, cluster)),
        "verdicts": [v.to_json() for v in plan.verdicts], "allowed": sorted(allowed),
        "legs": [leg.to_json() for leg in plan.legs],
    }
