"""What `config:` sets is judged by every version on the way, not by the last alone."""

from __future__ import annotations

from provisioner.decide.hop_config import not_taken
from provisioner.decide.skew import State, laid_out, pinned
from provisioner.decide.upgrade import Hop, plan
from provisioner.model.cluster import Cluster
from tests.unit.compile.compile_fixture import inventory, lock_beside

SYNCS = {"kube-controller-manager": {"flags": {"concurrent-service-syncs": 2}}}


def hops(cluster: Cluster, before: str, after: str) -> tuple[Hop, ...]:
    state: State = laid_out(cluster, lock_beside(before))
    way = plan(state, pinned(lock_beside(after)))
    assert way.refused == () and way.hops
    return way.hops


def test_a_flag_that_goes_on_the_way_is_named_before_anything_is_touched() -> None:
    cluster = inventory(kubernetes="1.37.2", config=SYNCS)
    [fault] = not_taken(cluster, hops(cluster, "1.36.3", "1.37.2"))
    assert fault == ("config.kube-controller-manager.flags.concurrent-service-syncs: kube-controller-manager 1.37.2 "
                     "has no flag `concurrent-service-syncs`; it went after 1.36.3")


def test_a_host_of_its_own_mind_is_named_too() -> None:
    hosts = {"cp1": {"address": "10.77.0.11", "roles": ["etcd", "control-plane", "worker"], "config": SYNCS}}
    cluster = inventory(kubernetes="1.37.2", hosts=hosts)
    [fault] = not_taken(cluster, hops(cluster, "1.36.3", "1.37.2"))
    assert fault.startswith("hosts.cp1.config.kube-controller-manager.flags.concurrent-service-syncs: ")


def test_kubelets_that_stay_behind_are_asked_by_their_own_version() -> None:
    """In the hop of etcd, nodes are at 1.36.3, which does not take what comes with 1.37.2."""
    cluster = inventory(kubernetes="1.37.2", config={"kubelet": {"defaultPodSysctls": {"net.core.somaxconn": "1024"}}})
    [fault] = not_taken(cluster, hops(cluster, "1.36.3", "1.37.2"))
    assert fault == ("config.kubelet.defaultPodSysctls: kubelet 1.36.3 has no field `defaultPodSysctls`; it comes with "
                     "1.37.2")


def test_an_etcd_that_moves_before_kubernetes_is_asked_as_well() -> None:
    flag = "experimental-compaction-batch-limit"
    cluster = inventory(kubernetes="1.37.2", config={"etcd": {"flags": {flag: 1000, "snapshot-count": 5000}}})
    way = hops(cluster, "1.36.3", "1.37.2")
    assert (way[0].kubernetes, str(way[0].versions["etcd"])) == ("1.36.3", "3.7.3")
    assert not_taken(cluster, way[:1]) == (f"config.etcd.flags.{flag}: etcd 3.7.3 has no flag `{flag}`",)
    assert len(not_taken(cluster, way)) == 1


def test_what_every_version_takes_is_not_named() -> None:
    cluster = inventory(kubernetes="1.37.2", config={"kubelet": {"maxPods": 100, "failCgroupV1": False}})
    assert not_taken(cluster, hops(cluster, "1.36.3", "1.37.2")) == ()
