"""A Kubernetes API in memory: enough of server-side apply, dry run and lists for what operate/kube.py asks."""

from __future__ import annotations

import copy
import datetime as dt
import marshal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from provisioner.operate.kube import KINDS, ApiFault, Kube

PLURALS = frozenset({"persistentvolumeclaims", "persistentvolumes", *(plural for plural, _ in KINDS.values())})
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"

T = TypeVar("T")


def node(name: str, *, ready: bool = True, version: str = "v1.36.3", labels: Mapping[str, str] = {}) -> dict[str, Any]:
    """Return a Node as the API shows it."""
    condition = {"type": "Ready", "status": "True" if ready else "False", "message": "cni is not initialized"}
    return {"metadata": {"name": name, "labels": dict(labels), "resourceVersion": "1",
                         "annotations": {"flannel.alpha.coreos.com/backend-data": "{}"}},
            "status": {"conditions": [condition], "nodeInfo": {"kubeletVersion": version}}}


@dataclass
class MemoryApi:
    """What is stored, by URL path; `log` holds (method, path) of every write that was no dry run."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    token: str = "of-the-prober"
    now: str = "2099-01-01T00:00:00Z"
    renewed: str = ""              # when every lease was renewed: now
    held: set[str] = field(default_factory=set)     # paths of Pods that a budget holds
    metrics: str = ""              # what an API server says of itself
    refuse: int = 0                # an HTTP status that everything is answered with
    _versions: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))     # a count cannot be pickled

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        self.objects[path] = {**body, "metadata": {"uid": path, **body["metadata"]}}

    def lead(self) -> None:
        for name in ("kube-controller-manager", "kube-scheduler"):
            now = dt.datetime.fromtimestamp(time.time(), dt.UTC).isoformat()
            self.put(f"{LEASES}/{name}", {"metadata": {"name": name}, "spec": {
                "holderIdentity": "cp1", "renewTime": self.renewed or now}})

    def answer(self, method: str, url: str, body: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """Return status and document of one request."""
        if self.refuse:
            return self.refuse, {"message": f"refused with {self.refuse}"}
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        if method == "GET" and parts.path.rpartition("/")[2] in PLURALS:
            return 200, {"items": self._list(parts.path, query)}
        if method == "PATCH" and "force" in query:
            return self._apply(parts.path, body or {}, dry="dryRun" in query)
        if method == "POST" and parts.path.endswith("/eviction"):
            return self._evict(parts.path.removesuffix("/eviction"))
        if method == "POST":
            return self._create(parts.path, body or {})
        if method == "DELETE" and parts.path.rpartition("/")[2] in PLURALS:
            self.log.append((method, parts.path))
            gone = [f"{parts.path}/{o['metadata']['name']}" for o in self._list(parts.path, query)]
            return 200, {"items": [self.objects.pop(path) for path in gone]}
        if parts.path not in self.objects:
            return 404, {"message": f"{parts.path} not found"}
        if method == "GET":
            return 200, self.objects[parts.path]
        self.log.append((method, parts.path))
        if method == "DELETE":
            return 200, self.objects.pop(parts.path)
        return self._patch(parts.path, body or {}, query.get("fieldManager", ["somebody"])[0])

    def _evict(self, path: str) -> tuple[int, dict[str, Any]]:
        """Let a Pod go at once, or not, where a budget holds it."""
        if path in self.held:
            return 429, {"message": "Cannot evict pod as it would violate the pod's disruption budget."}
        self.log.append(("POST", f"{path}/eviction"))
        return (201, {}) if self.objects.pop(path, None) else (404, {"message": f"{path} not found"})

    def _patch(self, path: str, body: Mapping[str, Any], manager: str) -> tuple[int, dict[str, Any]]:
        """Merge-patch an object; one that was written since the caller has read it is left as it is.

        Of the server's notes on who wrote what, only the one on a cordon is kept.
        """
        old = self.objects[path]
        expected = body.get("metadata", {}).get("resourceVersion")
        if expected and expected != old["metadata"].get("resourceVersion"):
            return 409, {"message": "the object has been modified"}
        new = merge_patched(old, body)
        new["metadata"] |= {"resourceVersion": str(next(self._versions) + 1)}
        if "unschedulable" in body.get("spec", {}):
            new["metadata"]["managedFields"] = [{"manager": manager, "fieldsV1": {"f:spec": {"f:unschedulable": {}}}}]
        self.objects[path] = new
        return 200, new

    def _list(self, path: str, query: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        group, _, plural = path.rpartition("/")
        wanted = dict(p.split("=") for p in query.get("labelSelector", ()) if "=" in p)
        node = next((f for f in query.get("fieldSelector", ()) if f.startswith("spec.nodeName=")), "")
        return [o for p, o in self.objects.items()
                if p.startswith(f"{group}/") and p.rsplit("/", 2)[1] == plural
                and wanted.items() <= o["metadata"].get("labels", {}).items()
                and node in ("", f"spec.nodeName={o.get('spec', {}).get('nodeName')}")]

    def _create(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Create an object in a collection, or hand out a token where the ServiceAccount is there."""
        owner, _, last = path.rpartition("/")
        if last == "token":
            if owner not in self.objects:
                return 404, {"message": f"{owner} not found"}
            return 201, {"status": {"token": f"token-{self.token}"}}
        place = f"{path}/{body['metadata']['name']}"
        if place in self.objects:
            return 409, {"message": f"{place} exists"}
        self.log.append(("POST", place))
        self.objects[place] = {**body, "metadata": {"creationTimestamp": self.now, **body["metadata"]}}
        return 201, self.objects[place]

    def _apply(self, path: str, body: Mapping[str, Any], *, dry: bool) -> tuple[int, dict[str, Any]]:
        old = self.objects.get(path)
        new = merged(old or {"metadata": {"uid": path, "generation": 0}}, body)
        if body["kind"] == "Service":
            new["spec"] = {"sessionAffinity": "None", **new["spec"]}         # a default, as the server sets them
        changed = old is None or _without_counts(old) != _without_counts(new)
        if changed:
            new["metadata"] |= {"generation": new["metadata"].get("generation", 0) + 1}
        new["metadata"] |= {"resourceVersion": str(next(self._versions)), "managedFields": [{"manager": "kubewright"}]}
        if body["kind"] == "Deployment" and not dry:
            replicas = new["spec"]["replicas"]
            new["status"] = {"observedGeneration": new["metadata"]["generation"], "updatedReplicas": replicas,
                             "availableReplicas": replicas}
        if body["kind"] == "APIService" and not dry:
            new["status"] = {"conditions": [{"type": "Available", "status": "True"}]}
        if not dry:
            self.log.append(("PATCH", path))
            self.objects[path] = new
        return 200, new


