"""The order in which Kubernetes starts on nodes that were put back: all at once, each takes the others' time.

One API server begins, with etcd, load balancers and container runtimes. What makes the Pods' network comes when it
listens, for who asks before that asks again after ever longer pauses. Kubelets come when there is that network: what
Pods send before is answered to nobody for seconds. The rest comes while metrics-server measures, as in a first `up`.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from provisioner.lab import cgroups, nodes
from provisioner.model.cluster import Cluster, Host
from provisioner.model.components import TABLE, units_on
from provisioner.model.endpoint import Endpoint
from provisioner.model.families import DEFAULT
from provisioner.model.ports import APISERVER
from tests.lab.machines import ROOTS, Lab, until

BOOTING = 240.0         # seconds that a wave is waited for, on a busy machine
# Seconds after metrics-server listens before it is worth asking: it looks twice, 10 s apart, and is probed each second.
# Who asks for all takes two seconds to come to it, and asks once more for all, 2.7 s, where it was not ready.
MEASURING = 8.8
API, RUNTIME, KUBELET = {"kube-apiserver"}, {"containerd"}, {"kubelet"}
NETWORK, CONTROLLERS = {"kube-proxy", "flannel", "network-watch"}, {"kube-controller-manager", "kube-scheduler"}
METRICS = "metrics-server"
LISTENS = re.compile(r":280A [0-9A-F]+:0000 0A ")      # a line of /proc/PID/net/tcp: its port, 10250


class Wave(NamedTuple):
    """Units by host, started once every look has held, each waited for in turn.

    For so many seconds of `patience` after it nothing is to be expected.
    """

    when: str
    looks: Sequence[Callable[[], bool]]
    units: Mapping[str, Sequence[str]]
    patience: float = 0.0


@dataclass(frozen=True)
class Order:
    """Who starts when: `first` has the API server that begins, `last` are control planes without a Pod."""

    first: Host
    others: tuple[Host, ...]        # control planes with Pods: their API servers start with the last
    early: tuple[Host, ...]         # whose nodes start early: with Pods, or workers, or the first
    last: tuple[Host, ...]


def order(cluster: Cluster, bear: Collection[str]) -> Order:
    """Return the order for a cluster of which these nodes bear Pods."""
    first = next((h for h in cluster.control_planes if h.name in bear), cluster.control_planes[0])
    last = tuple(h for h in cluster.control_planes if h.name not in {*bear, first.name})
    early = tuple(h for h in cluster.nodes if h not in last)
    return Order(first, tuple(h for h in cluster.control_planes if h in early and h != first), early, last)


def hold(lab: Lab) -> tuple[Wave, ...]:
    """Stop Kubernetes, let it not start at boot, and return what `let_go` starts then."""
    pods = [pod for pod in json.loads(lab.kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]]
    measure = [pod["spec"]["nodeName"] for pod in pods if pod["spec"]["containers"][0]["name"] == METRICS]
    who = order(lab.inventory.cluster, {pod["spec"]["nodeName"] for pod in pods})
    waves = (
        Wave("an API server listens", [lambda: lab.asked(Endpoint(who.first.address, APISERVER)) > 0],
             units(lab.inventory.cluster, who.early, NETWORK)),
        Wave("Pods have a network", [partial(_has_network, lab, host.name) for host in who.early],
             units(lab.inventory.cluster, who.early, KUBELET)),
        Wave("metrics-server listens", [partial(_listens, lab, host) for host in measure],
             {**units(lab.inventory.cluster, [who.first], CONTROLLERS),
              **units(lab.inventory.cluster, who.others, API | CONTROLLERS),
              **units(lab.inventory.cluster, who.last, API | RUNTIME | KUBELET | NETWORK | CONTROLLERS)},
             MEASURING if measure else 0.0),
    )
    for host in lab.inventory.cluster.nodes:
        held = [unit for wave in waves for unit in wave.units.get(host.name, ())]
        lab.on(host.name, "systemctl", "disable", "--quiet", "--now", *held)
    return waves


def let_go(lab: Lab, waves: Iterable[Wave]) -> float:
    """Start what is held, a wave at a time on all hosts at once, and from now on at boot again.

    Return the monotonic time before which not all of it can be well.
    """
    not_before = time.monotonic()
    for wave in waves:
        for look in wave.looks:
            until(look, BOOTING, wave.when, 0.1)
        not_before = time.monotonic() + wave.patience
        starts = [subprocess.Popen(lab.entered(name, "systemctl", "enable", "--quiet", "--no-reload", "--now",
                                               "--no-block", *held), env=ROOTS) for name, held in wave.units.items()]
        codes = [start.wait(60) for start in starts]
        assert not any(codes), f"what waits until {wave.when} cannot be started"
    return not_before


def units(cluster: Cluster, hosts: Iterable[Host], names: Collection[str]) -> dict[str, list[str]]:
    """Return the units of these components on each of these hosts, in the order of the table."""
    among = {unit for row in TABLE if row.name in names for unit in row.units}
    return {host.name: [unit for unit in units_on(cluster, host, DEFAULT) if unit in among] for host in hosts}


def _has_network(lab: Lab, host: str) -> bool:
    init = nodes.init_pid(lab.instance, host)
    return init is not None and Path(f"/proc/{init}/root/run/flannel/subnet.env").exists()


def _listens(lab: Lab, host: str) -> bool:
    """Say whether a metrics-server on the node listens: what the API remembers of it may be from before the boot."""
    return any(LISTENS.search(_read(pid, "net/tcp6") + _read(pid, "net/tcp"))
               for pid in cgroups.node_members(lab.instance, host) if _read(pid, "comm").strip() == METRICS)


def _read(pid: int, name: str) -> str:
    """Return what the kernel tells of a process, nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8")
    except OSError:
        return ""
