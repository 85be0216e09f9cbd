"""The cluster is as closed as its documents say: a benchmark's values on real hosts, and attempts that are refused."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provisioner.model.cluster import Host
from provisioner.model.load import load_cluster
from tests.lab import cis, figures
from tests.lab.hostside import at_once, remote
from tests.lab.machines import CONTROL_PLANES, NODES, Lab, until

pytestmark = pytest.mark.lab

HERE = Path(__file__).parent
EXPOSED_AT_MOST = 2.5
CONFINED = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
AS_FAR_AS_THEY_BEAR = ("haproxy", "keepalived", "kube-proxy", "flanneld", "kubelet", "containerd")
AUDIT_LOG = "/var/log/kubernetes/audit.log"


def everywhere(lab: Lab, program: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run a program of this directory on each host with its own argument, all at once; return what each printed.

    In a login of the node's own: one that enters from outside holds more than its root may.
    """
    text = (HERE / program).read_text(encoding="utf-8")
    said = at_once({host: partial(lab.logged_in, host, "python3", "-c", text, json.dumps(argument))
                    for host, argument in arguments.items()})
    return {host: json.loads(answer) for host, answer in said.items()}


def roles(host: Host) -> list[str]:
    return [*host.roles, *(["node"] if host.is_node else [])]


def test_every_host_holds_what_the_benchmark_asks_for(cluster: Lab) -> None:
    hosts = {h.name: h for h in load_cluster(cluster.file.read_text(), cluster.file.name).machines}
    for name in hosts:      # an earlier test has booted one
        until(partial(cluster.on, name, "pgrep", "-x", "kubelet", check=False), 60, f"{name}: its kubelet runs")
    rows = {name: cis.rows_of(roles(host)) for name, host in hosts.items()}
    seen = everywhere(cluster, "onhost_read.py", {name: cis.to_read(rows[name]) for name in hosts})
    faults = [f"{name}: {fault}" for name in hosts for fault in cis.faults(rows[name], seen[name])]
    assert not faults, "\n".join(faults)
    assert {row["id"] for chosen in rows.values() for row in chosen} == {
        row["id"] for row in cis.rows() if "instead" not in row}


def test_the_control_plane_s_services_are_confined(cluster: Lab) -> None:
    exposed = figures_of_exposure(cluster)
    for unit in (*CONFINED, *AS_FAR_AS_THEY_BEAR):
        values = [exposed[host][unit] for host in NODES if unit in exposed[host]]
        figures.record(f"exposure of {unit} (systemd-analyze security)", values, unit="of 10",
                       limit=EXPOSED_AT_MOST if unit in CONFINED else None)
    high = {(host, unit): exposed[host][unit] for host in CONTROL_PLANES for unit in CONFINED
            if exposed[host][unit] > EXPOSED_AT_MOST}
    assert not high


def figures_of_exposure(lab: Lab) -> dict[str, dict[str, float]]:
    """Return host -> unit -> exposure, of the units that the host has."""
    units = " ".join((*CONFINED, *AS_FAR_AS_THEY_BEAR))
    script = (f'for u in {units}; do systemctl cat "$u" >/dev/null 2>&1 || continue; '
              'echo "$u $(systemd-analyze security --no-pager "$u.service" | tail -n 1)"; done')
    said = at_once({host: partial(remote, lab, host, ["sh", "-c", script]) for host in NODES})
    return {host: {unit: float(value) for unit, value in re.findall(r"^(\S+) .*: ([\d.]+) ", text, re.M)}
            for host, text in said.items()}


def test_what_a_confined_service_must_not_do_it_cannot(cluster: Lab) -> None:
    asked = [["etcd.service", "kube-apiserver.service/sa.key", "/var/lib/etcd"],
             ["kube-apiserver.service", "etcd.service/peer.key", "/var/log/kubernetes"],
             ["kube-controller-manager.service", "kube-apiserver.service/sa.key", "/tmp"],
             ["kube-scheduler.service", "kube-controller-manager.service/ca.key", "/tmp"]]
    found = everywhere(cluster, "onhost_attempts.py", dict.fromkeys(CONTROL_PLANES, asked))
    done = [f"{host}: {unit}: {attempt}" for host, units in found.items() for unit, one in units.items()
            for attempt, result in one["tried"].items() if (result == "done") != (attempt == "write where it may")]
    assert not done, f"what should be refused was done, or the other way round: {done}\n{json.dumps(found, indent=1)}"
    for host, units in found.items():
        for unit, one in units.items():
            status = one["status"]
            assert status["Uid"].split()[0] != "0", (host, unit)
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), (host, unit, status)
            assert {int(status[name], 16) for name in ("CapBnd", "CapEff", "CapAmb")} == {0}, (host, unit, status)


