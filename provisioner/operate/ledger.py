"""The prober's keys in the cluster: ConfigMaps of one run in a namespace of ours, written by its own ServiceAccount."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from provisioner.compile.objects import PROBER, PROBER_NAMESPACE
from provisioner.operate.kube import PAGE, ApiFault, Kube

RUN = "kubewright.io/prober-run"    # the label of a run's keys; they carry none of ours that is pruned by
BEAT = "beat"                       # the one object that is changed again and again, for readers and watchers
KEYS = f"/api/v1/namespaces/{PROBER_NAMESPACE}/configmaps"
OLD = dt.timedelta(hours=24)        # no run lasts so long: what is older was left by one that was killed
CLEANING = 60.0                     # seconds: the server deletes a collection one by one


def token(kube: Kube, seconds: int) -> str:
    """Return a token of the prober for the API server alone, valid for `seconds`; ApiFault 404 before `up` made it."""
    path = f"/api/v1/namespaces/{PROBER_NAMESPACE}/serviceaccounts/{PROBER}/token"
    answer = kube.request("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                                         "spec": {"expirationSeconds": seconds}})
    return str(answer["status"]["token"])


def prepare(kube: Kube) -> None:
    """Make the object that is read, changed and watched, if it is not there, and remove what killed runs left."""
    try:
        kube.request("POST", KEYS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": BEAT}})
    except ApiFault as fault:
        if fault.status != 409:
            raise
    for run in _abandoned(kube):
        remove(kube, run)


def key(run: str, number: str) -> str:
    """Return the ConfigMap that a write of `run` creates, as text; `number` may be a placeholder."""
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap",
                       "metadata": {"name": f"{run}-{number}", "labels": {RUN: run}}, "data": {"number": number}})


def stored(kube: Kube, run: str) -> frozenset[int]:
    """Return the numbers of the keys of `run` that are in the cluster under their name with their value."""
    numbers = {item["metadata"]["name"]: str(item.get("data", {}).get("number", ""))
               for item in kube.every(f"{KEYS}?labelSelector={RUN}%3D{run}")}
    return frozenset(int(number) for name, number in numbers.items()
                     if number.isdigit() and name == f"{run}-{number}")


def remove(kube: Kube, run: str) -> None:
    """Delete the keys of `run`."""
    kube.request("DELETE", f"{KEYS}?labelSelector={RUN}%3D{run}", timeout=CLEANING)


def _abandoned(kube: Kube) -> set[str]:
    page: list[dict[str, Any]] = kube.get(f"{KEYS}?labelSelector={RUN}&limit={PAGE}").get("items", [])
    now = dt.datetime.now(dt.UTC)
    return {item["metadata"]["labels"][RUN] for item in page
            if now - dt.datetime.fromisoformat(item["metadata"]["creationTimestamp"]) > OLD}
