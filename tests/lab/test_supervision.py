"""What runs is kept running: every unit comes back from `kill -9`, and what serves others does not take them along."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from provisioner.model.ports import (
    APISERVER,
    CONTROLLER_MANAGER,
    ETCD_METRICS,
    FLANNEL_HEALTH,
    KUBE_PROXY_HEALTH,
    KUBELET_HEALTH,
    LOCAL_API,
    SCHEDULER,
)
from tests.lab.conftest import Lab, until
from tests.lab.figures import record
from tests.lab.hostside import ask, at_once, crash_and_probe

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

READY = 10.0        # seconds in which a killed unit must be of use again
WATCHDOG = 45.0     # seconds in which a kubelet that hangs must be: 30 s of silence, then its start
CA = "/etc/kubernetes/pki/ca.crt"

# Each unit of ours on one host, so that the hosts can be worked on at the same time.
UNITS = {
    "etcd": "cp1", "kube-apiserver": "cp1",
    "kube-controller-manager": "cp2", "kube-scheduler": "cp2",
    "haproxy": "cp3", "keepalived": "cp3",
    "containerd": "w1", "kubelet": "w1",
    "kube-proxy": "w2", "flanneld": "w2",
}


def http(port: int, path: str = "/healthz", address: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    scheme = "https" if more else "http"
    return {"name": f"{address}:{port}{path}", "kind": "http", "url": f"{scheme}://{address}:{port}{path}",
            "status": 200, **more}


def tcp(port: int) -> dict[str, Any]:
    return {"name": f"port {port}", "kind": "tcp", "address": "127.0.0.1", "port": port}


def probes(unit: str) -> list[dict[str, Any]]:
    """Return what makes the unit ready: active, and where it has one its health port answers.

    containerd says ready to systemd; keepalived has no port. Whether the VIP moves well is another test's.
    """
    health = {
        "etcd": [http(ETCD_METRICS, "/readyz")],
        "kube-apiserver": [http(APISERVER, "/readyz", "10.77.0.11", ca=CA)],
        "kube-controller-manager": [tcp(CONTROLLER_MANAGER)],
        "kube-scheduler": [tcp(SCHEDULER)],
        "haproxy": [http(LOCAL_API, "/readyz", ca=CA)],
        "kubelet": [http(KUBELET_HEALTH)],
        "kube-proxy": [http(KUBE_PROXY_HEALTH)],
        "flanneld": [http(FLANNEL_HEALTH)],
    }
    return [{"name": unit, "kind": "unit", "unit": f"{unit}.service"}, *health.get(unit, [])]


def units_of(host: str) -> list[str]:
    return [unit for unit, its_host in UNITS.items() if its_host == host]


def test_every_unit_is_ready_again_10_seconds_after_kill_9(cluster: Lab) -> None:
    def crash(unit: str) -> tuple[float, list[str]]:
        return crash_and_probe(cluster, UNITS[unit], f"{unit}.service", probes(unit), 3 * READY)

    def crash_others(host: str) -> dict[str, tuple[float, list[str]]]:
        return {unit: crash(unit) for unit in units_of(host) if unit != "kube-apiserver"}

    # Alone, as on a machine of its own: to start, it needs a processor for seconds, and the five nodes share two.
    took = {"kube-apiserver": crash("kube-apiserver")}
    outcomes = at_once({host: partial(crash_others, host) for host in dict.fromkeys(UNITS.values())})
    took |= {unit: outcome for of_host in outcomes.values() for unit, outcome in of_host.items()}
    assert took.keys() == UNITS.keys()
    record("a unit is ready again after kill -9", [s for s, _ in took.values()], unit="s", limit=READY,
           units={unit: s for unit, (s, _) in took.items()})
    assert not {u: missing for u, (_, missing) in took.items() if missing}
    assert not {u: s for u, (s, _) in took.items() if s > READY}


# Kills the unit whenever systemd calls it active; prints how often.
KILL_WHENEVER_UP = ('end=$(($(date +%s) + $2)); n=0; while [ "$(date +%s)" -lt "$end" ]; do '
                    'systemctl is-active -q "$1" && systemctl kill --kill-whom=main -s KILL "$1" 2>/dev/null '
                    '&& n=$((n + 1)); sleep 0.3; done; echo $n')


@pytest.mark.full        # that systemd gives up none of its own: tests/unit/compile/test_compile_hosts.py
@pytest.mark.parametrize("seconds", [10, 60])
def test_no_unit_is_given_up_that_is_killed_whenever_it_is_up(cluster: Lab, seconds: int) -> None:
    def keep_killing(unit: str) -> int:
        return int(cluster.on(UNITS[unit], "sh", "-c", KILL_WHENEVER_UP, "sh", f"{unit}.service", str(seconds)))

    kills = at_once({unit: partial(keep_killing, unit) for unit in UNITS})
    states = {u: cluster.on(h, "systemctl", "is-active", u, check=False).strip() for u, h in UNITS.items()}
    wanted = {h: [p for unit in units_of(h) for p in probes(unit)] for h in UNITS.values()}
    answers = at_once({h: partial(ask, cluster, h, "probe", {"probes": p, "deadline": 60}) for h, p in wanted.items()})
    record(f"kills survived in {seconds} s", [float(n) for n in kills.values()], unit="kills", units=kills)
    assert "failed" not in states.values(), states
    assert min(kills.values()) >= 1, f"each came back and was killed again: {kills}"
    # An API server is seldom up while its etcd is killed, nor a kubelet while its containerd is.
    free = [n for unit, n in kills.items() if unit not in ("kube-apiserver", "kubelet")]
    assert min(free) >= 1 + seconds // 30, f"each came back and was killed again: {kills}"
    assert all(a["ok"] for a in answers.values()), answers
    cluster.run("ready", "--timeout", "120")


STEADY = """
apiVersion: v1
kind: Pod
metadata: {name: steady}
spec:
  nodeName: w1
  terminationGracePeriodSeconds: 1
  containers:
  - {name: one, image: kubewright.local/busybox:1, imagePullPolicy: Never, command: [sleep, '100000']}
  - {name: two, image: kubewright.local/busybox:1, imagePullPolicy: Never, command: [sleep, '100000']}
