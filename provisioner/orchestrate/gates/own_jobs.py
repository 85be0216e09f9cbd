"""Gates of one's own that run in the cluster: a Job of a manifest must complete in its time; it is removed afterwards.

Each asking makes a Job anew, under a name of its own: what a Job runs cannot be changed. One that a killed run leaves
ends with its time, and the cluster removes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provisioner.errors import GateFailed, KubewrightError
from provisioner.model.cluster import Gate
from provisioner.model.gate_job import Body, manifest
from provisioner.operate.kube import Kube
from provisioner.orchestrate.gates import proofs
from provisioner.orchestrate.session.session import Session

HOSTS = "KUBEWRIGHT_HOSTS"      # in the environment of each container, and of a command: the hosts of the turn
TAIL = 10                       # lines of the log that are told
KEPT = 600                      # seconds after which the cluster removes a Job that nobody did


def fault_of(directory: Path, gate: Gate) -> str:
    """Say what keeps a gate's file from being one Job; "" where nothing does."""
    try:
        manifest(directory / gate.job)
    except ValueError as fault:
        return f"{gate.job}: {fault}"
    return ""


def body_of(of: Mapping[str, Any], gate: Gate, hosts: Sequence[str], suffix: str) -> Body:
    """Return the Job that is made of a manifest for one asking: it ends with the gate's time, and tells its Pods which
    hosts have changed."""
    spec, metadata = dict(of["spec"]), dict(of["metadata"])
    template = dict(spec["template"])
    pod = dict(template["spec"])
    env = [{"name": HOSTS, "value": ",".join(hosts)}]
    pod["containers"] = [{**one, "env": [*(one.get("env") or ()), *env]} for one in pod["containers"]]
    pod.setdefault("restartPolicy", "Never")
    name = f"{str(metadata['name'])[:50]}-{suffix}"
    return {"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {**metadata, "name": name, "namespace": metadata.get("namespace", "default")},
            "spec": {**spec, "backoffLimit": spec.get("backoffLimit", 0), "activeDeadlineSeconds": gate.timeout,
                     "ttlSecondsAfterFinished": KEPT, "template": {**template, "spec": pod}}}


def hold(session: Session, gate: Gate, hosts: Sequence[str], what: str) -> None:
    """Let the Job run; GateFailed with the last words of its Pods where it does not complete in its time."""
    body = body_of(manifest(session.target.inventory.path / gate.job), gate, hosts, secrets.token_hex(3))
    proof = f"{gate.name}, a Job of {gate.job}, completed"
    with _made(session, body) as (kube, path):
        try:
            proofs.wait_until(session, what, lambda: _unfinished(kube, path, gate), gate.timeout, proof=proof)
            ended = _condition(kube.get(path))
            if ended != "Complete":
                raise GateFailed(f"gate after {what}: {gate.name}: the Job {body['metadata']['name']} failed")
        except GateFailed as fault:
            fault.details = (*fault.details, *_last_words(kube, body))
            raise


@contextmanager
def _made(session: Session, body: Body) -> Iterator[tuple[Kube, str]]:
    kube, space = session.access.kube(), f"/apis/batch/v1/namespaces/{body['metadata']['namespace']}/jobs"
    path = f"{space}/{body['metadata']['name']}"
    session.run.still_ours()
    try:
        kube.request("POST", space, body)
    except KubewrightError as fault:
        raise GateFailed(f"gate: making the Job {body['metadata']['name']}: {fault.message}") from fault
    try:
        yield kube, path
    finally:
        try:
            kube.request("DELETE", path, {"apiVersion": "v1", "kind": "DeleteOptions",
                                          "propagationPolicy": "Background"})
        except KubewrightError as fault:
            session.tell("diagnostic", message=f"{path}: not removed: {fault.message}; the cluster does in {KEPT} s")


def _condition(job: Mapping[str, Any]) -> str:
    """Return how a Job has ended: `Complete` or `Failed`; "" where it has not."""
    found = [str(c["type"]) for c in job.get("status", {}).get("conditions", ()) if c.get("status") == "True"]
    return next((one for one in found if one in ("Complete", "Failed")), "")


def _unfinished(kube: Kube, path: str, gate: Gate) -> str:
    return "" if _condition(kube.get(path)) else f"{gate.name}: the Job {path.rpartition('/')[2]} has not ended"


def _last_words(kube: Kube, body: Body) -> list[str]:
    """Return the end of what the Job's newest Pod wrote, or why it cannot be read."""
    name, pods = body["metadata"]["name"], f"/api/v1/namespaces/{body['metadata']['namespace']}/pods"
    try:
        found = kube.get(f"{pods}?labelSelector=job-name%3D{name}").get("items", ())
        if not found:
            return ["no Pod of it was ever made"]
        newest = max(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        said = kube.text(f"{pods}/{newest['metadata']['name']}/log?tailLines={TAIL}").splitlines()
    except KubewrightError as fault:
        return [f"its log was not looked at: {fault.message}"]
    return said or ["it wrote nothing"]
