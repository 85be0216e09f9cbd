"""What the API tells: the state of Nodes, the Pods that the cluster itself needs, versions that may not go together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from provisioner.compile.versions import Version, floor_fault, skew_faults
from provisioner.model.etcd import EtcdStatus
from provisioner.model.finding import Finding
from provisioner.model.releases import minor_of
from provisioner.operate import drain
from provisioner.operate import pods as pod_words
from provisioner.operate.doctor.picture import Picture

PRESSED = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
OFTEN = 3           # restarts of a container that is not ready, or ended within RECENT: it does not stay up
RECENT = 600.0      # seconds


def conditions(picture: Picture) -> Iterator[Finding]:
    """Judge what Nodes say of themselves beside being Ready, which `status` asks; a cordon is somebody's wish."""
    for name, node in (picture.nodes or {}).items():
        for condition in node.get("status", {}).get("conditions", ()):
            if condition["type"] in PRESSED and condition["status"] == "True":
                yield Finding("node-pressure", name, "error", f"{condition['type']}: {condition.get('message', '')}",
                              f"kubectl describe node {name}")
        if drain.is_cordoned(node):
            ours = drain.is_ours(node)
            why = f"we cordoned it for {drain.note_of(node)}" if ours else "it is cordoned"
            yield Finding("cordoned", name, "warning", f"no new Pod is placed there: {why}",
                          f"kubewright node uncordon {name}" if ours else f"kubectl uncordon {name}")


def system_pods(picture: Picture) -> Iterator[Finding]:
    """Judge the Pods of kube-system: not ready, or one whose container does not stay up; with what it said last."""
    for pod in picture.pods or ():
        status, name = pod.get("status", {}), str(pod["metadata"]["name"])
        host = str(pod.get("spec", {}).get("nodeName") or "")
        # One that failed, evicted or shut down with its node, is not started again: another has its place.
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        why = pod_words.why_not_ready(pod)
        ended = [c for c in status.get("containerStatuses", ()) if _does_not_stay(c, picture.now)]
        again = sum(int(c["restartCount"]) for c in ended)
        cure = f"kubectl -n kube-system logs {name}" + (" --previous" if ended else "")
        if ended:
            said = why or _last(ended[-1])
            yield Finding("system-pods", host, "error", f"Pod {name} does not stay up: it ended {again} times"
                          + (f": {said}" if said else ""), cure, code="pod-loop")
        elif why:
            yield Finding("system-pods", host, "error", f"Pod {name} is not ready: {why}", cure, code="pod-not-ready")


def _does_not_stay(container: Mapping[str, Any], now: float) -> bool:
    state = container.get("state", {})
    began = state.get("running", {}).get("startedAt", "")
    recent = not began or now - dt.datetime.fromisoformat(began).timestamp() < RECENT
    return int(container.get("restartCount", 0)) >= OFTEN and recent


def _last(container: Mapping[str, Any]) -> str:
    died = container.get("lastState", {}).get("terminated", {})
    return f"{died.get('reason', 'ended')}, exit {died.get('exitCode')}" if died else ""


def versions(picture: Picture) -> Iterator[Finding]:
    """Judge the versions that run against the skew rules of Kubernetes, and etcd's against what goes with it."""
    try:
        servers = [Version.parse(picture.version)] if picture.version else []
        kubelets = [Version.parse(str(n["status"]["nodeInfo"]["kubeletVersion"]))
                    for n in (picture.nodes or {}).values() if n.get("status", {}).get("nodeInfo")]
    except ValueError as fault:
        yield Finding("versions", "", "unseen", f"a version that cannot be read: {fault}", "")
        return
    for words in skew_faults(servers, kubelets=kubelets):
        yield Finding("versions", "", "error", words, "kubewright plan")
    for host, member in picture.members.items():
        floors = minor_of(picture.cluster.kubernetes).floors.get("etcd", {})
        words = floor_fault("etcd", member.version, floors) if isinstance(member, EtcdStatus) else ""
        if words:
            yield Finding("versions", host, "error", words, "kubewright plan")
