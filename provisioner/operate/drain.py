"""Empty a Node of Pods: cordoned, each Pod asked to leave in the way that budgets may refuse, until none is left.

What leaves and what stays is judged in decide/draining.py; the API has the last word, and the list of the Node's Pods
says when it is done. A Pod is named by its uid in every request: one that was made anew elsewhere is not meant.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioner.errors import GateFailed, KubewrightError, LockHeld
from provisioner.model.draining import Placed, must_leave
from provisioner.operate.kube import FIELD_MANAGER, ApiFault, Kube
from provisioner.parallel import ask_all

INTERVAL = 0.5      # seconds between two looks at what is still there
AGAIN = 1.0         # seconds until a Pod that a budget holds is asked again: kubectl takes 5
AT_ONCE = 8         # Pods that are asked to leave at the same time
CORDONED = "kubewright.io/cordoned"     # on a Node that we cordoned: for what, by whom, since when
KEPT = "node drain"                     # what it begins with where somebody asked that the Node stays empty
ATTEMPTS = 5                            # at a Node that its kubelet and its controllers write to as well
_TOO_MANY = 429                         # what the API answers where a PodDisruptionBudget allows no more
_GONE = (404, 409)                      # no such Pod, or another of its name


@dataclass(frozen=True)
class Left:
    """A Pod that has left: how, and after how many seconds."""

    name: str
    how: str
    seconds: float


@dataclass
class Progress:
    """How far a Node is: the Pods that left, and why each of the others is still there."""

    left: list[Left] = field(default_factory=list)
    there: dict[str, str] = field(default_factory=dict)


def placed(kube: Kube) -> Placed:
    """Read which Pods are on which Nodes, their budgets, and which volumes are bound where."""
    nodes, pods, budgets, claims, volumes = (list(kube.every(path)) for path in (
        "/api/v1/nodes", "/api/v1/pods", "/apis/policy/v1/poddisruptionbudgets", "/api/v1/persistentvolumeclaims",
        "/api/v1/persistentvolumes"))
    return Placed(nodes=nodes, pods=pods, budgets=budgets, claims=claims, volumes=volumes)


def pods_of(kube: Kube, namespaces: Collection[str]) -> Placed:
    """Read the Pods of these namespaces alone: asked often while others are waited for."""
    return Placed(pods=[pod for name in namespaces for pod in kube.every(f"/api/v1/namespaces/{name}/pods")])


def wanted_by(kube: Kube, owner: Mapping[str, Any], namespace: str) -> int:
    """Return how many Pods a controller, as its Pods name it, is to have now; none where that very one is gone."""
    version = str(owner["apiVersion"])
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    there = kube.find(f"{group}/namespaces/{namespace}/{str(owner['kind']).lower()}s/{owner['name']}")
    return int(there["spec"].get("replicas", 1)) if there and there["metadata"]["uid"] == owner["uid"] else 0


def is_cordoned(node: Mapping[str, Any]) -> bool:
    """Say whether no Pod is placed on a Node, whoever asked for that."""
    return bool(node.get("spec", {}).get("unschedulable"))


def is_ours(node: Mapping[str, Any]) -> bool:
    """Say whether the cordon of a Node is our own: we noted it there, and nobody else has set it since.

    The note alone says too little: it outlives a `kubectl uncordon`, and then a cordon of somebody else.
    """
    if not is_cordoned(node) or not note_of(node):
        return False
    writers = [str(entry.get("manager")) for entry in node["metadata"].get("managedFields") or ()
               if "f:unschedulable" in entry.get("fieldsV1", {}).get("f:spec", {})]
    return not writers or FIELD_MANAGER in writers


def note_of(node: Mapping[str, Any]) -> str:
    """Return what we noted when we cordoned a Node: for what, by whom, since when."""
    return str((node["metadata"].get("annotations") or {}).get(CORDONED) or "")


def is_kept(node: Mapping[str, Any]) -> bool:
    """Say whether somebody asked us to keep a Node empty: then no other run of ours gives it Pods again."""
    return is_ours(node) and note_of(node).startswith(KEPT)


def cordon(kube: Kube, host: str, note: str = "true") -> bool:
    """Let no new Pod come to a Node, and note on it that it was us; nothing where it is cordoned already.

    A cordon of ours that was to end with its run becomes one that is kept, where that is asked for now. Says whether
    there is such a Node.
    """
    def patch(node: Mapping[str, Any]) -> dict[str, Any]:
        if is_cordoned(node) and not (is_ours(node) and note.startswith(KEPT) and not is_kept(node)):
            return {}
        return {"metadata": {"annotations": {CORDONED: note}}, "spec": {"unschedulable": True}}

    return _change(kube, host, patch, "cordoning") is not None


def uncordon(kube: Kube, host: str, *, whatever: bool = False) -> bool:
    """Undo our own cordon, `whatever` also one that is to be kept; say whether the Node takes Pods now."""
    def patch(node: Mapping[str, Any]) -> dict[str, Any]:
        if not is_ours(node) or (is_kept(node) and not whatever):
            return {}
        return {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}

    node = _change(kube, host, patch, "uncordoning")
    return node is not None and not is_cordoned(node)


def _change(kube: Kube, host: str, patch: Callable[[Mapping[str, Any]], dict[str, Any]], doing: str,
            ) -> Mapping[str, Any] | None:
    """Write a Node as it was read, or read again, and return it as it is then; None where there is none."""
    path = f"/api/v1/nodes/{host}"
    for _ in range(ATTEMPTS):
        node = kube.find(path)
        wanted = patch(node) if node is not None else {}
        if node is None or not wanted:
            return node
        wanted["metadata"]["resourceVersion"] = node["metadata"].get("resourceVersion")
        try:
            return kube.merge_patch(f"{path}?fieldManager={FIELD_MANAGER}", wanted)
        except ApiFault as fault:
            if fault.status != 409:     # somebody was faster
                raise
    raise KubewrightError(f"Node {host}: {doing}: others changed it {ATTEMPTS} times meanwhile", code="node-contended",
                          hint="kubewright status")


Stay = Callable[[Progress], None]
"""Called between two looks with how far it is; may end the waiting by raising."""


def empty(kube: Kube, host: str, timeout: float, stay: Stay = lambda progress: None, *,
          forced: Collection[str] = ()) -> list[Left]:
    """Let the Pods of a cordoned Node leave, and return those that did.

    Pods with a uid in `forced` are deleted where a budget forbids that they are evicted. Raises GateFailed with those
    that are still there after `timeout`, and what keeps each; a fault that may pass is waited for as well. Where `stay`
    ends it, its fault says what is left.
    """
    leaving = _Leaving(kube, host, forced)
    end = time.monotonic() + timeout
    while True:
        over = time.monotonic() >= end      # so that the last look begins when the time is over, however long one takes
        unseen: ApiFault | None = None
        try:
            leaving.look()
        except ApiFault as fault:
            if not may_pass(fault):
                raise
            unseen = fault
        if unseen is None and not leaving.progress.there:
            return leaving.progress.left
        if over:
            raise unseen or _blocked(host, timeout, leaving.progress)
        try:
            stay(leaving.progress)
        except KubewrightError as stop:
            stop.details = (*stop.details, *_what_is_left(host, leaving.progress))
            raise
        time.sleep(INTERVAL)


def _blocked(host: str, timeout: float, progress: Progress) -> GateFailed:
    there = progress.there
    what = "1 Pod is" if len(there) == 1 else f"{len(there)} Pods are"
    return GateFailed(
        f"{host}: draining: {what} still there after {timeout:.0f} s", code="drain-blocked",
        details=[*_what_is_left(host, progress), "nothing else was changed"],
        hint="kubectl get poddisruptionbudgets --all-namespaces")


def _what_is_left(host: str, progress: Progress) -> list[str]:
    left = [f"{len(progress.left)} of {len(progress.left) + len(progress.there)} Pods have left {host}"]
    return [*(f"{name}: {reason}" for name, reason in sorted(progress.there.items())), *(left if progress.left else [])]


def may_pass(fault: ApiFault) -> bool:
    """Say whether the same request may be answered otherwise in a moment: none came, or the server failed in it."""
    return fault.status in (0, _TOO_MANY) or fault.status >= 500


class _Leaving:
    """The Pods of one Node while they leave: each look asks those that were not asked yet, and sees who has gone."""

    def __init__(self, kube: Kube, host: str, forced: Collection[str]) -> None:
        self._kube, self._host, self._forced = kube, host, forced
        self._began = time.monotonic()
        self._how: dict[str, str] = {}
        self._next: dict[str, float] = {}       # when a Pod is asked again, by uid
        self._why: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self.progress = Progress()

    def look(self) -> None:
        """List what must leave, ask whoever is due, and note who has left since."""
        listed = self._kube.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self._host}").get("items", ())
        pods = {str(pod["metadata"]["uid"]): pod for pod in listed if must_leave(pod)}
        now = time.monotonic()
        for uid in self._names.keys() - pods.keys():
            how = self._how.get(uid, "ended by itself")
            self.progress.left.append(Left(self._names.pop(uid), how, round(now - self._began, 1)))
        self._names |= {uid: f"{p['metadata']['namespace']}/{p['metadata']['name']}" for uid, p in pods.items()}
        due = [uid for uid, pod in pods.items()
               if not pod["metadata"].get("deletionTimestamp") and now >= self._next.get(uid, now)]
        self._why |= ask_all(lambda uid: self._ask(pods[uid]), due, workers=AT_ONCE, name="evict")
        self._next |= dict.fromkeys(due, now + AGAIN)
        self.progress.there = {self._names[uid]: self._why.get(uid, _ENDING) for uid in pods}

    def _ask(self, pod: Mapping[str, Any]) -> str:
        """Ask one Pod to leave, and return why it is still there."""
        uid = str(pod["metadata"]["uid"])
        try:
            self._evict(pod)
            self._how[uid] = "evicted"
            return _ENDING
        except ApiFault as fault:
            if fault.status in _GONE:
                return _ENDING
            if uid in self._forced and _is_held(fault):
                return self._delete(pod)
            if not may_pass(fault) and not _ends_with_its_namespace(fault):
                raise
            return fault.message.partition(f": {fault.status} ")[2] or fault.message

    def _evict(self, pod: Mapping[str, Any]) -> None:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
                "deleteOptions": {"preconditions": {"uid": pod["metadata"]["uid"]}}}
        self._kube.request("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", body)

    def _delete(self, pod: Mapping[str, Any]) -> str:
        """Delete a Pod that its budget holds, with the time that it asks for to end; as the plan said."""
        self._kube.delete({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"]})
        self._how[str(pod["metadata"]["uid"])] = "deleted against its budget"
        return _ENDING


_ENDING = "it is ending"


def _is_held(fault: ApiFault) -> bool:
    """Say whether a budget forbids an eviction: with two of them on one Pod the API answers 500."""
    return "disruption budget" in fault.message or "PodDisruptionBudget" in fault.message


def _ends_with_its_namespace(fault: ApiFault) -> bool:
    return fault.status == 403 and "being terminated" in fault.message


def give_back(kube: Kube, hosts: Sequence[str], fault: KubewrightError, *, whatever: bool = True) -> None:
    """Uncordon the Nodes that we have cordoned, as what they were to leave for does not come; told with the fault.

    Another's cordon stays. Where another run has the lock, nothing is undone: it may drain there.
    """
    if isinstance(fault, LockHeld):
        return
    for host in hosts:
        try:
            takes = uncordon(kube, host, whatever=whatever)
            told = f"{host} takes Pods again" if takes else f"{host} stays cordoned, as it was before"
        except KubewrightError as second:
            told = (f"{host} stays cordoned: {second.message}; when the API answers: "
                    f"kubewright node uncordon {host}")
        fault.details = (*fault.details, told)
