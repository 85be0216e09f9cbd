"""The Kubernetes API as this tool needs it: plain dicts over TLS, every call with a deadline.

Dicts and not models: the client's models refuse answers of other versions (measured with release 37: an empty
nodeInfo made list_node raise), and a provisioner meets other versions during every upgrade.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from provisioner.compile import fields
from provisioner.compile.objects import is_record, recorded_as
from provisioner.compile.parts import MANAGED_BY
from provisioner.errors import KubewrightError
from provisioner.model.desired import KubeObject
from provisioner.model.draining import is_ready
from provisioner.model.endpoint import Endpoint
from provisioner.model.phases import PhaseName
from provisioner.model.plan import ObjectChange
from provisioner.model.words import table as words
from provisioner.operate.access import Access
from provisioner.parallel import ask_all

FIELD_MANAGER = "kubewright"
TIMEOUT = 10.0
PAGE = 500          # objects of one answer, as kubectl asks for them
AT_ONCE = 4         # objects that are compared at the same time: each waits for two answers

# (apiVersion, kind) -> (plural, namespaced): every kind that templates/manifests uses; an unknown one is our bug
KINDS: Mapping[tuple[str, str], tuple[str, bool]] = {
    ("v1", "Namespace"): ("namespaces", False),
    ("v1", "ConfigMap"): ("configmaps", True),
    ("v1", "Secret"): ("secrets", True),
    ("v1", "Service"): ("services", True),
    ("v1", "ServiceAccount"): ("serviceaccounts", True),
    ("v1", "Node"): ("nodes", False),
    ("v1", "Pod"): ("pods", True),
    ("v1", "Event"): ("events", True),
    ("apps/v1", "Deployment"): ("deployments", True),
    ("apps/v1", "DaemonSet"): ("daemonsets", True),
    ("policy/v1", "PodDisruptionBudget"): ("poddisruptionbudgets", True),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): ("validatingadmissionpolicies", False),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): (
        "validatingadmissionpolicybindings", False),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): ("clusterroles", False),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): ("clusterrolebindings", False),
    ("rbac.authorization.k8s.io/v1", "Role"): ("roles", True),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): ("rolebindings", True),
    ("coordination.k8s.io/v1", "Lease"): ("leases", True),
    ("apiregistration.k8s.io/v1", "APIService"): ("apiservices", False),
    ("scheduling.k8s.io/v1", "PriorityClass"): ("priorityclasses", False),
}


class ApiFault(KubewrightError):
    """The API did not answer as asked; `status` is the HTTP status, 0 where none came. What its words mean is below."""

    code = "api"
    exit_code = 13

    def __init__(self, doing: str, saw: str, status: int = 0) -> None:
        means = words.meaning(saw, "api", "etcd")
        super().__init__(f"API: {doing}: {saw}", details=means.details if means else (),
                         hint=means.cure if means else "")
        self.status = status


def object_path(body: Mapping[str, Any], *, name: str | None = None) -> str:
    """Return the URL path of a manifest's object, or of its collection with `name=""`."""
    version = body["apiVersion"]
    plural, namespaced = KINDS[(version, body["kind"])]
    path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    if namespaced and body["metadata"].get("namespace"):
        path += f"/namespaces/{body['metadata']['namespace']}"
    name = body["metadata"]["name"] if name is None else name
    return f"{path}/{plural}" + (f"/{name}" if name else "")