def test_root_s_services_cannot_change_the_host_beyond_their_work(cluster: Lab) -> None:
    proxy = [["kube-proxy.service", "kube-scheduler.service/scheduler.key", "/tmp"],
             ["flanneld.service", "kube-scheduler.service/scheduler.key", "/run/flannel"],
             ["haproxy.service", "kube-scheduler.service/scheduler.key", "/run"]]
    found = everywhere(cluster, "onhost_attempts.py", {"cp1": proxy})["cp1"]
    harmful = ("write /etc", "write /usr/local/bin", "write /var/lib", "list /root", "ptrace another process",
               "load a module", "mount", "make a device", "change the host's name")
    done = [f"{unit}: {name}" for unit, one in found.items() for name in harmful if one["tried"][name] == "done"]
    assert not done, json.dumps(found, indent=1)
    assert all(one["tried"]["write where it may"] == "done" for one in found.values()), json.dumps(found, indent=1)


def test_the_audit_log_says_who_and_what_and_never_a_secret(cluster: Lab) -> None:
    canary = "audit-canary-8f3a"
    cluster.kubectl("create", "secret", "generic", "audit-canary", f"--from-literal=word={canary}")
    cluster.kubectl("create", "clusterrole", "audit-canary", "--verb=get", "--resource=pods")
    cluster.kubectl("delete", "secret/audit-canary", "clusterrole/audit-canary")
    told = audited(cluster, "audit-canary")
    of = {(e["objectRef"]["resource"], e["verb"]): e for e in told}
    assert of["secrets", "create"]["level"] == "Metadata" and "requestObject" not in of["secrets", "create"]
    assert of["secrets", "create"]["user"]["username"] == "operator:kubewright-lab"
    assert of["clusterroles", "create"]["requestObject"]["rules"][0]["resources"] == ["pods"]
    script = ('grep -rlF -e "$1" -e "$2" /var/log/kubernetes; find /var/log/kubernetes -type d -printf "%m %u\\n"; '
              'find /var/log/kubernetes -type f -printf "%m %u\\n" | sort -u')
    words = ["sh", "-c", script, "look", canary, base64.b64encode(canary.encode()).decode()]
    seen = at_once({host: partial(remote, cluster, host, words) for host in CONTROL_PLANES})
    assert seen == dict.fromkeys(CONTROL_PLANES, "700 kube-apiserver\n600 kube-apiserver\n")


def audited(lab: Lab, name: str) -> list[dict[str, Any]]:
    """Return the events of all API servers that name an object `name`."""
    words = ["sh", "-c", 'grep -hF "$1" "$2" || true', "look", name, AUDIT_LOG]
    said = at_once({host: partial(remote, lab, host, words) for host in CONTROL_PLANES})
    events = [json.loads(line) for text in said.values() for line in text.splitlines()]
    return [e for e in events if e["stage"] == "ResponseComplete" and e.get("objectRef", {}).get("name") == name]


def test_a_full_audit_log_is_rotated_by_the_confined_server(cluster: Lab) -> None:
    cluster.on("cp3", "truncate", "--size=101M", AUDIT_LOG)
    cluster.on("cp3", "systemctl", "kill", "--kill-who=main", "--signal=KILL", "kube-apiserver")
    size = ["find", "/var/log/kubernetes", "-type", "f", "-printf", "%f %s %m\\n"]

    def rotated() -> bool:
        files = {name: (int(size), mode) for name, size, mode in map(str.split, cluster.on("cp3", *size).splitlines())}
        current = files.get("audit.log", (101 << 20, ""))
        return len(files) > 1 and 0 < current[0] < 100 << 20 and {mode for _, mode in files.values()} == {"600"}

    until(rotated, 30, "audit.log begun anew beside the old one", interval=0.5)
    cluster.on("cp3", "find", "/var/log/kubernetes", "-name", "audit-*.log", "-delete")


def test_a_pod_that_is_not_baseline_is_named_and_a_service_that_takes_addresses_is_refused(cluster: Lab) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bold"}, "spec": {
        "hostNetwork": True, "containers": [{"name": "c", "image": "kubewright.local/busybox:1"}]}}
    assert 'would violate PodSecurity "baseline:latest"' in tried(cluster, pod)
    assert "PodSecurity" not in tried(cluster, pod | {"metadata": {"name": "bold", "namespace": "kube-system"}})
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "thief"},
               "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}}
    assert "externalIPs" in tried(cluster, service) and "forbidden" in tried(cluster, service)


def tried(lab: Lab, body: Mapping[str, Any]) -> str:
    """Return all that kubectl says when the object is put to the API server, which does not keep it."""
    call = lab.kubectl_call("create", "--dry-run=server", "-f", "-")
    done = subprocess.run(call, input=json.dumps(body), capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr
