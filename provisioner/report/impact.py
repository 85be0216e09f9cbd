"""The stages of a plan and what they mean for whoever uses the cluster, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from provisioner.model.artifact import Stored
from provisioner.model.cluster import Cluster
from provisioner.model.draining import ENDS
from provisioner.model.etcd import quorum
from provisioner.model.guards import DRAINED, WORDS
from provisioner.model.os_state import OF_OS, REBOOT
from provisioner.model.plan import Plan, Stage

_NAMED = 5      # hosts named before the rest is counted
_RUNS_ON = ("containerd.service", "kubelet.service")


def impact_lines(plan: Plan, cluster: Cluster) -> Iterator[str]:
    """Yield the stages in their order, then the impact: what restarts, whether Pods move, whether the API has a gap."""
    if plan.bootstrap:
        yield "Impact   a new cluster: nothing runs yet that could be interrupted"
        return
    for number, line in enumerate(line for stage in plan.stages for line in _stage_lines(stage)):
        yield f"{'' if number else 'Stages':<9}{line}"
    for number, sentence in enumerate(impact(plan, cluster)):
        yield f"{'' if number else 'Impact':<9}{sentence}"


def version_lines(plan: Plan) -> Iterator[str]:
    """Yield which programs get another version, those of one component and one step together."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for change in plan.changes:
        was, will = Stored.of_link(change.expect), Stored.of_link(change.want)
        if was and will and was.version != will.version:
            hosts = found.setdefault((will.component, was.version, will.version), [])
            hosts += [] if change.host in hosts else [change.host]
    for number, ((component, was_, will_), hosts) in enumerate(found.items()):
        yield f"{'' if number else 'Versions':<9}{component} {was_} → {will_} on {names(hosts)}"


def _stage_lines(stage: Stage) -> Iterator[str]:
    yield f"{stage.phase:<14} {_amount(stage)}"
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for act in stage.acts:
        alike.setdefault((act.action, act.hosts), []).append(act.unit)
    for (action, hosts), units in alike.items():
        yield f"{'':<14} {action} {', '.join(units)} on {names(hosts)}{_pace(stage, action, hosts)}"
    if stage.guards:
        yield f"{'':<14} {', '.join(WORDS[guard] for guard in stage.guards)}"


def _amount(stage: Stage) -> str:
    parts = []
    if stage.changes:
        parts.append(f"{count(stage.changes, 'change')} on {names(stage.hosts)}")
    if stage.objects:
        parts.append(count(stage.objects, "Kubernetes object"))
    return ", ".join(parts)


def _pace(stage: Stage, action: str, hosts: Collection[str]) -> str:
    if len(hosts) < 2 or action == "start":
        return ""
    at_once = stage.at_once(hosts)
    return ", one host at a time" if at_once == 1 else f", {at_once} hosts at a time"


def impact(plan: Plan, cluster: Cluster) -> Iterator[str]:
    """Yield what the plan means for whoever uses the cluster, a sentence each."""
    yield from _members(plan)
    yield from _drains(plan)
    if any(change.kind in OF_OS for change in plan.changes):
        yield from _of_roll(plan, cluster)
        return
    yield from _units(plan, cluster)
    yield from dict.fromkeys(change.impact for change in plan.objects if change.impact)


def _of_roll(plan: Plan, cluster: Cluster) -> Iterator[str]:
    """Yield what a roll of operating systems means: who goes down when, and what stays."""
    rebooted = list(dict.fromkeys(c.host for c in plan.changes if c.kind == REBOOT))
    hosts = list(plan.by_host)
    if rebooted:
        yield f"{count(len(rebooted), 'host')} rebooted, each drained and out of every HAProxy before, and proved after"
    if len(hosts) > len(rebooted):
        yield "the others are rebooted in their turn only where their new packages ask for it"
    yield from _nodes(plan, ())
    if {h.name for h in cluster.etcd_hosts} & set(hosts):
        yield _etcd(len(cluster.etcd_hosts))
    if {h.name for h in cluster.control_planes} & set(hosts):
        yield _api({"kube-apiserver.service"}, len(cluster.control_planes))
    if {h.name for h in cluster.vip_holders} & set(hosts):
        yield "the VIP moves once, in its host's turn, the last of its kind: connections through it begin anew then"