class Kube:
    """A connection to one API server; `request` may be called by several threads at a time, as its pool allows."""

    def __init__(self, access: Access) -> None:
        from kubernetes import client

        configuration = client.Configuration()
        configuration.host = Endpoint(*access.address).url
        configuration.ssl_ca_cert = str(access.ca_file)
        configuration.cert_file = str(access.cert_file)
        configuration.key_file = str(access.key_file)
        configuration.retries = 0
        configuration.proxy = None
        self._host = configuration.host
        self._access = access
        self._client = client.ApiClient(configuration)

    def close(self) -> None:
        """Close the connections."""
        self._client.rest_client.pool_manager.clear()

    def request(
        self, method: str, path: str, body: object | None = None, *, content_type: str = "application/json",
        timeout: float = TIMEOUT,
    ) -> dict[str, Any]:
        """Do one request and return the answered object; ApiFault holds what the server said."""
        data = self._bytes(method, path, body, content_type=content_type, timeout=timeout)
        answer = json.loads(data) if data else {}
        return answer if isinstance(answer, dict) else {}

    def text(self, path: str, *, timeout: float = TIMEOUT) -> str:
        """Read what is no object: metrics, say."""
        return self._bytes("GET", path, None, content_type="", timeout=timeout, accept="text/plain").decode()

    def _bytes(
        self, method: str, path: str, body: object | None, *, content_type: str, timeout: float,
        accept: str = "application/json",
    ) -> bytes:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": accept} | ({"Content-Type": content_type} if content_type else {})
        try:
            response = self._client.call_api(
                method, self._host + path, header_params=headers, body=body, _request_timeout=timeout)
            data = bytes(response.read())  # type: ignore[no-untyped-call]
        except ApiException as error:
            said = f"{error.status} {_said(error.body)}" if error.status else str(error.reason)
            fault = ApiFault(f"{method} {path}", said, int(error.status or 0))
            raise (fault if error.status else self._access.blame(fault)) from error
        except HTTPError as error:
            raise self._access.blame(ApiFault(f"{method} {path}", str(error))) from error
        # The client does not raise for every status; the number decides here, in one place.
        if response.status >= 400:
            raise ApiFault(f"{method} {path}", f"{response.status} {_said(data)}", int(response.status))
        return data

    def get(self, path: str, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Read one object or collection."""
        return self.request("GET", path, timeout=timeout)

    def every(self, path: str) -> Iterator[dict[str, Any]]:
        """Read a collection page by page, and yield its objects."""
        pages = f"{path}{'&' if '?' in path else '?'}limit={PAGE}"
        more = ""
        while True:
            answer = self.get(pages + (f"&continue={quote(more)}" if more else ""))
            yield from answer.get("items", ())
            more = str((answer.get("metadata") or {}).get("continue") or "")
            if not more:
                return

    def find(self, path: str) -> dict[str, Any] | None:
        """Read one object; None where it does not exist."""
        try:
            return self.get(path)
        except ApiFault as fault:
            if fault.status == 404:
                return None
            raise

    def apply(self, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply a manifest server-side under our one field manager; `dry_run` answers what it would become."""
        query = f"?fieldManager={FIELD_MANAGER}&force=true" + ("&dryRun=All" if dry_run else "")
        return self.request("PATCH", object_path(body) + query, dict(body),
                            content_type="application/apply-patch+yaml")

    def delete(self, body: Mapping[str, Any]) -> None:
        """Delete the object, that very one where its `uid` is given; one that is gone already is fine."""
        uid = body["metadata"].get("uid")
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}} if uid else None
        try:
            self.request("DELETE", object_path(body), options)
        except ApiFault as fault:
            if fault.status != 404:
                raise

    def merge_patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch an object's fields."""
        return self.request("PATCH", path, dict(body), content_type="application/merge-patch+json")

    def nodes(self) -> list[dict[str, Any]]:
        """List all Nodes."""
        return list(self.get("/api/v1/nodes").get("items", ()))

    def nodes_by_name(self) -> dict[str, dict[str, Any]]:
        """List all Nodes, each under its name."""
        return {str(node["metadata"]["name"]): node for node in self.nodes()}


def _said(body: object) -> str:
    """Return the server's own message, or the beginning of what it sent."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]


def _comparable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Strip what the server counts on every write, so that equal means unchanged."""
    counted = ("managedFields", "resourceVersion", "generation")
    metadata = {k: v for k, v in body["metadata"].items() if k not in counted}
    return {**{k: v for k, v in body.items() if k != "status"}, "metadata": metadata}


def compare_objects(
    kube: Kube | None, objects: Sequence[KubeObject], *, unseen: str = "no API yet",
) -> tuple[ObjectChange, ...]:
    """Return what applying `objects` would change; without an API (None) all are to add, and `unseen` says why.

    The server itself decides, by a dry run of server-side apply, so defaults and webhooks never show as changes.
    What we applied, and only that, is removed when it is desired no more. Secrets with a leaf of ours are not compared
    here but in operate/tls_secrets.py: what is in them is not desired to the byte.
    """
    if kube is None:
        return tuple(_change(o, "add", unseen, {}, o.body) for o in objects)
    compared = [o for o in objects if o.certificate is None]
    found = ask_all(lambda number: _compare_object(kube, compared[number]), range(len(compared)), workers=AT_ONCE,
                    name="object")
    changes = [change for change in found.values() if change]
    records = {o.identity for o in objects if is_record(o)}
    return (*(c for c in changes if c.identity not in records), *_strays(kube, objects),
            *(c for c in changes if c.identity in records))


