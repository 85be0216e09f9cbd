"""What of a cluster is unhealthy: judged from values that were seen, by the same rules for whoever asks.

`status`, `ready`, the last gate of `up` and its leave to begin ask the same questions, in
orchestrate/gates/health.py. What could not be seen is neither well nor ill: its findings are `unseen`, and a cluster
with one is not healthy.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from provisioner.compile.etcd import DATA_DIR, ETCDCTL
from provisioner.errors import KubewrightError, Unreachable
from provisioner.model.components import ELECTED
from provisioner.model.draining import is_ready
from provisioner.model.etcd import Alarm, EtcdStatus, quorum
from provisioner.model.finding import Finding
from provisioner.operate import kube

FULL = 0.80             # of etcd's quota: the rest lasts until somebody has looked
FRESH = 15.0            # seconds that a leader's lease lasts: an older one was not renewed in time
BEHIND = 5000           # entries: etcd's own maxGapBetweenApplyAndCommitIndex and SnapshotCatchUpEntries
LAG = "etcd-lag"
ROOM = "etcd-room"      # the finding's name: it is no reason to call a change failed that has been made
SPACE = "docs/how-to/make-room-in-etcd.md"


def is_unseen(fault: KubewrightError) -> bool:
    """Say whether a fault tells nothing of what was asked for, because the way there is closed to us."""
    return fault.exit_code == Unreachable.exit_code     # also where no host at all lets us in


def failed(check: str, host: str, fault: KubewrightError, doing: str = "") -> Finding:
    """Make a finding of a fault: nothing was seen where the way is closed, else what was asked is unhealthy."""
    saw = fault.message.removeprefix(f"{host}: ")
    if is_unseen(fault):
        return Finding("reach", host, "unseen", saw, fault.hint, expected="it answers", code=fault.code)
    return Finding(check, host, "error", f"{doing}{saw}", "", code=fault.code)


def of_members(
    names: Sequence[str], members: Mapping[str, EtcdStatus | KubewrightError], disagreements: Sequence[str],
) -> Iterator[Finding]:
    """Judge etcd's members: each that was asked answers, and all are one cluster as far as they were seen."""
    for host, answer in members.items():
        if isinstance(answer, KubewrightError):
            yield failed("etcd", host, answer)
    if len(unseen_members(names, members)) == len(names):
        return
    for words in disagreements:
        yield Finding("etcd", "", "error", f"etcd: {words}", "")


def of_alarms(alarms: Sequence[Alarm], names: Mapping[int, str]) -> Iterator[Finding]:
    """Judge etcd's alarms: with any of them the members refuse writes, though each says that it is ready."""
    for alarm in alarms:
        host = names.get(alarm.member_id, "")
        said = {"NOSPACE": "etcd is out of space (alarm NOSPACE), every write is refused",
                "CORRUPT": "etcd's data is damaged (alarm CORRUPT), every write is refused"}
        yield Finding("etcd-alarms", host, "error", said.get(alarm.kind, f"etcd has the alarm {alarm.kind}"),
                      _cure(alarm.kind, host))


def _cure(kind: str, host: str) -> str:
    """Return what to type against an alarm; a member's damaged data is kept aside, and it joins anew without."""
    if kind == "NOSPACE":
        return f"kubewright etcd defrag; where that is not enough: {SPACE}"
    if kind == "CORRUPT" and host:
        return (f"on {host}, as root: systemctl stop etcd && mv --backup=numbered -T {DATA_DIR}/member "
                f"{DATA_DIR}/member.lost; on another member's: {' '.join(ETCDCTL)} alarm disarm; then kubewright node "
                f"replace {host}")
    return ""


def of_room(members: Mapping[str, EtcdStatus | KubewrightError], quotas: Mapping[str, int]) -> Iterator[Finding]:
    """Judge members whose data is near the quota beyond which etcd refuses writes; a quota of 0 is none."""
    for host, seen in members.items():
        quota = quotas.get(host, 0)
        if isinstance(seen, EtcdStatus) and quota > 0 and seen.db_size >= FULL * quota:
            yield Finding(ROOM, host, "error",
                          f"etcd uses {seen.db_size / 1e6:.1f} MB of the {quota / 1e6:.1f} MB that it may "
                          f"({100 * seen.db_size // quota} %); beyond that it refuses writes",
                          f"kubewright etcd defrag; where that is not enough: {SPACE}")


