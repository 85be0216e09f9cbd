"""What tests of etcd's verbs write, read and destroy."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.lab.machines import Lab, until

MEMBERS = ("cp1", "cp2", "cp3")


def write(lab: Lab, prefix: str, number: int) -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{prefix}-{n}"}, "data": {"n": str(n)}}
             for n in range(number)]
    lab.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def names(lab: Lab) -> set[str]:
    return set(lab.kubectl("get", "configmap", "-o", "name").split())


def one(lab: Lab, *what: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(lab.kubectl("get", *what, "-o", "json"))
    return found


def revision(lab: Lab) -> int:
    """Return etcd's revision, as the API tells it of a list."""
    page = json.loads(lab.kubectl("get", "--raw", "/api/v1/namespaces/default/configmaps?limit=1"))
    return int(page["metadata"]["resourceVersion"])


def containers(lab: Lab) -> set[str]:
    """Return the containers that run, by id: one that was started anew has another."""
    pods = one(lab, "pods", "-A")["items"]
    return {c["containerID"] for p in pods for c in p["status"].get("containerStatuses", ()) if "running" in c["state"]}


def serves_anew(lab: Lab, name: str) -> None:
    """See that what watches works with what is written now: a new Deployment gets its Pod."""
    image = one(lab, "deployment", "-n", "kube-system", "coredns")["spec"]["template"]["spec"]["containers"][0]["image"]
    lab.kubectl("create", "deployment", name, f"--image={image}", "--", "/coredns", "-version")
    until(lambda: one(lab, "pods", "-l", f"app={name}")["items"], 60, "a Pod of a new Deployment")
    lab.kubectl("delete", "deployment", name)


@contextmanager
def watching(lab: Lab) -> Iterator[subprocess.Popen[bytes]]:
    """Give a client that watches from now on, as long as the server lets it."""
    call = lab.kubectl_call("get", "configmap", "--watch-only", "--request-timeout=600s")
    process = subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def wipe(lab: Lab, hosts: Sequence[str]) -> None:
    """Kill members at the same time, and take away what they have."""
    for host in hosts:
        lab.on(host, "sh", "-c", "systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf /var/lib/etcd/member")
