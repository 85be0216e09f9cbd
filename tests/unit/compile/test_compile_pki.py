"""What a renewed certificate takes with it: exactly the units that read it, on its own host."""

from __future__ import annotations

import pytest

from provisioner.compile import pki
from provisioner.compile.diff import compare
from provisioner.compile.networks import flannel
from provisioner.model.certificate import CertificateSeen
from provisioner.model.desired import Certificate, File
from provisioner.model.observed import HostObserved, ObservedItem
from tests.unit.compile.compile_fixture import compiled, facts_of, inventory

NOW = 1_800_000_000.0
DAY = 86400.0
DESIRED = compiled()
FACTS = facts_of(inventory())

# certificate -> what has it open, and the API server that goes down with its member; nothing for those that only a
# person or this tool uses
READERS = {
    pki.ETCD_SERVER: ["restart etcd.service", "restart kube-apiserver.service"],
    pki.ETCD_PEER: ["restart etcd.service", "restart kube-apiserver.service"],
    pki.ETCD_HEALTH: [],
    pki.APISERVER: ["restart kube-apiserver.service"],
    pki.APISERVER_ETCD: ["restart kube-apiserver.service"],
    pki.APISERVER_KUBELET: ["restart kube-apiserver.service"],
    pki.FRONT_PROXY: ["restart kube-apiserver.service"],
    pki.CONTROLLER_MANAGER: ["restart kube-controller-manager.service"],
    pki.SCHEDULER: ["restart kube-scheduler.service"],
    pki.ADMIN: [],
    pki.KUBELET_CLIENT: ["restart kubelet.service", "restart flanneld.service"],
    pki.KUBELET_SERVING: ["restart kubelet.service"],
    pki.KUBE_PROXY: ["restart kube-proxy.service"],
    pki.HAPROXY: ["reload haproxy.service"],
}


def seen_of(item: Certificate, days_left: float) -> CertificateSeen:
    end = NOW + days_left * DAY
    return CertificateSeen(item.common_name, item.organization, item.dns_names, item.ip_addresses, item.server,
                           item.client, end - 365 * DAY, end, item.ca)


def plan_when_old(path: str) -> list[tuple[str, str]]:
    """Return (host, action and path) of every change when one certificate of cp1 has 20 of its 365 days left."""
    observed, certificates = {}, {}
    for host in DESIRED.hosts.values():
        states = {}
        for item in host.items:
            state = item.want() or "absent"
            if isinstance(item, Certificate):
                state = f"certificate sha256:aa key-ok {item.key_mode:04o} {item.owner}:{item.group}"
                old = (host.name, item.path) == ("cp1", path)
                certificates[host.name, item.path] = seen_of(item, 20.5 if old else 300)
            states[item.kind, item.path] = ObservedItem(item.kind, item.path, state)
        observed[host.name] = HostObserved(host.name, FACTS[host.name], states)
    changes = compare(DESIRED, observed, certificates, NOW)
    assert changes[0].reason == "expires in 20 days: below 30 % of its life"
    return [(c.host, f"{c.action} {c.path}") for c in changes]


def test_every_certificate_of_the_table_has_its_readers_here() -> None:
    assert set(READERS) == set(pki.TABLE)


@pytest.mark.parametrize("leaf", READERS, ids=lambda leaf: leaf.path.rpartition("/")[2])
def test_a_renewal_restarts_exactly_the_units_that_read_the_certificate(leaf: pki.Leaf) -> None:
    assert plan_when_old(leaf.path) == [("cp1", f"change {leaf.path}"), *(("cp1", act) for act in READERS[leaf])]


def test_what_we_allow_a_name_that_nodes_have_in_common_is_to_read() -> None:
    by_name = {o.body["metadata"]["name"]: o.body for o in DESIRED.objects if o.body["kind"] == "ClusterRole"}
    control_planes = {pki.ADMIN_GROUP, pki.KUBELET_CLIENT_USER}
    verbs = {verb for o in DESIRED.objects if o.body["kind"] == "ClusterRoleBinding"
             for subject in o.body["subjects"]
             if subject["kind"] != "ServiceAccount" and subject["name"] not in control_planes
             for rule in by_name[o.body["roleRef"]["name"]]["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}


def test_flannel_writes_to_the_api_as_its_own_node() -> None:
    for host in DESIRED.hosts.values():
        item = next(i for i in host.items if i.path == flannel.KUBECONFIG)
        assert isinstance(item, File) and f"system:node:{host.name}" in item.content
        assert pki.KUBELET_CLIENT.path in item.content
