"""What of a cluster is ill: judged from cases that are data."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile.etcd import quota_of
from provisioner.errors import KubewrightError, Unreachable
from provisioner.model.cluster import Cluster
from provisioner.model.etcd import Alarm, EtcdStatus
from provisioner.model.finding import Finding
from provisioner.operate import health
from provisioner.operate.etcd import EtcdFault
from provisioner.report.findings import lines
from tests.unit.compile.compile_fixture import LAB

CASES = Path(__file__).resolve().parents[2] / "cases" / "health"
NOW = 1_800_000_000.0
NAMES = ["cp1", "cp2", "cp3"]


def cases(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((CASES / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def member(number: int = 1, size: int = 4_000_000) -> EtcdStatus:
    return EtcdStatus("3.6.16", size, 1, 5, 2, 7, number, ())


@pytest.mark.parametrize("case", cases("vip"), ids=lambda c: c["name"])
def test_the_vip_belongs_on_one_host_and_of_several_holders_it_is_said_who_does_not_hear_whom(
        case: dict[str, Any]) -> None:
    found = health.of_vip("10.77.0.10", case["holders"], NAMES, case["unseen"])
    assert [[f.severity, *lines([f])] for f in found] == case["found"]


@pytest.mark.parametrize("case", cases("leases"), ids=lambda c: c["name"])
def test_writes_go_through_when_a_lease_is_renewed_whatever_the_clocks_say(case: dict[str, Any]) -> None:
    def leases(ages: dict[str, float]) -> dict[str, health.Renewal]:
        spec = {"holderIdentity": "x", **case.get("spec", {})}
        moments = {name: dt.datetime.fromtimestamp(NOW - age, dt.UTC).isoformat() for name, age in ages.items()}
        return health.renewals({"metadata": {"name": name}, "spec": {**spec, "renewTime": at}}
                               for name, at in moments.items())

    renewed = health.alive(leases(case["before"]), leases(case["after"]), NOW)
    assert [f.check for f in health.of_leases(renewed)] == case["ill"]


def test_a_lease_that_nobody_holds_is_nobodys_renewal() -> None:
    moment = dt.datetime.fromtimestamp(NOW, dt.UTC).isoformat()
    assert health.renewals([{"metadata": {"name": "kube-scheduler"}, "spec": {"renewTime": moment}}]) == {}
    rubbish = {"a": health.Renewal("rubbish")}
    assert health.alive(rubbish, rubbish, NOW) == frozenset()


@pytest.mark.parametrize("case", cases("quorum"), ids=lambda c: c["says"])
def test_a_member_that_is_not_seen_is_not_counted_as_lost(case: dict[str, Any]) -> None:
    answers = {True: member(), False: EtcdFault("etcd: connection refused"), "?": Unreachable("forbidden")}
    assert health.quorum_words(NAMES, {h: answers[said] for h, said in case["members"].items()}) == case["says"]  # type: ignore[misc]


def test_what_no_member_could_be_asked_says_nothing_about_the_members() -> None:
    closed: dict[str, EtcdStatus | KubewrightError] = {
        h: Unreachable(f"{h}: reaching etcd: sshd forbids forwarding", hint=f"on {h}: allow it") for h in NAMES}
    found = list(health.of_members(NAMES, closed, ["no member answers"]))
    assert found == [Finding("reach", h, "unseen", "reaching etcd: sshd forbids forwarding", f"on {h}: allow it")
                     for h in NAMES]
    assert list(health.of_members(NAMES, {}, ["no member answers"])) == []
    closed["cp3"] = EtcdFault("etcd: connection refused")
    assert {f.severity for f in health.of_members(NAMES, closed, ["no member answers"])} == {"unseen", "error"}


@pytest.mark.parametrize(("kind", "words"), [
    ("NOSPACE", "etcd is out of space (alarm NOSPACE), every write is refused"),
    ("CORRUPT", "etcd's data is damaged (alarm CORRUPT), every write is refused"), ("7", "etcd has the alarm 7")])
def test_an_alarm_is_named_with_its_member_and_a_cure(kind: str, words: str) -> None:
    (found,) = health.of_alarms([Alarm(22, kind)], {11: "cp1", 22: "cp2"})
    assert (found.host, found.severity, found.saw) == ("cp2", "error", words)
    assert bool(found.cure) == (kind != "7")


@pytest.mark.parametrize(("size", "quota", "ill"), [
    (13_400_000, 16_777_216, False), (13_500_000, 16_777_216, True), (17_000_000, 16_777_216, True),
    (10**12, 0, False)])
def test_from_eighty_percent_of_the_quota_on_etcd_has_too_little_room(size: int, quota: int, ill: bool) -> None:
    found = list(health.of_room({"cp1": member(size=size), "cp2": EtcdFault("down")}, {"cp1": quota, "cp2": quota}))
    assert [(f.host, f.severity) for f in found] == ([("cp1", "error")] if ill else [])


def test_a_voter_that_is_far_behind_the_log_of_the_others_is_named_and_a_learner_is_not() -> None:
    def at(applied: int, *, learner: bool = False) -> EtcdStatus:
        return replace(member(), raft_index=applied, applied=applied, learner=learner)

    members: dict[str, EtcdStatus | KubewrightError] = {
        "cp1": at(9000), "cp2": at(4000), "cp3": at(4001), "cp4": at(1, learner=True), "cp5": EtcdFault("down")}
    (found,) = health.of_lag(health.lags(members))
    assert (found.check, found.host, found.severity) == (health.LAG, "cp2", "error")
    assert found.saw.startswith("its etcd member is 5000 entries behind the others")


@pytest.mark.parametrize(("config", "of_host", "quota"), [
    ({}, {}, 8 * 1024**3),
    ({"etcd": {"flags": {"quota-backend-bytes": 16777216}}}, {}, 16777216),
    ({"etcd": {"flags": {"quota-backend-bytes": 16777216}}}, {"etcd": {"flags": {"quota-backend-bytes": "50"}}}, 50),
    ({"etcd": {"flags": {"quota-backend-bytes": None}}}, {}, 2 * 1024**3),
    ({"etcd": {"flags": {"quota-backend-bytes": 0}}}, {}, 2 * 1024**3),
    ({"etcd": {"flags": {"quota-backend-bytes": -1}}}, {}, 0)])
def test_the_quota_is_the_inventory_s_else_etcd_s_own(
        config: dict[str, Any], of_host: dict[str, Any], quota: int) -> None:
    cluster = Cluster.model_validate(yaml.safe_load(LAB))
    hosts = cluster.hosts | {"cp1": cluster.hosts["cp1"].model_copy(update={"config": of_host})}
    assert quota_of(cluster.model_copy(update={"config": config, "hosts": hosts}), "cp1") == quota


def pod(uid: str, host: str, status: str) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "spec": {"nodeName": host} if host else {},
            "status": {"conditions": [{"type": "PodReadyToStartContainers", "status": status}]}}


def test_a_pod_that_its_host_cannot_start_is_told_and_one_that_waits_for_something_of_its_own_is_not() -> None:
    sandboxed = pod("e", "w2", "False")
    sandboxed["spec"]["runtimeClassName"] = "gvisor"
    waiting = health.waiting_pods([pod("a", "w1", "False"), pod("b", "w2", "True"), pod("c", "", "False"),
                                   pod("d", "w2", "False"), sandboxed])
    assert waiting == {"a": "w1", "d": "w2"}
    events = [{"involvedObject": {"uid": uid}, "message": f"plugin of {uid}\n failed"} for uid in ("a", "b", "old")]
    assert lines(health.of_pods(waiting, events)) == ["w1: Pods cannot start: plugin of a failed"]
