"""Each shape of a cluster on real nodes: up, nothing to do, one change that nobody notices, and a reset to nothing.

And etcd and the VIP move to other hosts while the cluster serves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import figures, shapes
from tests.lab.machines import Lab, managed_mtimes, unit_ids
from tests.topologies import TOPOLOGIES, Topology

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.timeout(1200)]
BY_NAME = {t.name: t for t in TOPOLOGIES}
KUBELET: dict[str, dict[str, Any]] = {"kubelet": {"maxPods": 100}}
ROLLED: dict[str, dict[str, Any]] = {
    "etcd": {"flags": {"snapshot-count": 9000}}, "kube-apiserver": {"flags": {"event-ttl": "2h0m0s"}}}


@pytest.fixture(params=TOPOLOGIES, ids=[t.name for t in TOPOLOGIES])
def shape(request: pytest.FixtureRequest) -> Iterator[tuple[Topology, Lab]]:
    topology: Topology = request.param
    with shapes.standing(topology) as lab:
        yield topology, lab


def members(lab: Lab) -> list[str]:
    return sorted(str(row["host"]) for row in lab.json("status")["hosts"] if row["etcd"] not in ("-", ""))


def has_nothing_to_do(lab: Lab) -> None:
    hosts = list(lab.inventory.cluster.hosts)
    before = unit_ids(lab, hosts)
    assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    lab.run("up", "--yes")
    assert unit_ids(lab, hosts) == before


def test_a_shape_is_built_changed_unnoticed_and_reset_to_nothing(shape: tuple[Topology, Lab]) -> None:
    topology, lab = shape
    lab.run("up", "--yes")
    has_nothing_to_do(lab)
    assert members(lab) == sorted(topology.members)
    LOOKS.get(topology.name, lambda lab: None)(lab)

    # With one API server, and one member, what restarts it is noticed: see the figure of `alone`.
    shapes.configure(lab, **(ROLLED if topology.rolls else KUBELET))
    since = time.time()
    lab.run("up", "--yes")
    seen = shapes.unnoticed(lab, since)
    figures.record(f"{topology.name}: failed attempts in a rolling change", [seen["failures"]], unit="", limit=0,
                   attempts=seen["attempts"])
    if topology.name == "alone":
        shapes.configure(lab, **ROLLED)
        since = time.time()
        lab.run("up", "--yes")
        gap = next(e["data"]["gap_ms"] for e in lab.events(since) if e["type"] == "availability")
        figures.record("alone: the API is away while etcd and the API server change", [gap / 1000], unit="s")
    assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")

    lab.run("reset", "--yes")
    shapes.same_as_fresh(lab, topology, shapes.footprints(lab))


def _vip_is_in_its_own_network(lab: Lab) -> None:
    where = {host: shapes.address_of(lab, host, shapes.SECOND) for host in ("lb1", "lb2")}
    assert sum("10.78.0.10/32" in addresses for addresses in where.values()) == 1, where
    assert "cp1" in lab.kubectl("get", "nodes", "-o", "name")
    assert "server: https://10.78.0.10:6443" in (lab.directory / "kubeconfig").read_text(encoding="utf-8")


def _takes_pods(lab: Lab) -> None:
    assert lab.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.taints}").strip() == ""


def _goes_by_the_load_balancer(lab: Lab) -> None:
    assert "w1" in lab.kubectl("get", "nodes", "-o", "name")
    assert "server: https://10.77.0.1:16443" in (lab.directory / "kubeconfig").read_text(encoding="utf-8")
    for host in lab.inventory.cluster.hosts:
        assert "keepalived" not in lab.on(host, "systemctl", "list-unit-files", "--no-legend", "--no-pager")


# What is seen on nodes of one shape alone.
LOOKS: dict[str, Any] = {
    "balancers-apart": _vip_is_in_its_own_network, "alone": _takes_pods, "working-control-planes": _takes_pods,
    "balancer-of-others": _goes_by_the_load_balancer}


def test_etcd_and_the_vip_move_to_hosts_of_their_own_and_nobody_notices() -> None:
    """Three members, two of them on control planes, become three apart; then the VIP goes to two of those hosts."""
    apart = BY_NAME["etcd-apart"]
    roles = {"cp1": ["etcd", "control-plane", "load-balancer"],
             "cp2": ["etcd", "control-plane", "load-balancer", "worker"], "e2": [], "e3": []}

    def hosts(**roles: list[str]) -> dict[str, Any]:
        return {"hosts": {name: {**spec, "roles": roles.get(name, spec["roles"])}
                          for name, spec in apart.hosts.items()}}

    with shapes.standing(apart) as lab:
        shapes.write(lab, hosts(**roles))
        lab.run("up", "--yes")
        assert members(lab) == ["cp1", "cp2", "e1"]

        shapes.write(lab, hosts())
        refused = lab.run("up", "--yes", check=False)
        assert refused.returncode == 15 and "--allow etcd-moves" in refused.stderr
        moved(lab, "etcd moves off two control planes", "etcd-moves")
        assert members(lab) == ["e1", "e2", "e3"]
        for host in ("cp1", "cp2"):
            assert lab.on(host, "sh", "-c", "ls -d /var/lib/etcd/member 2>/dev/null", check=False) == ""

        both = {"e1": ["etcd", "load-balancer"], "e2": ["etcd", "load-balancer"]}
        shapes.write(lab, hosts(cp1=["control-plane"], cp2=["control-plane", "worker"], **both))
        refused = lab.run("up", "--yes", check=False)
        assert refused.returncode == 15 and "let the new ones have the role beside the old ones" in refused.stderr
        shapes.write(lab, hosts(**both))
        moved(lab, "two load balancers come", "")
        shapes.write(lab, hosts(cp1=["control-plane"], cp2=["control-plane", "worker"], **both))
        # A request that is under way when the address moves is cut, as every connection by an address that moves.
        moved(lab, "the VIP leaves two control planes", "role-removed", cut=1)
        held = [host for host in ("e1", "e2") if "10.77.0.10/32" in shapes.address_of(lab, host, "host0")]
        assert len(held) == 1


def test_a_worker_that_the_cluster_never_had_joins_and_no_other_worker_is_touched() -> None:
    small = BY_NAME["one-member"]
    new = {"w2": {"address": "10.77.0.22", "roles": ["worker"]}, "w3": {"address": "10.77.0.23", "roles": ["worker"]}}
    with shapes.standing(small) as lab:
        lab.run("up", "--yes")
        for host, alone in (("w2", ()), ("w3", ("--only", "w3"))):
            others = [name for name in lab.inventory.cluster.hosts if name != "cp1"]
            hosts = {**small.hosts, **{name: new[name] for name in (*others, host) if name in new}}
            shapes.write(lab, {"hosts": {name: dict(spec) for name, spec in hosts.items()}})
            lab.run("lab", "up")
            before = unit_ids(lab, others), managed_mtimes(lab, others)
            since = time.time()
            lab.run("up", "--yes", *alone)
            figures.record(f"a worker joins{', alone' if alone else ''}", [time.time() - since], unit="s")
            assert (unit_ids(lab, others), managed_mtimes(lab, others)) == before
            assert f"node/{host}" in lab.kubectl("get", "nodes", "-o", "name")
            assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")


def moved(lab: Lab, what: str, allow: str, cut: int = 0) -> None:
    """Let `up` do it, see that nobody noticed, and that nothing is left to do."""
    since = time.time()
    lab.run("up", "--yes", *(["--allow", allow] if allow else []))
    took = time.time() - since
    seen = shapes.unnoticed(lab, since, cut)
    figures.record(what, [took], unit="s", attempts=seen["attempts"], failures=seen["failures"])
    assert lab.run("plan", "--detailed-exitcode").stdout.startswith("No changes.")
    lab.run("ready", "--timeout", "60")
