"""What `doctor` tells: all that `status` asks, and what lies below it on each host, in one look that only reads.

Each host is asked one more question, all at once; the API is asked again only where `status` has seen it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from provisioner.errors import KubewrightError
from provisioner.model.components import units_on
from provisioner.model.etcd import EtcdReads
from provisioner.model.examination import Examination
from provisioner.operate import etcd, haproxy
from provisioner.operate.doctor import machines, members, questions, reach
from provisioner.operate.doctor.diagnosis import Diagnosis, diagnose
from provisioner.operate.doctor.picture import Picture
from provisioner.operate.snapshots import newest, of_all
from provisioner.orchestrate.gates.health import Sight
from provisioner.orchestrate.look import certificates, disk_samples, status
from provisioner.orchestrate.plan.survey import read_certificates
from provisioner.orchestrate.session.session import Session
from provisioner.parallel import ask_all

PODS = "/api/v1/namespaces/kube-system/pods"
ETCD = "etcd.service"
AT_ONCE = 9         # members that are read from at the same time: without a majority each lets one wait


@dataclass(frozen=True)
class Checkup:
    """One look: what `status` tells, what was diagnosed, and the figures that a healthy cluster is told with."""

    status: status.Status
    diagnosis: Diagnosis
    margin: str
    in_service: tuple[int, int]
    seconds: float
    picture: Picture

    @property
    def healthy(self) -> bool:
        return self.status.built and self.diagnosis.healthy

    @property
    def least_days(self) -> int | None:
        """Return after how many days the first certificate ends; None where none was seen."""
        return int(min(self.picture.certificates.values())) if self.picture.certificates else None

    def to_json(self) -> dict[str, Any]:
        """Return the document of `doctor -o json`, without its schema's version."""
        return {"cluster": self.status.cluster, "healthy": self.healthy, "kubernetes": self.status.kubernetes,
                "api": self.status.api, "vip_holder": self.status.vip_holder, "etcd": self.margin,
                "api_servers_in_service": self.in_service[0], "api_servers": self.in_service[1],
                "certificates_days": self.least_days,
                "findings": [one.to_json() for one in self.diagnosis.told],
                "not_looked_at": [f.to_json() for f in self.diagnosis.unseen], "seconds": self.seconds}


def look(session: Session, kubeconfigs: Mapping[str, str] | None = None) -> Checkup:
    """Look at everything; raises Unreachable only when no host answers SSH. Keeps here how full disks were.

    `kubeconfigs` are those on this machine: path -> PEM of the client certificate in it.
    """
    began = time.monotonic()
    below = Below()
    seen, sight = status.look_closely(session, lambda: _look_below(session, below))
    picture = _picture(session, sight, below) if seen.built else Picture(session.cluster, time.time())
    found = [*seen.findings, *(questions.judge(picture) if seen.built else ()),
             *certificates.here(session, kubeconfigs or {})]
    margin = members.margin_of(picture) if seen.built else ""
    disk_samples.keep(session.target.inventory, picture.samples, picture.hosts, picture.now)
    return Checkup(seen, diagnose(found, _words(picture, margin)), margin, reach.in_service(picture),
                   round(time.monotonic() - began, 1), picture)


def _words(picture: Picture, margin: str) -> dict[str, str]:
    """Return what meanings and cures may name: of each kind the host to look at first."""
    cluster = picture.cluster
    return {"margin": margin[:1].upper() + margin[1:], "server": cluster.control_planes[0].name,
            "balancer": next((h.name for h in cluster.load_balancers), cluster.control_planes[0].name),
            "member": cluster.etcd_hosts[0].name}


@dataclass
class Below:
    """What is asked while `status` asks its own: each host of itself, each member to read in both ways."""

    examined: dict[str, Examination | KubewrightError] = field(default_factory=dict)
    reads: dict[str, EtcdReads] = field(default_factory=dict)


def _look_below(session: Session, below: Below) -> None:
    acts: Mapping[str, Callable[[], None]] = {
        "hosts": lambda: below.examined.update(session.hosts.map(
            lambda one: one.examine(question(session, one.name)), session.observed, patient=False)),
        "reads": lambda: _read(session, below),
    }
    ask_all(lambda act: acts[act](), acts, workers=len(acts), name="doctor")


def _read(session: Session, below: Below) -> None:
    """Read from every member whose host answers, at once; that the way there is closed is told by `status`."""
    def read(host: str) -> None:
        with suppress(KubewrightError):
            below.reads[host] = etcd.reads(session.access.etcd(host))

    hosts = session.answering(session.cluster.etcd_hosts)
    ask_all(read, hosts, workers=AT_ONCE, name="reads")


def _picture(session: Session, sight: Sight, below: Below) -> Picture:
    now = time.time()
    pods, version = _api(session) if sight.nodes is not None else (None, None)
    return Picture(
        session.cluster, now, examined=below.examined, members=sight.members, reads=below.reads,
        servers={host: haproxy.seen_by(haproxy.said(seen)) for host, seen in session.observed.items()},
        nodes=sight.nodes, pods=pods, version=version,
        clocks={host: seen.clock_off for host, seen in session.observed.items()},
        certificates={key: (seen.not_after - now) / machines.DAY for key, seen in read_certificates(session).items()},
        samples=disk_samples.load(session.target.inventory),
        snapshots=of_all(newest(session.target.inventory.snapshots_dir, now),
                         status.kept_on_hosts(session, now)))


def _api(session: Session) -> tuple[list[dict[str, Any]] | None, str | None]:
    """Ask for Pods and the version; where the API is gone since it gave the Nodes, the next look tells it."""
    try:
        client = session.access.kube()
        return list(client.get(PODS).get("items", ())), str(client.get("/version").get("gitVersion", ""))
    except KubewrightError:
        return None, None


def question(session: Session, host: str) -> dict[str, Any]:
    """Return all that a host is asked, by what it is."""
    cluster = session.cluster
    machine = cluster.machine(host)
    units = units_on(cluster, machine, session.system_of(host))
    asked: dict[str, Any] = {"units": list(units), "directories": list(machines.DIRECTORIES),
                             "kernel": machines.KERNEL_PATTERN}
    if ETCD in units:
        asked["said"] = [{"unit": ETCD, "pattern": members.ELECTED, "since": members.HOUR}]
    if machine.is_node and host not in session.target.waits_for_cni:
        service = str(cluster.kubernetes_service_ip)
        asked["inside"] = {"names": "cni-", "server": cluster.dns_ip, "query": cluster.kubernetes_service_name,
                           "answer": service, "tcp": [service, 443]}
    return asked