"""

# That Pod's containers and its sandbox, with process id and start time (clock ticks).
CONTAINERS = (
    "t='{{.info.pid}}'; "
    "{ for c in $(crictl ps -q --label io.kubernetes.pod.name=steady); do "
    "echo $c $(crictl inspect -o go-template --template $t $c); done; "
    "for p in $(crictl pods -q -s ready --name '^steady$'); do "
    "echo $p $(crictl inspectp -o go-template --template $t $p); done; } | "
    "while read -r id pid; do echo \"$id $pid $(sed 's/.*) //' /proc/$pid/stat | cut -d' ' -f20)\"; done | sort")


@pytest.fixture
def steady(cluster: Lab) -> Iterator[Lab]:
    cluster.kubectl("apply", "-f", "-", stdin=STEADY)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/steady", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=STEADY)


def test_containers_run_on_while_containerd_and_the_kubelet_restart(steady: Lab) -> None:
    before = steady.on("w1", "sh", "-c", CONTAINERS).splitlines()
    assert len(before) >= 3, f"two containers and their sandbox: {before}"
    for unit in ("containerd", "kubelet"):
        steady.on("w1", "systemctl", "restart", f"{unit}.service")
        answer = ask(steady, "w1", "probe", {"probes": probes(unit), "deadline": 30})
        assert answer["ok"], answer
        assert steady.on("w1", "sh", "-c", CONTAINERS).splitlines() == before, unit
    restarted = float(steady.on("w1", "date", "+%s"))
    until(lambda: heard_from(steady, "w1") >= restarted, 60, "the kubelet has told the API that it lives")
    assert steady.on("w1", "sh", "-c", CONTAINERS).splitlines() == before
    restarts = steady.kubectl("get", "pod", "steady", "-o", "jsonpath={.status.containerStatuses[*].restartCount}")
    assert restarts.split() == ["0", "0"]


def heard_from(lab: Lab, node: str) -> float:
    """Return when the node's kubelet last renewed its lease, in seconds since 1970."""
    lease = lab.kubectl("get", "lease", node, "-n", "kube-node-lease", "-o", "jsonpath={.spec.renewTime}")
    return datetime.fromisoformat(lease).timestamp()


# Stops the kubelet's process and waits for another one in its place.
HANG = ('pid=$(systemctl show -p MainPID --value kubelet); [ "$pid" -gt 0 ] || exit 9; cut -d" " -f1 /proc/uptime; '
        'kill -STOP "$pid"; end=$(($(date +%s) + 90)); while [ -e "/proc/$pid" ] && [ "$(date +%s)" -lt "$end" ]; '
        'do sleep 0.1; done')


@pytest.mark.full
def test_a_kubelet_that_hangs_is_restarted_by_its_watchdog(cluster: Lab) -> None:
    began = float(cluster.on("w2", "sh", "-c", HANG))
    answer = ask(cluster, "w2", "probe", {"probes": probes("kubelet"), "deadline": 30})
    took = float(cluster.on("w2", "cut", "-d", " ", "-f1", "/proc/uptime")) - began
    record("a kubelet that hangs is ready again", [took], unit="s", limit=WATCHDOG)
    assert answer["ok"], answer
    assert took <= WATCHDOG
