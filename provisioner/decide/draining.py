"""What a drain means for each Pod of a Node: who leaves, who stays, what comes of it, and which budget forbids it.

Pure: from what the API shows (`Placed`). What a budget allows is judged as the eviction API judges it
(k8s.io/kubernetes pkg/registry/core/pod/storage/eviction.go), which has the last word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from provisioner.decide import placing
from provisioner.model.draining import (
    ENDS,
    MOVES,
    OURS,
    STAYS,
    THEIRS,
    WAITS,
    Body,
    Drain,
    Hold,
    Placed,
    PodFate,
    controller_of,
    is_ready,
    stays_for,
)

_MEMORY = "Memory"
_EXPRESSED = {"Job": "starts another from the beginning", "StatefulSet": "makes it again under the same name"}


def judge(
    placed: Placed, host: str, force: Collection[str] = (), *, with_it: Collection[str] = (), ours: bool = False,
) -> Drain:
    """Return what becomes of the Pods of `host`, while the Nodes `with_it` take none either.

    `force` names the namespaces whose budgets are overridden, and `ours` says that the cordon it has is our own.
    """
    away = {host, *with_it}
    node = placed.node[host]
    pods = sorted(placed.on.get(host, ()), key=lambda pod: (pod["metadata"]["namespace"], pod["metadata"]["name"]))
    forbidding = {_full_name(pod): list(_forbidding(pod, placed)) for pod in pods if not stays_for(pod)}
    return Drain(
        host, tuple(_fate(pod, placed, away, [_full_name(b) for b, _ in forbidding.get(_full_name(pod), ())], force)
                    for pod in pods),
        tuple(_holds(pods, forbidding)),
        cordon=(OURS if ours else THEIRS) if node.get("spec", {}).get("unschedulable") else "",
        ready=is_ready(node))


def _fate(pod: Body, placed: Placed, away: Collection[str], held: Sequence[str], force: Collection[str]) -> PodFate:
    meta = pod["metadata"]
    stays = stays_for(pod)
    fate, why = (STAYS, stays) if stays else _what_comes(pod, placed, away)
    return PodFate(
        str(meta["namespace"]), str(meta["name"]), str(meta["uid"]), fate, why, owner=owner_of(pod),
        loses=() if stays else tuple(_local(pod, placed)), held=tuple(held),
        forced=not stays and meta["namespace"] in force)


def _what_comes(pod: Body, placed: Placed, away: Collection[str]) -> tuple[str, str]:
    owner = controller_of(pod)
    if owner is None:
        return ENDS, "nobody makes another: it has no controller"
    fit, why = placing.others_for(pod, away, placed)
    comes = f"{owner_of(pod)} {_EXPRESSED.get(str(owner['kind']), 'makes another')}"
    if not fit:
        return WAITS, f"{comes}, and no other node could run it" + (f" ({'; '.join(why)})" if why else "")
    alone = placed.siblings.get(str(owner["uid"]), 0) < 2 and owner["kind"] != "Job"
    return MOVES, comes + (": it is the only one, and away meanwhile" if alone else "")


def moves(pod: Body, placed: Placed, away: Collection[str]) -> bool:
    """Say whether a Pod that leaves is made anew on another Node."""
    return not stays_for(pod) and _what_comes(pod, placed, away)[0] == MOVES


def owner_of(pod: Body) -> str:
    """Return who makes a Pod, as a person knows it: the Deployment where it is a ReplicaSet's; "" for nobody."""
    owner = controller_of(pod)
    if owner is None:
        return ""
    made = (pod["metadata"].get("labels") or {}).get("pod-template-hash")
    if owner["kind"] == "ReplicaSet" and made and str(owner["name"]).endswith(f"-{made}"):
        return f"Deployment {str(owner['name']).removesuffix(f'-{made}')}"
    return f"{owner['kind']} {owner['name']}"


def _local(pod: Body, placed: Placed) -> Iterator[str]:
    """Yield what a Pod has on its Node alone: what is deleted with it, and what stays behind."""
    for volume in pod["spec"].get("volumes") or ():
        if "emptyDir" in volume and (volume["emptyDir"] or {}).get("medium") != _MEMORY:
            yield f"emptyDir {volume['name']} is deleted"
        elif "hostPath" in volume:
            yield f"hostPath {volume['hostPath']['path']} stays behind"
    for claim, bound in placing.volumes_of(pod, placed):
        if "local" in bound["spec"] or "hostPath" in bound["spec"]:
            yield f"the volume of claim {claim} stays behind"


def _forbidding(pod: Body, placed: Placed) -> Iterator[tuple[Body, str]]:
    """Yield the budgets that forbid a Pod's eviction now, each with why; those of a Pod that never began hold nothing.
    """
    if pod.get("status", {}).get("phase") == "Pending" or pod["metadata"].get("deletionTimestamp"):
        return
    labels = pod["metadata"].get("labels") or {}
    its = [b for b in placed.budgets if b["metadata"]["namespace"] == pod["metadata"]["namespace"]
           and placing.selects(b["spec"].get("selector"), labels)]
    for budget in its:
        if len(its) > 1:
            yield budget, f"{len(its)} budgets select the same Pod, which the API refuses to evict"
        elif not _may_go(pod, budget):
            yield budget, _sum(budget)


def _may_go(pod: Body, budget: Body) -> bool:
    status = budget.get("status", {})
    if status.get("disruptionsAllowed", 0) > 0:
        return True
    if is_ready(pod):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    return bool(status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0)


def _sum(budget: Body) -> str:
    """Say what a budget counts: `0 may go: 2 of 2 Pods are healthy, and 2 must be`."""
    status = budget.get("status", {})
    if "disruptionsAllowed" not in status:
        return "nothing has counted its Pods yet: is kube-controller-manager well?"
    return (f"0 may go: {status.get('currentHealthy', 0)} of {status.get('expectedPods', 0)} Pods are healthy, and "
            f"{status.get('desiredHealthy', 0)} must be")


def _holds(pods: Sequence[Body], forbidding: Mapping[str, Sequence[tuple[Body, str]]]) -> Iterator[Hold]:
    held: dict[str, list[str]] = {}
    of: dict[str, tuple[Body, str]] = {}
    for pod in pods:
        for budget, why in forbidding.get(_full_name(pod), ()):
            held.setdefault(_full_name(budget), []).append(_full_name(pod))
            of[_full_name(budget)] = budget, why
    for name, (budget, why) in of.items():
        yield Hold(name, tuple(held[name]), why, _since(budget), _never(budget))


def _never(budget: Body) -> bool:
    status = budget.get("status", {})
    return bool(status.get("desiredHealthy", 0) >= status.get("expectedPods", 0) > 0)


def _since(budget: Body) -> str:
    """Return since when a budget allows none, as its controller noted; "" where it did not."""
    return next((str(c.get("lastTransitionTime") or "") for c in budget.get("status", {}).get("conditions") or ()
                 if c["type"] == "DisruptionAllowed" and c["status"] == "False"), "")


def _full_name(body: Body) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"
