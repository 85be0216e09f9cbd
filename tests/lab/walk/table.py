"""The points of the walk: for each phase a host, the place where a process of ours dies there, and a change to be made.

Places differ from phase to phase: a name half given, bytes half written, all written and nothing restarted, all done
and no result noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from provisioner.lab import nodes
from tests.lab.machines import CONTROL_PLANES, Lab
from tests.lab.walk.killing import Blow

Change = Callable[[Lab, str, int], None]
"""Makes the host differ from what is wanted in one phase: (lab, host, number). No two numbers give the same."""


@dataclass(frozen=True)
class Leg:
    """One phase on one host; without a blow the phase has no process of ours there.

    `step` names the phase in whose step a first start makes this one's changes, where that is another: the process
    dies inside of that one.
    """

    phase: str
    host: str
    blow: Blow | None = None
    change: Change | None = None
    wide: Change | None = None      # in place of `change` where the process is struck: on every control plane
    step: str = ""

    def __str__(self) -> str:
        return self.phase

    @property
    def moments(self) -> tuple[str, ...]:
        if self.step:
            return ("inside",)
        return ("before", "inside", "after") if self.blow else ("before", "after")

    def is_alone(self, moment: str) -> bool:
        """Say whether `up` is killed without what it started, which must notice: inside, where the host is a worker."""
        return moment == "inside" and self.host.startswith("w")


@contextmanager
def edited(lab: Lab) -> Iterator[dict[str, Any]]:
    """Let the block change the inventory as a document."""
    document = yaml.safe_load(lab.file.read_text(encoding="utf-8"))
    yield document
    lab.file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def flag(component: str, name: str, value: Callable[[int], object], *, everywhere: bool = False) -> Change:
    """Return the change of one flag, on one host or, one after the other, on all control planes."""
    def change(lab: Lab, host: str, number: int) -> None:
        with edited(lab) as document:
            for one in CONTROL_PLANES if everywhere else (host,):
                _section(document["hosts"][one], component).setdefault("flags", {})[name] = value(number)
    return change


def field(component: str, name: str, value: Callable[[int], object]) -> Change:
    """Return the change of one field of a component's configuration on one host."""
    def change(lab: Lab, host: str, number: int) -> None:
        with edited(lab) as document:
            _section(document["hosts"][host], component)[name] = value(number)
    return change


def one_more_or_less(lab: Lab, host: str, number: int) -> None:
    """Let the cluster have three CoreDNS, and when it has them, two."""
    with edited(lab) as document:
        section = _section(document, "coredns")
        section["replicas"] = 5 - section.get("replicas", 2)


def _section(place: dict[str, Any], component: str) -> dict[str, Any]:
    found: dict[str, Any] = place.setdefault("config", {}).setdefault(component, {})
    return found


def on_disk(lab: Lab, host: str) -> Path:
    return nodes.paths(lab.instance, host).root


def sysctl_off(lab: Lab, host: str, number: int) -> None:
    lab.on(host, "sysctl", "-qw", "net.ipv4.ip_forward=0")


def crictl_gone(lab: Lab, host: str, number: int) -> None:
    (program,) = on_disk(lab, host).glob("opt/kubewright/*/*/crictl")
    program.unlink()


def certificate_gone(lab: Lab, host: str, number: int) -> None:
    (on_disk(lab, host) / "etc/kubernetes/pki/kube-proxy.crt").unlink()


def containerd_edited(lab: Lab, host: str, number: int) -> None:
    with (on_disk(lab, host) / "etc/containerd/config.toml").open("a", encoding="utf-8") as file:
        file.write(f"# {number}\n")


def _temporary(path: str) -> str:
    head, _, tail = path.rpartition("/")
    return f"{head}/.{tail}.kubewright-tmp"


RESULT = _temporary("/var/lib/kubewright/steps/{step}/result.json")
STARTED = "/run/kubewright/started"
pods = field("kubelet", "maxPods", lambda n: 111 + n)

EMPTY = (
    Leg("prepare", "w1", Blow("rename", nth=30, process="dpkg")),
    Leg("stage", "cp2", Blow("rename", nth=3, process="store")),
    Leg("runtime", "w2", Blow("rename", _temporary("/etc/systemd/system/containerd.service")), step="pki"),
    Leg("etcd", "cp3", Blow("openat", f"{STARTED}/etcd.service"), step="pki"),
    Leg("load-balancer", "cp1", Blow("fsync", "/etc/haproxy"), step="pki"),
    Leg("pki", "cp1", Blow("rename", _temporary("/etc/kubernetes/pki/apiserver.crt"))),
    Leg("runtime", "w2"),
    Leg("etcd", "cp3"),
    Leg("load-balancer", "cp1"),
    Leg("control-plane", "cp2", Blow("rename", _temporary("/etc/kubewright/inputs/kube-apiserver.service")),
        step="pki"),
    Leg("control-plane", "cp2"),
    Leg("controllers", "cp3", Blow("rename", RESULT)),
    Leg("access", "cp1"),
    Leg("node", "w1", Blow("openat", f"{STARTED}/kubelet.service")),
    Leg("network", "w2", Blow("write", _temporary("/etc/kube-flannel/net-conf.json"))),
    Leg("addons", "cp1"),
    Leg("verify", "cp1", Blow("rename", _temporary("/etc/kubewright/cluster.yaml"))),
)

RUNNING = (
    Leg("prepare", "w1", change=sysctl_off),
    Leg("stage", "w1", Blow("rename", process="store"), crictl_gone),
    Leg("pki", "w1", Blow("rename", _temporary("/etc/kubernetes/pki/kube-proxy.crt")), certificate_gone),
    Leg("runtime", "w1", Blow("fsync", "/etc/containerd"), containerd_edited),
    Leg("etcd", "cp2", Blow("rename", _temporary("/etc/systemd/system/etcd.service")),
        flag("etcd", "snapshot-count", lambda n: 9000 + n),
        flag("etcd", "snapshot-count", lambda n: 9000 + n, everywhere=True)),
    Leg("load-balancer", "cp2", Blow("rename", _temporary("/etc/haproxy/haproxy.cfg")),
        field("haproxy", "maxconn", lambda n: 4000 + n)),
    Leg("control-plane", "cp2", Blow("openat", f"{STARTED}/kube-apiserver.service"),
        flag("kube-apiserver", "event-ttl", lambda n: f"{60 + n}m0s"),
        flag("kube-apiserver", "event-ttl", lambda n: f"{60 + n}m0s", everywhere=True)),
    Leg("controllers", "cp2", Blow("rename", RESULT), flag("kube-scheduler", "kube-api-qps", lambda n: 50 + n)),
    Leg("access", "cp1", change=pods),
    Leg("node", "w1", Blow("write", _temporary("/var/lib/kubelet/config.yaml")), pods),
    Leg("network", "w1", Blow("openat", f"{STARTED}/flanneld.service"),
        flag("flannel", "iptables-resync", lambda n: 5 + n)),
    Leg("addons", "cp1", change=one_more_or_less),
    Leg("verify", "cp2", Blow("rename", _temporary("/etc/kubewright/cluster.yaml")), pods),
)