def _members(plan: Plan) -> Iterator[str]:
    """Yield who joins and who leaves etcd, and what that makes of its quorum."""
    voters = plan.voters
    going = [m for m in plan.members if m.action == "remove"]
    for change in going:
        yield f"the etcd member of {change.host} is taken out" if not change.host.startswith("https://") else (
            f"the learner {change.host}, which a killed run added, is taken out: it never had a vote")
        voters -= not change.host.startswith("https://")
    for host in plan.joining:
        yield (f"{host} joins etcd as a learner, without a vote; it gets one when it has all data, and only then its "
               "API server starts" if host in plan.desired.hosts and plan.desired.hosts[host].find(
                   "unit", "kube-apiserver.service") else
               f"{host} joins etcd as a learner, without a vote; it gets one when it has all data")
        voters += 1
    if voters != plan.voters:
        yield (f"etcd: {_votes(plan.voters)} become {_votes(voters)}")


def _drains(plan: Plan) -> Iterator[str]:
    """Yield how many Pods leave each Node that is drained, and what must happen before they can."""
    for drain in plan.drains:
        lost = sum(pod.fate == ENDS for pod in drain.leaving)
        held = sorted({name for pod in drain.leaving if not pod.forced for name in pod.held})
        yield (f"{drain.host} is drained: {count(len(drain.leaving), 'Pod')} to leave"
               + (f", {lost} for good" if lost else "")
               + (f"; {', '.join(held)} {'lets' if len(held) == 1 else 'let'} none go now" if held else ""))


def _votes(voters: int) -> str:
    return f"{count(voters, 'voter')} (quorum {quorum(voters)}, can lose {voters - quorum(voters)})"


def _units(plan: Plan, cluster: Cluster) -> Iterator[str]:
    acts = [act for stage in plan.stages for act in stage.acts if act.action in ("restart", "reload")]
    if not acts:
        yield "nothing that runs is restarted"
        return
    restarts, reloads = (sum(len(a.hosts) for a in acts if a.action == action) for action in ("restart", "reload"))
    parts = [count(n, noun) for n, noun in ((restarts, "restart"), (reloads, "reload")) if n]
    yield f"{' and '.join(parts)}, each turn proved before the next"
    restarted = {a.unit for a in acts if a.action == "restart"}
    yield from _nodes(plan, restarted)
    if "etcd.service" in restarted:
        yield _etcd(len(cluster.etcd_hosts))
    yield _api(restarted, len(cluster.control_planes))


def _nodes(plan: Plan, restarted: Collection[str]) -> Iterator[str]:
    """Yield what becomes of Pods: those of Nodes that are drained move, those of others run on."""
    turns = [turn for stage in plan.stages for turn in stage.turns if DRAINED in turn.guards]
    hosts = [host for turn in turns for host in turn.hosts]
    at_once = max((len(turn.hosts) for turn in turns), default=0)
    if hosts:
        pace = "one after the other" if at_once == 1 else f"the first alone, then up to {at_once} together"
        yield (f"{names(hosts)} {'is' if len(hosts) == 1 else 'are'} drained, {pace}: Pods move to other nodes as "
               "their budgets allow")
    elif set(restarted) & set(_RUNS_ON):
        yield "no host is drained: Pods run on while containerd and the kubelet restart"


def _etcd(members: int) -> str:
    if members > 2:
        return f"etcd keeps its quorum: {members - 1} of {members} members serve while one restarts, the leader last"
    return "etcd stands still while its member restarts: there are too few for a quorum without it"


def _api(restarted: Collection[str], control_planes: int) -> str:
    if not {"kube-apiserver.service", "etcd.service"} & set(restarted):
        return "API gap expected: none; no API server restarts"
    if control_planes > 1:
        others = "the other API server serves" if control_planes == 2 else f"{control_planes - 1} API servers serve"
        return f"API gap expected: none; an API server that restarts is out of every HAProxy, and {others}"
    return "API gap expected: while kube-apiserver restarts, for there is no second control plane"


def names(hosts: Sequence[str]) -> str:
    """Return the hosts' names, of many only the first and how many more."""
    hidden = len(hosts) - _NAMED
    return ", ".join(hosts[:_NAMED]) + (f" and {hidden} more" if hidden > 0 else "")


def count(number: int, noun: str) -> str:
    """Return `1 host`, `2 hosts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
