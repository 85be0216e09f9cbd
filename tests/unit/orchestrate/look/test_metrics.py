"""`status -o openmetrics`: what a monitoring reads, as the library that Prometheus's makers write reads it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from provisioner.model.finding import Finding
from provisioner.orchestrate.look.metrics import gauges
from provisioner.orchestrate.look.status import HostStatus, Status
from provisioner.report.openmetrics import exposition

MOMENT = 1764435600.0
GOLDEN = Path(__file__).parents[3] / "golden" / "metrics"


def host(name: str, etcd: str = "member 4.1 MB", **fields: object) -> HostStatus:
    units = {"etcd.service": True, "kubelet.service": True}
    backends = {"cp1": True, "cp2": True, "cp3": name != "cp2"}
    return HostStatus(name, "etcd cp lb", "1.36.3", "ok", etcd, "Ready", 361, 0, [], 31190400.0, units, backends,
                      ) if not fields else replace(host(name, etcd), **fields)  # type: ignore[arg-type]


def status(*hosts: HostStatus, **fields: object) -> Status:
    worker = HostStatus("w1", "worker", "1.36.3", "-", "-", "Ready", 361, 0, [], 31190400.0,
                        {"kubelet.service": True}, {"cp1": True, "cp2": True, "cp3": True})
    seen = Status("lab", "1.36.3", "10.77.0.10:8443", "cp1", "3 of 3, can lose 1", [*hosts, worker], [], 1.2)
    return replace(seen, **fields)  # type: ignore[arg-type]


HEALTHY = status(host("cp1", "leader 4.1 MB"), host("cp2"), host("cp3"))
ILL = status(
    host("cp1", "leader 4.1 MB", units={"etcd.service": True, "kubelet.service": False}, kubelet="NotReady", drift=2,
         certs_left=432000.0),
    host("cp2", "down", api="down"),
    HostStatus("cp3", "etcd cp lb", "?", "?", "?", "?"),
    vip_holder="cp1, cp2", attention=["x"],
    findings=[Finding("etcd", "cp2", "error", "down", ""), Finding("reach", "cp3", "unseen", "no answer", "")])
UNBUILT = Status("lab", "1.36.3", "10.77.0.10:8443", "?", "-", [HostStatus("cp1", "etcd cp lb")], ["not built yet"],
                 0.5, built=False)


def values(seen: Status) -> dict[str, dict[tuple[str, ...], float]]:
    families = text_string_to_metric_families(exposition(gauges(seen, MOMENT)))
    return {family.name: {tuple(v for _, v in sorted(s.labels.items())): s.value for s in family.samples}
            for family in families}


@pytest.mark.parametrize(("name", "seen"), [("healthy", HEALTHY), ("ill", ILL), ("unbuilt", UNBUILT)])
def test_the_document_is_the_golden_one_and_openmetrics(name: str, seen: Status) -> None:
    text = exposition(gauges(seen, MOMENT))
    assert list(text_string_to_metric_families(text)) and text.endswith("# EOF\n")
    file = GOLDEN / f"{name}.txt"
    if "UPDATE_GOLDEN" in os.environ:
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_a_healthy_cluster_is_all_ones() -> None:
    found = values(HEALTHY)
    assert found["kubewright_healthy"] == {(): 1.0}
    assert found["kubewright_etcd_quorum_margin"] == {(): 1.0}
    assert found["kubewright_vip_holder"] == {("cp1",): 1.0, ("cp2",): 0.0, ("cp3",): 0.0}
    assert found["kubewright_haproxy_backend_up"][("cp2", "cp3")] == 0.0


def test_two_holders_of_the_vip_and_a_unit_that_is_down_are_seen() -> None:
    found = values(ILL)
    assert sum(found["kubewright_vip_holder"].values()) == 2.0
    assert found["kubewright_unit_up"][("cp1", "kubelet.service")] == 0.0
    assert found["kubewright_findings"] == {("error",): 1.0, ("warning",): 0.0, ("unseen",): 1.0}


def test_what_was_not_seen_has_no_sample_and_is_never_zero() -> None:
    found = values(ILL)
    for name in ("kubewright_api_server_ready", "kubewright_node_ready", "kubewright_drift_items",
                 "kubewright_certificate_left_seconds"):
        assert ("cp3",) not in found[name]
    assert found["kubewright_host_seen"][("cp3",)] == 0.0
    assert found["kubewright_etcd_members_up"] == {}, "cp3 was not asked: two of three is not known to be all"
    assert found["kubewright_etcd_quorum_margin"] == {}
    assert values(UNBUILT)["kubewright_vip_holder"] == {}


def test_a_quorum_that_is_lost_is_below_zero() -> None:
    lost = status(host("cp1", "leader 4.1 MB"), host("cp2", "down"), host("cp3", "down"))
    assert values(lost)["kubewright_etcd_quorum_margin"] == {(): -1.0}


def test_a_label_of_any_text_does_no_harm() -> None:
    odd = replace(HEALTHY, kubernetes='1"\n\\')
    assert values(odd)["kubewright_cluster_info"] == {("10.77.0.10:8443", "lab", '1"\n\\'): 1.0}
