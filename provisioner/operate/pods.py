"""Why Pods are not Ready, in the words of who knows: the scheduler, the runtime, or the program that died."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from provisioner.operate.kube import Kube, object_path

_POD = {"apiVersion": "v1", "kind": "Pod"}
_EVENT = {"apiVersion": "v1", "kind": "Event"}
LENGTH = 300        # characters of a program's last words: its last line, mostly


def troubles(kube: Kube, namespace: str, selector: str) -> list[str]:
    """Return a line for each cause that keeps Pods of a selector from being Ready, with the Pods; ApiFault as ever."""
    metadata = {"name": "", "namespace": namespace}
    path = object_path({**_POD, "metadata": metadata})
    found: dict[str, list[str]] = {}
    for pod in kube.get(f"{path}?labelSelector={quote(selector)}").get("items", ()):
        why = why_not_ready(pod)
        if why == CREATING:
            of_pod = quote(f"involvedObject.name={pod['metadata']['name']},type=Warning")
            events = kube.get(f"{object_path({**_EVENT, 'metadata': metadata})}?fieldSelector={of_pod}")
            why = last_warning(events.get("items", ())) or why
        if why:
            where = pod.get("spec", {}).get("nodeName")
            found.setdefault(why, []).append(pod["metadata"]["name"] + (f" on {where}" if where else ""))
    return [f"{', '.join(names)}: {why}" for why, names in found.items()]


CREATING = "ContainerCreating"


def why_not_ready(pod: Mapping[str, Any]) -> str:
    """Return what a Pod's status says of why it is not Ready; nothing where it is, or is on its way out."""
    status = pod.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    if conditions.get("Ready", {}).get("status") == "True" or pod["metadata"].get("deletionTimestamp"):
        return ""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return _line(scheduled.get("message") or scheduled.get("reason", ""))
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        state = container.get("state", {})
        waiting = state.get("waiting", {})
        died = state.get("terminated") or container.get("lastState", {}).get("terminated", {})
        said = (died.get("message") or "").strip() or waiting.get("message", "")
        reason = waiting.get("reason") or died.get("reason")
        if reason:
            return _line(f"{reason}: {said.splitlines()[-1]}" if said else str(reason))
    return _line(conditions.get("Ready", {}).get("message") or status.get("phase") or "no status yet")


def last_warning(events: Sequence[Mapping[str, Any]]) -> str:
    """Return what the newest of a Pod's warnings says."""
    newest = max(events, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""), default=None)
    return _line(f"{newest.get('reason')}: {newest.get('message')}") if newest else ""


def _line(text: object) -> str:
    return " ".join(str(text).split())[:LENGTH]