def lags(members: Mapping[str, EtcdStatus | KubewrightError]) -> dict[str, int]:
    """Return by how many entries each voter has worked off less than any of them has in its log.

    They are asked one after the other, so each seems behind by what was written between; one that joins gets all data.
    """
    seen = {host: m for host, m in members.items() if isinstance(m, EtcdStatus) and m.applied and not m.learner}
    newest = max((m.raft_index for m in seen.values()), default=0)
    return {host: newest - m.applied for host, m in seen.items()}


def of_lag(lags: Mapping[str, int]) -> Iterator[Finding]:
    """Judge how far members are behind: beyond BEHIND entries etcd refuses requests to them, or sends all data anew."""
    for host, lag in lags.items():
        if lag >= BEHIND:
            yield Finding(LAG, host, "error", f"its etcd member is {lag} entries behind the others: it has no part in "
                          "the majority until it has them", f"kubewright logs {host} etcd",
                          expected="every member keeps up with the leader")


def quorum_words(names: Sequence[str], members: Mapping[str, EtcdStatus | KubewrightError]) -> str:
    """Say in a few words how many members answer, and how many more may be lost; not seen is not lost.

    A learner answers and does not count: it has no vote.
    """
    good = [n for n in names if isinstance(seen := members.get(n), EtcdStatus) and not seen.learner]
    silent = unseen_members(names, members)
    if names and len(silent) == len(names):
        return "not seen"
    text = f"{len(good)} of {len(names)}, can lose {max(0, len(good) - quorum(len(names)))}"
    return text + (f"; not seen: {', '.join(silent)}" if silent else "")


def unseen_members(names: Sequence[str], members: Mapping[str, EtcdStatus | KubewrightError]) -> list[str]:
    """Return the members that nothing is known of: not asked, or the way to them is closed."""
    answers = {name: members.get(name) for name in names}
    return [n for n, said in answers.items() if said is None or (isinstance(said, KubewrightError) and is_unseen(said))]


def of_vip(vip: str, holders: Sequence[str], balancers: Sequence[str], unseen: Collection[str]) -> Iterator[Finding]:
    """Judge who holds the VIP; `balancers` in the order of their priority, the one that goes first first.

    Of two holders the lower in priority does not hear the other: it would give the VIP up at the first word.
    """
    order = [h for h in balancers if h in holders]
    strange = [h for h in holders if h not in balancers]
    if len(holders) > 1 or strange:
        said = f"VIP {vip} is on {', '.join([*order, *strange])}; it belongs on exactly one"
        if strange:
            yield Finding("vip", "", "error", f"{said}: {', '.join(strange)} is no load balancer and has it too",
                          f"on {', '.join(strange)}: ip address show")
            return
        deaf = [f"keepalived of {h} does not hear {', '.join(order[:n])}" for n, h in enumerate(order) if n]
        yield Finding("vip", "", "error", f"{said}: {'; '.join(deaf)}",
                      "let VRRP (IP protocol 112) through between the load balancers: "
                      f"on {', '.join(order)}: nft list ruleset")
    elif not holders:
        silent = [h for h in balancers if h in unseen]
        if silent:
            yield Finding("vip", "", "unseen",
                          f"VIP {vip} is on no host that answers; not seen: {', '.join(silent)}", "")
        else:
            yield Finding("vip", "", "error", f"VIP {vip} is on no host; it belongs on exactly one", "")


CNI = "cni"         # findings that only say: the Pod network, which the inventory leaves to others, is missing


def of_nodes(wanted: Sequence[str], nodes: Mapping[str, Mapping[str, Any]], *, own: bool = False) -> Iterator[Finding]:
    """Judge the Nodes: each of the inventory is registered and Ready. `own`: the Pod network is left to others."""
    for host in wanted:
        node = nodes.get(host)
        if own and node is not None and kube.waits_for_cni(node):
            yield Finding(CNI, host, "error", "waits for a CNI", "kubectl apply -f YOUR-NETWORK.yaml")
        elif node is None or not is_ready(node):
            why = kube.why_not_ready(node) if node is not None else "not registered"
            yield Finding("nodes", host, "error", f"kubelet: {why}", "")


