"""The order in which Kubernetes starts on nodes that were put back: all at once, each takes the others' time.

One API server begins, with etcd, load balancers and container runtimes. What makes the Pods' network comes when it
listens, for who asks before that asks again after ever longer pauses. Kubelets come when there is that network: what
Pods send before is answered to nobody for seconds. The rest comes while metrics-server measures, as in a first `up`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from provisioner.lab import cgroups, nodes
from provisioner.model.cluster import Host
from provisioner.model.components import TABLE, units_on
from provisioner.model.endpoint import Endpoint
from provisioner.model.families import DEFAULT
from provisioner.model.ports import APISERVER
from tests.lab.machines import ROOTS, Lab, until

BOOTING = 240.0         # seconds that a wave is waited for, on a busy machine
API, RUNTIME, KUBELET = {"kube-apiserver"}, {"containerd"}, {"kubelet"}
NETWORK, CONTROLLERS = {"kube-proxy", "flannel", "network-watch"}, {"kube-controller-manager", "kube-scheduler"}
METRICS = "metrics-server"
LISTENS = f":{10250:04X} 00000000000000000000000000000000:0000 0A"     # in /proc/PID/net/tcp6, of its port


@dataclass(frozen=True)
class Wave:
    """Units by host, and when they are started: when all that is looked at holds, each as long as it does not yet."""

    when: str
    looks: Sequence[Callable[[], bool]]
    units: Mapping[str, Sequence[str]]


def hold(lab: Lab) -> tuple[Wave, ...]:
    """Stop Kubernetes, let it not start at boot, and return what `let_go` starts then."""
    cluster = lab.inventory.cluster
    pods = "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{'\\n'}{end}"
    bears = [line.split() for line in lab.kubectl("get", "pods", "--all-namespaces", "-o", pods).splitlines()]
    last = [h for h in cluster.control_planes if h.name not in {node for _, node in bears}]
    last = last[1:] if len(last) == len(cluster.control_planes) else last
    early = [h for h in cluster.nodes if h not in last]
    first, *others = (h for h in early if h in cluster.control_planes)
    waves = (
        Wave("an API server listens", [lambda: lab.asked(Endpoint(first.address, APISERVER)) > 0],
             _units(lab, early, NETWORK)),
        Wave("Pods have a network", [partial(_has_network, lab, host.name) for host in early],
             _units(lab, early, KUBELET)),
        Wave("metrics-server listens", [partial(_listens, lab, node) for pod, node in bears if pod.startswith(METRICS)],
             {**_units(lab, [first], CONTROLLERS), **_units(lab, others, API | CONTROLLERS),
              **_units(lab, last, API | RUNTIME | KUBELET | NETWORK | CONTROLLERS)}),
    )
    for host in cluster.nodes:
        held = [unit for wave in waves for unit in wave.units.get(host.name, ())]
        lab.on(host.name, "systemctl", "disable", "--quiet", "--now", *held)
    return waves


def let_go(lab: Lab, waves: Iterable[Wave]) -> float:
    """Start what is held, a wave at a time on all hosts at once, and from now on at boot again.

    Return the monotonic time of the last wave.
    """
    came = time.monotonic()
    for wave in waves:
        for look in wave.looks:
            until(look, BOOTING, wave.when, 0.1)
        came = time.monotonic()
        starts = [subprocess.Popen(lab.entered(name, "systemctl", "enable", "--quiet", "--no-reload", "--now",
                                               "--no-block", *units), env=ROOTS) for name, units in wave.units.items()]
        assert not any([start.wait(60) for start in starts]), f"what waits until {wave.when} cannot be started"
    return came


def _units(lab: Lab, hosts: Iterable[Host], names: Collection[str]) -> dict[str, list[str]]:
    among = {unit for row in TABLE if row.name in names for unit in row.units}
    return {host.name: [unit for unit in units_on(lab.inventory.cluster, host, DEFAULT) if unit in among]
            for host in hosts}


def _has_network(lab: Lab, host: str) -> bool:
    init = nodes.init_pid(lab.instance, host)
    return init is not None and Path(f"/proc/{init}/root/run/flannel/subnet.env").exists()


def _listens(lab: Lab, host: str) -> bool:
    """Say whether a metrics-server on the node listens: what the API remembers of it may be from before the boot."""
    return any(_read(pid, "comm").strip() == METRICS and LISTENS in _read(pid, "net/tcp6")
               for pid in cgroups.node_members(lab.instance, host))


def _read(pid: int, name: str) -> str:
    """Return what the kernel tells of a process, nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
    except OSError:
        return ""
