"""`doctor` on hosts in memory: what a person and a program get, and what it asks for."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from provisioner.cli import main as command
from provisioner.cli.doctor import lines
from provisioner.errors import Unreachable
from provisioner.model.doctor_document import DoctorDocument, doctor_schema
from provisioner.model.etcd import Alarm
from provisioner.model.examination import Examination, Inside, UnitLife
from provisioner.operate import etcd
from provisioner.operate.etcd import EtcdFault
from provisioner.operate.kube import ApiFault
from provisioner.orchestrate.look import disk_samples, doctor
from tests.fakes.api import MemoryKube, node
from tests.fakes.session import World

GOLDEN = Path(__file__).parents[3] / "golden" / "doctor"
GB = 10**9


def look(world: World) -> doctor.Checkup:
    with world.session() as session:
        return replace(doctor.look(session), seconds=2.5)


def stops(world: World, host: str, unit: str) -> None:
    world.hosts.hosts[host].states["unit", f"{unit}.service"] = "inactive enabled current"


def nothing(world: World) -> None:
    """All is well."""


def a_stopped_member(world: World) -> None:
    stops(world, "cp2", "etcd")
    world.hosts.silent = {"cp2"}


def a_stopped_kubelet(world: World) -> None:
    stops(world, "w1", "kubelet")
    world.api.put("/api/v1/nodes/w1", node("w1", ready=False))


def an_api_server_that_hangs(world: World) -> None:
    world.hosts.broken = {"cp3: kube-apiserver /readyz": "timed out"}


def no_space(world: World) -> None:
    world.hosts.alarms = [Alarm(3, "NOSPACE")]


def two_holders(world: World) -> None:
    world.hosts.holders = {"cp3"}


def a_unit_that_loops(world: World) -> None:
    world.hosts.examinations["w2"] = Examination(units=(UnitLife(
        "kube-proxy.service", active="activating", sub="auto-restart", result="exit-code", status=3, restarts=11,
        words=("cannot open the door",)),), inside=Inside())


def names_fail_on_one_node(world: World) -> None:
    world.hosts.examinations["w1"] = Examination(inside=Inside(2, 2, dns={"a": "timed out", "b": "timed out"}))


def a_host_that_is_down(world: World) -> None:
    world.hosts.hosts["w2"].down = True


def no_majority(world: World) -> None:
    for host in ("cp2", "cp3"):
        stops(world, host, "etcd")
    world.hosts.silent = {"cp2", "cp3"}
    world.api.refuse = 500


def several(world: World) -> None:
    for ill in (a_stopped_member, a_stopped_kubelet, names_fail_on_one_node, a_unit_that_loops, no_space):
        ill(world)


ILL: list[Callable[[World], None]] = [
    nothing, a_stopped_member, a_stopped_kubelet, an_api_server_that_hangs, no_space, two_holders, a_unit_that_loops,
    names_fail_on_one_node, a_host_that_is_down, no_majority, several]


@pytest.mark.parametrize("ill", ILL, ids=lambda ill: ill.__name__)
def test_what_is_told_is_as_it_was_read_and_found_good(built: World, ill: Callable[[World], None]) -> None:
    ill(built)
    seen = look(built)
    assert seen.healthy is (ill is nothing)
    text = "\n".join(lines(seen)) + "\n"
    golden = GOLDEN / f"{ill.__name__}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("ill", ILL, ids=lambda ill: ill.__name__)
def test_a_program_gets_the_same_in_the_form_of_the_schema(built: World, ill: Callable[[World], None]) -> None:
    ill(built)
    document = json.loads(json.dumps({"schema_version": 1, **look(built).to_json()}))
    jsonschema.validate(document, doctor_schema())
    DoctorDocument.model_validate(document, strict=False)


def test_each_host_is_asked_once_and_one_that_is_down_is_not_asked(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = built.hosts.examined

    def examined(name: str, question: Any) -> Examination:
        asked.append(name)
        return real(name, question)

    monkeypatch.setattr(built.hosts, "examined", examined)
    a_host_that_is_down(built)
    look(built)
    assert asked == ["cp1", "cp2", "cp3", "w1"]


def test_nothing_is_written_anywhere_but_how_full_disks_were(built: World) -> None:
    before = {p: p.stat().st_mtime_ns for p in built.inventory.path.rglob("*") if p.is_file()}
    built.hosts.log.clear()
    look(built)
    after = {p: p.stat().st_mtime_ns for p in built.inventory.path.rglob("*") if p.is_file()}
    assert [p.name for p in after.keys() - before.keys()] == [disk_samples.FILE]
    assert {p: t for p, t in after.items() if p in before} == before
    assert built.hosts.log == [] and built.api.log == []


def test_a_disk_that_fills_is_told_from_the_second_look_on(built: World) -> None:
    look(built)
    file = built.inventory.state_dir / disk_samples.FILE
    kept = json.loads(file.read_text())
    for of in kept["hosts"].values():
        of["/"] = [[time.time() - 2 * 86400, 0]]
    file.write_text(json.dumps(kept))
    told = [one.finding.saw for one in look(built).diagnosis.told if one.finding.check == "disk"]
    assert told and all("full in 3.0 days at the rate of the last 2 d" in saw for saw in told), told
    assert len(json.loads(file.read_text())["hosts"]["w1"]["/"]) == 2


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"hosts": 3}', '{"hosts": {"w1": {"/": [["x", 1]]}}}'])
def test_earlier_looks_that_cannot_be_read_are_none(built: World, text: str) -> None:
    (built.inventory.state_dir / disk_samples.FILE).write_text(text)
    assert disk_samples.load(built.inventory) == {}
    assert look(built).healthy


def test_looks_are_kept_for_a_week_and_at_most_one_an_hour() -> None:
    now = 1_800_000_000.0
    kept = disk_samples.thinned([(now - 8 * 86400, 1), (now - 86400, 2), (now + 99, 3)], now, 4)
    assert kept == [(now - 86400, 2), (now, 4)]
    assert disk_samples.thinned(kept, now + 60, 5) == kept


def test_a_kubeconfig_here_that_no_longer_opens_is_told_with_the_command_that_writes_it_anew(built: World) -> None:
    with built.session() as session:
        (told,) = [one for one in doctor.look(session, {"/home/me/config": "no certificate"}).diagnosis.told
                   if one.finding.check == "certificates"]
    assert (told.finding.host, told.urgency) == ("here", "soon")
    assert told.cure == "kubewright kubeconfig --output /home/me/config"


def test_an_api_that_dies_meanwhile_ends_no_look(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = MemoryKube.get

    def get(self: MemoryKube, path: str, *more: Any, **named: Any) -> dict[str, Any]:
        if path == doctor.PODS:
            asked.append(path)
            raise ApiFault(f"GET {path}", "connection refused")
        return real(self, path, *more, **named)

    monkeypatch.setattr(MemoryKube, "get", get)
    seen = look(built)
    assert seen.healthy and asked == [doctor.PODS]
    assert (seen.picture.pods, seen.picture.version) == (None, None)


def test_a_member_whose_tunnel_is_closed_is_told_once(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(access: Any, *, timeout: float = 3.0) -> Any:
        raise Unreachable("cp1: sshd forbids forwarding")

    monkeypatch.setattr(etcd, "reads", closed)
    assert look(built).healthy
    monkeypatch.setattr(etcd, "status", lambda access, **_: (_ for _ in ()).throw(EtcdFault("etcd: refused")))
    seen = look(built)
    assert not seen.healthy and seen.diagnosis.told[0].finding.check == "etcd-majority"


def call(world: World, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = command.main(["-i", str(world.inventory.path), *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_verb_ends_with_0_where_all_is_well_and_13_else(
        built: World, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(built, capsys, "doctor")
    assert code == 0 and "3 of 3 members answer: one may fail" in out
    no_space(built)
    code, out, _ = call(built, capsys, "-o", "json", "doctor")
    assert code == 13 and json.loads(out)["findings"][0]["code"] == "etcd-alarms"


def test_a_name_is_explained_without_a_host_and_an_unknown_one_is_refused_with_all_names(
        built: World, capsys: pytest.CaptureFixture[str]) -> None:
    built.hosts.hosts.clear()
    code, out, _ = call(built, capsys, "doctor", "--explain", "disk-filling")
    assert code == 0 and out.startswith("name     disk-filling\n") and "urgency  soon" in out
    code, _, err = call(built, capsys, "doctor", "--explain", "no-such")
    assert code == 64 and "etcd-alarms" in err


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_look_that_fails_does_not_end_the_watching(
        built: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    waited: list[float] = []
    real = doctor.look

    def look_of(*asked: Any) -> doctor.Checkup:
        if not waited:
            raise Unreachable("w1: connecting: no route", hint="kubewright check")
        return real(*asked)

    def sleep(seconds: float) -> None:
        waited.extend([seconds] if seconds == 30.0 else [])
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "look", look_of)
    monkeypatch.setattr(time, "sleep", sleep)
    code, out, err = call(built, capsys, "-o", output, "doctor", "--watch", "--every", "30s")
    assert (code, waited) == (130, [30.0, 30.0])
    if output == "json":
        first, second = (json.loads(line) for line in out.splitlines()[:2])
        assert (first["error"]["message"], second["healthy"]) == ("w1: connecting: no route", True)
    else:
        assert err.startswith("error: w1: connecting: no route\nhint: kubewright ") and "healthy" in out


@pytest.mark.parametrize("output", ["text", "json"])
def test_who_watches_sees_each_look_until_ctrl_c(
        built: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.extend([seconds] if seconds == 30.0 else [])
        if len(waited) == 2:
            raise KeyboardInterrupt
        if seconds == 30.0:
            no_space(built)

    monkeypatch.setattr(time, "sleep", sleep)
    code, out, _ = call(built, capsys, "-o", output, "doctor", "--watch", "--every", "30s")
    assert (code, waited) == (130, [30.0, 30.0])
    if output == "json":
        assert [json.loads(line)["healthy"] for line in out.splitlines()[:2]] == [True, False]
    else:
        assert out.count("Cluster lab   healthy") == out.count("Cluster lab   1 problem") == 1 and "\x1b" not in out
