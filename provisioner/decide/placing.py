"""Which Node could run a Pod, as the scheduler would see it, and why another could not. From API objects alone.

Not looked at: how Pods are to be spread, whom they must run beside, ports of the host. The first is mostly a wish.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from provisioner.model.draining import Body, Placed, controller_of, has_ended, is_ready

_BARS = ("NoSchedule", "NoExecute")     # effects of taints that keep a Pod away; PreferNoSchedule does not
HOSTNAME = "kubernetes.io/hostname"
_CORDONED = "node.kubernetes.io/unschedulable"      # the taint that a cordon brings


def why_not(pod: Body, node: Body, placed: Placed) -> str:
    """Return what keeps a Pod from a Node, "" where nothing does; room is asked elsewhere (decide/room.py)."""
    return next((why for ask in _QUESTIONS if (why := ask(pod, node, placed))), "")


def taking_pods(placed: Placed, hosts: Collection[str]) -> Placed:
    """Return the same with these Nodes uncordoned."""
    def opened(node: Body) -> Body:
        spec = {k: v for k, v in node.get("spec", {}).items() if k != "unschedulable"}
        taints = [t for t in spec.get("taints") or () if t["key"] != _CORDONED]
        return {**node, "spec": {**spec, "taints": taints}} if node["metadata"]["name"] in hosts else node

    return replace(placed, nodes=[opened(node) for node in placed.nodes], known={})


def others_for(pod: Body, without: Collection[str], placed: Placed) -> tuple[list[str], list[str]]:
    """Return the Nodes but `without` that could run a Pod, and why each of the rest could not, equal reasons once."""
    why = {name: reason for name, reason in _reasons(pod, placed).items() if name not in without}
    return [name for name, reason in why.items() if not reason], list(dict.fromkeys(filter(None, why.values())))


def _reasons(pod: Body, placed: Placed) -> Mapping[str, str]:
    """Return why not for every Node. The Pods of a ReplicaSet are alike, so that one is asked for all of them."""
    owner = controller_of(pod)
    if owner and owner["kind"] == "ReplicaSet" and not _affinity(pod, "podAntiAffinity"):
        if owner["uid"] not in placed.known:
            placed.known[owner["uid"]] = _asked(pod, placed)
        return placed.known[owner["uid"]]
    return _asked(pod, placed)


def _asked(pod: Body, placed: Placed) -> Mapping[str, str]:
    return {name: why_not(pod, node, placed) for name, node in placed.node.items()}


def _takes_pods(pod: Body, node: Body, placed: Placed) -> str:
    if node.get("spec", {}).get("unschedulable"):
        return "cordoned"
    return "" if is_ready(node) else "not Ready"


def _selected(pod: Body, node: Body, placed: Placed) -> str:
    have = _labels(node)
    wanted: Mapping[str, str] = pod["spec"].get("nodeSelector") or {}
    lacking = [f"{key}={value}" for key, value in wanted.items() if have.get(key) != value]
    return f"nodeSelector {', '.join(lacking)}" if lacking else ""


def _has_affinity(pod: Body, node: Body, placed: Placed) -> str:
    required = _affinity(pod, "nodeAffinity")
    terms = required.get("nodeSelectorTerms", ()) if isinstance(required, Mapping) else ()
    return "" if not required or _any_term(terms, node) else f"node affinity {_said(terms)}"


def _is_tolerated(pod: Body, node: Body, placed: Placed) -> str:
    bars = [t for t in node.get("spec", {}).get("taints") or () if t.get("effect") in _BARS]
    tolerations = pod["spec"].get("tolerations") or ()
    return next((f"taint {t['key']}:{t['effect']}" for t in bars if not any(_tolerates(o, t) for o in tolerations)), "")


def _reaches_volumes(pod: Body, node: Body, placed: Placed) -> str:
    for claim, volume in volumes_of(pod, placed):
        required = (volume.get("spec", {}).get("nodeAffinity") or {}).get("required")
        if required and not _any_term(required.get("nodeSelectorTerms", ()), node):
            return f"the volume of claim {claim} is elsewhere"
    return ""


def _is_apart(pod: Body, node: Body, placed: Placed) -> str:
    """Look for Pods in the same domain that this one must not run beside."""
    terms = _affinity(pod, "podAntiAffinity")
    for term in terms if isinstance(terms, Sequence) else ():
        key = str(term.get("topologyKey") or HOSTNAME)
        there = _labels(node).get(key)
        spaces = term.get("namespaces") or [pod["metadata"]["namespace"]]
        for name, other in placed.node.items():
            if there is None or _labels(other).get(key) != there:
                continue
            for beside in placed.on.get(name, ()):
                if beside["metadata"]["uid"] != pod["metadata"]["uid"] and not has_ended(beside) \
                        and beside["metadata"]["namespace"] in spaces \
                        and selects(term.get("labelSelector"), _labels(beside)):
                    return f"it may not run beside {beside['metadata']['name']}"
    return ""


_QUESTIONS: tuple[Callable[[Body, Body, Placed], str], ...] = (
    _selected, _has_affinity, _reaches_volumes, _takes_pods, _is_tolerated, _is_apart)


def volumes_of(pod: Body, placed: Placed) -> Iterator[tuple[str, Body]]:
    """Yield the claims of a Pod that are bound, each with its volume."""
    for part in pod["spec"].get("volumes") or ():
        claim = _claim_of(pod, part)
        volume = placed.volume_of.get((str(pod["metadata"]["namespace"]), claim))
        if volume is not None:
            yield claim, volume


def _claim_of(pod: Body, volume: Body) -> str:
    if "ephemeral" in volume:
        return f"{pod['metadata']['name']}-{volume['name']}"
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")


def selects(selector: Body | None, labels: Mapping[str, str]) -> bool:
    """Say whether a label selector means these labels: none means nothing, an empty one everything."""
    if selector is None:
        return False
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(_holds(e, labels) for e in selector.get("matchExpressions") or ())


def _labels(body: Body) -> Mapping[str, str]:
    return body["metadata"].get("labels") or {}


def _affinity(pod: Body, kind: str) -> Body | Sequence[Body]:
    """Return what is required while a Pod is placed; wishes are left out."""
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    found: Body | Sequence[Body] = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return found


def _any_term(terms: Sequence[Body], node: Body) -> bool:
    """Say whether one of the terms holds; one that asks nothing never does."""
    fields = {"metadata.name": str(node["metadata"]["name"])}
    return any((term.get("matchExpressions") or term.get("matchFields"))
               and all(_holds(e, _labels(node)) for e in term.get("matchExpressions") or ())
               and all(_holds(e, fields) for e in term.get("matchFields") or ()) for term in terms)


def _holds(expression: Body, labels: Mapping[str, str]) -> bool:
    key, values = str(expression["key"]), list(expression.get("values") or ())
    have = labels.get(key)
    match expression["operator"]:
        case "In":
            return have in values
        case "NotIn":
            return have not in values
        case "Exists":
            return have is not None
        case "DoesNotExist":
            return have is None
        case "Gt" | "Lt" as operator:
            if have is None or not _is_whole(have) or not _is_whole(values[0]):
                return False
            return int(have) > int(values[0]) if operator == "Gt" else int(have) < int(values[0])
    return False


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _tolerates(toleration: Body, taint: Body) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _said(terms: Sequence[Body]) -> str:
    """Return node selector terms in few words: `zone In a,b`."""
    return " or ".join(", ".join(
        " ".join(filter(None, (str(e["key"]), str(e["operator"]), ",".join(e.get("values") or ()))))
        for e in (*(term.get("matchExpressions") or ()), *(term.get("matchFields") or ()))) for term in terms)
