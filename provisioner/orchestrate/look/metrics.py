"""`status` as numbers: what a monitoring that asks every minute can draw and alert on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provisioner.model.etcd import quorum
from provisioner.orchestrate.look.status import HostStatus, Status
from provisioner.report.openmetrics import Gauge

Sample = tuple[dict[str, str], float]
_YES_NO = {"ok": 1.0, "Ready": 1.0, "down": 0.0, "NotReady": 0.0, "absent": 0.0}


def gauges(seen: Status, moment: float) -> list[Gauge]:
    """Return every metric of a look that ended at `moment`, in a fixed order. Of what was not seen there is no sample.

    The moment is a value of its own: a file that nobody writes any more is scraped as if it were new.
    """
    hosts = seen.hosts
    return [
        Gauge("kubewright_healthy", "1 when status finds nothing to tell, else 0.", (({}, float(seen.healthy)),)),
        Gauge("kubewright_cluster_info", "Always 1; the labels say which cluster was looked at.",
              (({"cluster": seen.cluster, "kubernetes": seen.kubernetes, "api": seen.api}, 1.0),)),
        Gauge("kubewright_findings", "Findings of the look, by severity; unseen is neither healthy nor unhealthy.",
              tuple(({"severity": severity}, float(sum(1 for f in seen.findings if f.severity == severity)))
                    for severity in ("error", "warning", "unseen"))),
        Gauge("kubewright_host_seen", "1 when the host answered SSH and was looked at.",
              tuple(({"host": host.host}, float(host.drift is not None)) for host in hosts) if seen.built else ()),
        Gauge("kubewright_unit_up", "1 when the systemd unit runs.",
              tuple(({"host": host.host, "unit": unit}, float(up))
                    for host in hosts for unit, up in host.units.items())),
        Gauge("kubewright_api_server_ready", "1 when the host's own API server says that it is ready.",
              _judged((host.host, host.api) for host in hosts)),
        Gauge("kubewright_node_ready", "1 when the API says that the Node is Ready.",
              _judged((host.host, host.kubelet) for host in hosts)),
        *_etcd(hosts),
        Gauge("kubewright_certificate_left_seconds", "Seconds until the first of the host's certificates expires.",
              tuple(({"host": host.host}, host.certs_left) for host in hosts if host.certs_left is not None)),
        Gauge("kubewright_drift_items", "What differs on the host from the inventory.",
              tuple(({"host": host.host}, float(host.drift)) for host in hosts if host.drift is not None)),
        Gauge("kubewright_vip_holder", "1 on the host that has the VIP.", tuple(_vip(seen))),
        Gauge("kubewright_haproxy_backend_up", "1 when the host's HAProxy gives the API server new connections.",
              tuple(({"host": host.host, "server": server}, float(up))
                    for host in hosts for server, up in host.backends.items())),
        Gauge("kubewright_looked_at_seconds", "When this look ended, in seconds since 1970.", (({}, moment),)),
        Gauge("kubewright_look_seconds", "Seconds that this look took.", (({}, seen.seconds),)),
    ]


def _judged(answers: Iterable[tuple[str, str]]) -> tuple[Sample, ...]:
    return tuple(({"host": host}, _YES_NO[said]) for host, said in answers if said in _YES_NO)


def _etcd(hosts: Iterable[HostStatus]) -> Iterator[Gauge]:
    """Yield how many members there are and answer; the margin only where each was asked."""
    said = [host.etcd for host in hosts if host.etcd != "-"]
    up = sum(1 for word in said if word not in ("?", "down"))
    yield Gauge("kubewright_etcd_members", "Members of etcd that the inventory asks for.", (({}, float(len(said))),))
    yield Gauge("kubewright_etcd_members_up", "Members that answer.", (({}, float(up)),) if "?" not in said else ())
    margin = up - quorum(len(said))
    yield Gauge("kubewright_etcd_quorum_margin", "Members that may still be lost; below 0 nothing can be written.",
                (({}, float(margin)),) if said and "?" not in said else ())


def _vip(seen: Status) -> Iterator[Sample]:
    if seen.vip_holder in ("-", "?"):
        return
    holders = seen.vip_holder.split(", ")
    yield from (({"host": host.host}, float(host.host in holders)) for host in seen.hosts if "lb" in host.roles.split())