def _compare_object(kube: Kube, desired: KubeObject) -> ObjectChange | None:
    live = kube.find(object_path(desired.body))
    if live is None:
        return _change(desired, "add", "missing", {}, desired.body)
    would_be = kube.apply(desired.body, dry_run=True)
    if _comparable(live) == _comparable(would_be):
        return None
    return _change(desired, "change", "", _comparable(live), _comparable(would_be))


def _change(desired: KubeObject, action: str, reason: str, live: Any, would_be: Any) -> ObjectChange:
    """Return the change with a line a field; of a Secret only which fields, never what is or will be in them."""
    found = [_masked(f) if desired.body["kind"] == "Secret" else f for f in fields.differing(live, would_be)]
    return ObjectChange(desired.phase, desired.identity, action, reason or fields.said(found) or "fields", desired,
                        "\n".join(line for field in found for line in _lines(field)))


def _lines(change: fields.FieldChange) -> Iterator[str]:
    """Yield a field as a diff: its value before and after, and of a text of many lines those that differ."""
    before, after = (change.before or "").splitlines(), (change.after or "").splitlines()
    if max(len(before), len(after)) > 1:
        yield f" {change.name}:"
        yield from list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]
        return
    if change.before is not None:
        yield f"-{change.name}: {change.before}"
    if change.after is not None:
        yield f"+{change.name}: {change.after}"


def _masked(change: fields.FieldChange) -> fields.FieldChange:
    if not change.name.startswith(("data", "stringData")):
        return change
    return change._replace(before=change.before and fields.MASKED, after=change.after and fields.MASKED)


def _strays(kube: Kube, objects: Sequence[KubeObject]) -> Iterator[ObjectChange]:
    """Yield what we once applied, by the records in the cluster, and desire no more, where it still is ours.

    The label alone says nothing: a copied manifest has it too, and so has what was restored from a backup.
    """
    wanted = {recorded_as(o.body) for o in objects}
    for record in filter(is_record, objects):
        there = kube.find(object_path(record.body)) or {}
        for line in str(there.get("data", {}).get("objects", "")).splitlines():
            stray = None if line in wanted else _recorded(record.phase, line)
            live = kube.find(object_path(stray.body)) if stray else None
            if stray is not None and live is not None and _is_ours(live):
                stray.body["metadata"]["uid"] = live["metadata"].get("uid")
                yield ObjectChange(stray.phase, stray.identity, "remove", "no longer desired", stray)


def _recorded(phase: PhaseName, line: str) -> KubeObject | None:
    """Return the object that a record's line names; None for what is no such line."""
    version, _, rest = line.partition(" ")
    kind, _, name = rest.partition(" ")
    namespace, _, last = name.rpartition("/")
    if not last or KINDS.get((version, kind), ("", None))[1] is not bool(namespace):
        return None
    metadata = {"name": last} | ({"namespace": namespace} if namespace else {})
    return KubeObject(phase, {"apiVersion": version, "kind": kind, "metadata": metadata})


def _is_ours(live: Mapping[str, Any]) -> bool:
    """Say whether we made the object that is there now: it has our label, and the server saw us write it."""
    meta = live["metadata"]
    ours = MANAGED_BY.items() <= meta.get("labels", {}).items()
    return ours and any(field.get("manager") == FIELD_MANAGER for field in meta.get("managedFields", ()))


def make_changes(kube: Kube, changes: Sequence[ObjectChange]) -> None:
    """Apply and delete as the changes say, in their order."""
    for change in changes:
        if change.object is None:
            raise KubewrightError(f"{change.identity}: applying: the change has no object")
        if change.action == "remove":
            kube.delete(change.object.body)
        else:
            kube.apply(change.object.body)


def why_not_ready(node: Mapping[str, Any]) -> str:
    """Return the Ready condition's message."""
    conditions = node.get("status", {}).get("conditions", ())
    return next((str(c.get("message") or c.get("reason")) for c in conditions if c["type"] == "Ready"), "no status yet")


def waits_for_cni(node: Mapping[str, Any]) -> bool:
    """Say whether a node lacks nothing but a network for its Pods: its kubelet says so, in the runtime's own word."""
    return not is_ready(node) and "NetworkPluginNotReady" in why_not_ready(node)
