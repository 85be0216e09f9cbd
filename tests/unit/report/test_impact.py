"""What a plan means for whoever uses the cluster: sentences from the stages, and the stages from the real batches."""

from __future__ import annotations

import pytest

from provisioner.decide.schedule import stages
from provisioner.model.cluster import Cluster
from provisioner.model.desired import Desired, HostDesired, Unit
from provisioner.model.plan import Act, Change, ObjectChange, Plan, Stage, Turn
from provisioner.report.impact import impact, impact_lines, names
from tests.unit.compile.compile_fixture import LAB, inventory

CLUSTER = inventory()
HOSTS = ("cp1", "cp2", "cp3", "w1", "w2")
SINGLE = inventory(LAB, hosts={"cp1": {"address": "10.77.0.11", "roles": ["control-plane", "worker"]}})

MEMBER = Unit(path="etcd.service", phase="etcd")
SERVER = Unit(path="kube-apiserver.service", phase="control-plane", down_with="etcd.service")
ADDON = ObjectChange("addons", "Deployment a", "add", "x")


def unit(host: str, phase: str, path: str, action: str = "restart") -> Change:
    return Change(host, phase, "unit", path, action, "x", "active enabled due", "active enabled current")  # type: ignore[arg-type]


def file(host: str, phase: str) -> Change:
    return Change(host, phase, "file", "/etc/x", "change", "x", "a", "b")  # type: ignore[arg-type]


def planned(*changes: Change, objects: tuple[ObjectChange, ...] = (), bootstrap: bool = False) -> Plan:
    plan = Plan("lab", Desired({h: HostDesired(h, (MEMBER, SERVER)) for h in HOSTS}), changes, objects, bootstrap)
    return Plan("lab", plan.desired, changes, objects, bootstrap, stages=stages(plan))


def test_stages_are_the_phases_with_work_in_their_order_and_in_the_batches_that_up_takes() -> None:
    plan = planned(file("cp1", "verify"), unit("w1", "node", "kubelet.service"), file("w2", "node"), file("cp1", "pki"),
                   unit("cp2", "node", "kubelet.service"), objects=(ADDON,))
    assert plan.stages == (
        Stage("pki", (Turn(("cp1",), ("pki",)),), 1),
        Stage("node", tuple(Turn((host,), ("node",)) for host in ("w2", "cp2", "w1")), 3,
             acts=(Act("restart", "kubelet.service", ("cp2", "w1")),)),
        Stage("addons", (), 0, 1),
        Stage("verify", (Turn(("cp1",), ("verify",)),), 1))


def test_an_api_server_goes_down_and_up_with_its_member_once_and_in_the_member_s_step() -> None:
    server = "kube-apiserver.service"
    plan = planned(unit("cp1", "etcd", "etcd.service"), file("cp1", "control-plane"),
                   unit("cp1", "control-plane", server), unit("cp2", "control-plane", server))
    etcd, control_plane = plan.stages
    assert etcd.acts == (Act("restart", "etcd.service", ("cp1",)), Act("restart", server, ("cp1",)))
    assert control_plane.acts == (Act("restart", server, ("cp2",)),)
    assert (etcd.changes, control_plane.changes) == (3, 1)


def sentences(plan: Plan, cluster: Cluster = CLUSTER) -> str:
    return "\n".join(impact(plan, cluster))


def test_files_that_nothing_reads_until_later_restart_nothing() -> None:
    assert sentences(planned(file("cp1", "pki"))) == "nothing that runs is restarted"
    assert sentences(planned(unit("w1", "node", "kubelet.service", "start"))) == "nothing that runs is restarted"


def test_api_servers_that_restart_one_after_the_other_leave_no_gap() -> None:
    text = sentences(planned(*(unit(h, "control-plane", "kube-apiserver.service") for h in HOSTS[:3])))
    assert "3 restarts, each turn proved before the next" in text
    assert "none; an API server that restarts is out of every HAProxy, and 2 API servers serve" in text
    assert "drained" not in text


def test_the_only_api_server_leaves_one() -> None:
    text = sentences(planned(unit("cp1", "control-plane", "kube-apiserver.service")), SINGLE)
    assert "API gap expected: while kube-apiserver restarts" in text


@pytest.mark.parametrize(("cluster", "words"), [
    (CLUSTER, "etcd keeps its quorum: 2 of 3 members serve while one restarts, the leader last"),
    (SINGLE, "etcd stands still while its member restarts")])
def test_of_etcd_it_is_said_whether_a_quorum_stays(cluster: Cluster, words: str) -> None:
    assert words in sentences(planned(unit("cp1", "etcd", "etcd.service")), cluster)


def test_a_kubelet_or_containerd_that_restarts_drains_nobody() -> None:
    for name, phase in (("kubelet.service", "node"), ("containerd.service", "runtime")):
        text = sentences(planned(unit("w1", phase, name)))
        assert "no host is drained: Pods run on" in text
        assert "API gap expected: none; no API server restarts" in text


def test_reloads_are_counted_apart() -> None:
    text = sentences(planned(unit("w1", "load-balancer", "haproxy.service", "reload"),
                             unit("w1", "node", "kubelet.service")))
    assert text.startswith("1 restart and 1 reload, ")


def test_a_new_cluster_interrupts_nobody() -> None:
    plan = planned(unit("cp1", "etcd", "etcd.service"), bootstrap=True)
    assert list(impact_lines(plan, CLUSTER)) == [
        "Impact   a new cluster: nothing runs yet that could be interrupted"]


def test_many_hosts_are_named_only_to_begin_with() -> None:
    assert names(("a", "b", "c", "d", "e")) == "a, b, c, d, e"
    assert names([f"w{n}" for n in range(500)]) == "w0, w1, w2, w3, w4 and 495 more"