def copied(value: T) -> T:
    """Return a copy of what came as JSON, many times as fast as copy.deepcopy; what did not is copied by that."""
    made: T
    plain: Any = value
    try:
        made = marshal.loads(marshal.dumps(plain))  # noqa: S302 - its own copy
    except ValueError:
        made = copy.deepcopy(value)
    return made


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` with the fields of `new` over it, mapping by mapping."""
    result = copied(dict(old))
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else copied(value)
    return result


def merge_patched(old: Any, new: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` with a merge patch applied: mapping by mapping, null takes a field away."""
    result = copied(dict(old)) if isinstance(old, Mapping) else {}
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patched(result.get(key), value) if isinstance(value, Mapping) else copied(value)
    return result


def _without_counts(body: Mapping[str, Any]) -> dict[str, Any]:
    counted = ("resourceVersion", "generation", "managedFields")
    return {**{k: v for k, v in body.items() if k not in ("status", "metadata")},
            "metadata": {k: v for k, v in body["metadata"].items() if k not in counted}}


class MemoryKube(Kube):
    """Kube's own methods over a MemoryApi instead of a connection."""

    def __init__(self, api: MemoryApi) -> None:
        self.api = api

    def close(self) -> None:
        """Close nothing."""

    def text(self, path: str, *, timeout: float = 10.0) -> str:
        return self.api.metrics

    def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json",
                timeout: float = 10.0) -> dict[str, Any]:
        status, document = self.api.answer(method, path, body)
        if status >= 400:
            raise ApiFault(f"{method} {path}", f"{status} {document['message']}", status)
        return copied(document)