class Renewal(NamedTuple):
    """When a lease was renewed, as its holder wrote it, and how many seconds it lasts."""

    at: str
    lasts: float = FRESH


Renewals = Mapping[str, Renewal]
"""By the name of the lease."""


def renewals(leases: Iterable[Mapping[str, Any]]) -> dict[str, Renewal]:
    """Return when each lease that somebody holds was renewed; how long a leader's lasts is the inventory's to set.

    An API server's own lasts an hour and is renewed as the leaders' are by default.
    """
    return {str(one["metadata"]["name"]): Renewal(
        str(one["spec"].get("renewTime") or ""),
        float(one["spec"].get("leaseDurationSeconds") or FRESH) if one["metadata"]["name"] in ELECTED else FRESH)
        for one in leases if one.get("spec", {}).get("holderIdentity")}


def alive(before: Renewals, after: Renewals, now: float) -> frozenset[str]:
    """Return the leases that are renewed: within the last seconds by our clock, or between the two looks.

    The second holds whatever the clocks say: it is what tells where they differ.
    """
    return frozenset(name for name, (at, lasts) in after.items() if at and (
        (name in before and before[name].at != at) or abs(now - _seconds(at)) < lasts))


def _seconds(moment: str) -> float:
    try:
        return dt.datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0


def of_leases(renewed: Collection[str]) -> Iterator[Finding]:
    """Judge by the leases in kube-system whether writes go through, and whether the controllers have a leader.

    The API servers renew a lease each, so that nobody leads does not hide whether writes are accepted.
    """
    if not renewed:
        yield Finding("writes", "", "error", "no write is seen to go through: no lease in kube-system is renewed", "")
    for name in ELECTED:
        if name not in renewed:
            yield Finding("leaders", "", "error", f"{name}: nobody leads: its lease is not renewed", "")


def of_deployment(body: Mapping[str, Any], *, missing: bool) -> str:
    """Say why not all replicas of a Deployment's present generation are available, "" where they are.

    While a node is `missing` one replica is enough: the others may have been there.
    """
    name, status, wanted = body["metadata"]["name"], body.get("status", {}), body["spec"]["replicas"]
    if status.get("observedGeneration", 0) < body["metadata"]["generation"]:
        return f"{name}: not seen by the controller-manager yet"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated != wanted or available < (min(1, wanted) if missing else wanted):
        return f"{name}: {available} of {wanted} replicas available"
    return ""


def of_apiservice(body: Mapping[str, Any]) -> str:
    """Say why the API servers do not reach an API that they hand on, "" where they do."""
    conditions = body.get("status", {}).get("conditions", ())
    seen = next((c for c in conditions if c["type"] == "Available"), {"message": "not asked yet", "status": ""})
    said = seen.get("message") or seen.get("reason")
    return "" if seen["status"] == "True" else f"{body['metadata']['name']}: {said}"


def waiting_pods(pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the uid of every Pod that waits for its sandbox on a host -> that host.

    One that asks for a runtime of its own says nothing of the host: we install none.
    """
    found = {}
    for pod in pods:
        spec, conditions = pod.get("spec", {}), pod.get("status", {}).get("conditions", ())
        host = "" if spec.get("runtimeClassName") else str(spec.get("nodeName") or "")
        if host and any(c["type"] == "PodReadyToStartContainers" and c["status"] == "False" for c in conditions):
            found[str(pod["metadata"]["uid"])] = host
    return found


def of_pods(waiting: Mapping[str, str], events: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Judge whether Pods can start: no sandbox that is waited for was refused; one finding a host.

    Only what the host itself refuses: that a volume or a ConfigMap is missing is the Pod's own affair.
    """
    said: dict[str, list[str]] = {}
    for event in events:
        host = waiting.get(str(event.get("involvedObject", {}).get("uid", "")))
        if host is not None:
            said.setdefault(host, []).append(" ".join(str(event.get("message", "")).split()))
    for host, messages in sorted(said.items()):
        yield Finding("pods", host, "error", f"Pods cannot start: {messages[-1][-300:]}", "")
