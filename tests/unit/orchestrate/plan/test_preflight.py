"""Preflight in a run: everything of every host at once, nothing changed, and nothing asked that is not needed."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from provisioner.cli import main as command
from provisioner.converge import login
from provisioner.errors import KubewrightError, LockHeld, PreflightRefused, RefusedForSafety, UsageFault
from provisioner.model.check_document import check_schema
from provisioner.model.facts import Interface
from provisioner.model.inspection import Inspection, Listener
from provisioner.model.observed import HostObserved
from provisioner.operate.checks import by_trying
from provisioner.orchestrate.plan import preflight
from provisioner.orchestrate.plan.survey import survey
from provisioner.transport import faults
from provisioner.transport.faults import HostFault
from provisioner.transport.hosts import OneHost
from tests.fakes.hosts import SOCKETS
from tests.fakes.one_host import ROOM
from tests.fakes.session import World, instant
from tests.unit.compile.compile_fixture import lock

NGINX = replace(ROOM, listeners=(Listener(6443, "::", "nginx", 12, "nginx.service"),))
FOREIGN = replace(ROOM, there=frozenset({"/var/lib/k0s"}))



class Asked:
    """Answers `inspect` from a table, and remembers who was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Inspection | KubewrightError] = {}
        self.refused: dict[str, tuple[KubewrightError, ...]] = {}
        self.calls: list[tuple[str, ...]] = []

    def ask(self, session: object, hosts: Iterable[str], skip: object, *, kept: object = None) -> dict[str, Any]:
        names = tuple(hosts)
        if names:
            self.calls.append(names)
        answers = {name: self.answers.get(name, ROOM) for name in names}
        return {name: a if isinstance(a, KubewrightError) else preflight.Asked(a, self.refused.get(name, ()))
                for name, a in answers.items()}


@pytest.fixture
def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> Asked:
    double = Asked()
    monkeypatch.setattr(preflight, "ask", double.ask)

    real = world.hosts.seen

    def seen(name: str, items: Any) -> HostObserved:
        if world.hosts.hosts[name].down:
            raise HostFault(name, "connecting", "no route", code="no-route")
        return real(name, items)

    monkeypatch.setattr(world.hosts, "seen", seen)
    return double


def run(world: World, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command with this world's session in the place of a real one."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return command.main(["-i", str(world.inventory.path), *words])


def states(world: World) -> dict[str, dict[tuple[str, str], str]]:
    return {name: dict(host.states) for name, host in world.hosts.hosts.items()}


def test_up_refuses_with_every_finding_of_every_host_and_changes_nothing(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked.answers = {"cp1": NGINX, "cp2": NGINX, "w2": FOREIGN}
    before = states(world)
    assert run(world, monkeypatch, "up", "--yes") == 11
    assert capsys.readouterr().err.splitlines() == [
        "error: 3 of 5 hosts are not fit; nothing was changed anywhere",
        "cp1, cp2: ports: port 6443, which kube-apiserver needs, is in use by nginx (nginx.service)",
        "    on cp1, cp2: systemctl disable --now nginx.service",
        "w2: cluster: k0s is there (/var/lib/k0s); it is left alone",
        "    take another machine, or on w2, if nobody needs it any more: k0s reset",
        f"hint: kubewright -i {world.inventory.path} check"]
    assert (states(world), world.hosts.log, world.api.log) == (before, [], [])
    assert not world.inventory.secrets_dir.exists(), "not even secrets were made"


def test_what_facts_refuse_is_told_together_with_what_only_an_inspection_sees(world: World, asked: Asked) -> None:
    host = world.hosts.hosts["w1"]
    host.facts = replace(host.facts, arch="arm64")     # compile could make no plan from this
    asked.answers = {"cp1": NGINX}
    with world.session() as one, pytest.raises(PreflightRefused) as caught:
        preflight.fit_survey(one)
    assert [d.partition(",")[0] for d in caught.value.details if not d.startswith(" ")] == [
        "w1: arch: the machine is arm64; artifacts.lock pins amd64", "cp1: ports: port 6443"]
    assert world.hosts.log == []


def test_a_first_run_asks_every_host_once(world: World, asked: Asked) -> None:
    with world.session() as one:
        plan = preflight.fit_survey(one)
    assert not plan.is_empty
    assert asked.calls == [("cp1", "cp2", "cp3", "w1", "w2")]


def test_a_second_run_asks_no_host_for_more_than_it_does_anyway(built: World, asked: Asked) -> None:
    with built.session() as one:
        assert preflight.fit_survey(one).is_empty
    assert asked.calls == []


def test_only_hosts_that_are_to_be_changed_are_asked(built: World, asked: Asked) -> None:
    del built.hosts.hosts["w2"].states["file", "/var/lib/kubelet/config.yaml"]
    with built.session() as one:
        preflight.fit_survey(one)
    assert asked.calls == [("w2",)]


def test_a_skipped_check_lets_up_go_on(world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    asked.answers = {"cp1": NGINX}
    assert run(world, monkeypatch, "up", "--yes", "--skip", "ports") == 0
    assert world.hosts.log


def test_what_could_not_be_looked_at_is_told_and_does_not_stop_a_run(world: World, asked: Asked) -> None:
    asked.answers = {"w1": replace(ROOM, unseen={"sshd": "there is no sshd in /usr/sbin"})}
    with world.session() as one:
        preflight.fit_survey(one)
    assert [(e.type, e.message) for e in world.events] == [
        ("diagnostic", "w1: sshd: not looked at: there is no sshd in /usr/sbin")]


def test_a_table_with_what_could_not_be_looked_at_does_not_say_that_all_is_well(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked.answers = {"w1": replace(ROOM, unseen={"sshd": "there is no sshd in /usr/sbin"})}
    assert run(world, monkeypatch, "check") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines if line.startswith("sshd ")] == [["sshd", "unseen", "w1"]]
    assert "unseen: w1: sshd: not looked at: there is no sshd in /usr/sbin" in lines
    assert lines[-1] == "All 5 hosts are fit, as far as could be looked at."


def test_warnings_are_told_and_do_not_stop_a_run(world: World, asked: Asked) -> None:
    asked.answers = {"w1": replace(ROOM, swap="on /dev/sda2"), "w2": replace(ROOM, swap="on /dev/sda2")}
    with world.session() as one:
        preflight.fit_survey(one)
    assert [(e.type, e.message) for e in world.events] == [(
        "diagnostic", "w1, w2: swap: swap is on (/dev/sda2); `up` turns it off; "
        "on w1, w2: swapoff -a")]


def test_check_tells_hosts_that_do_not_answer_beside_the_findings_of_the_others(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    world.hosts.hosts["cp3"].down = True
    asked.answers = {"cp1": NGINX}
    assert run(world, monkeypatch, "check") == 11
    out, err = capsys.readouterr()
    rows = {line.split()[0]: " ".join(line.split()[1:4]) for line in out.splitlines()}
    assert (rows["ssh"], rows["os"], rows["ports"]) == ("error cp3 we", "ok 4 of", "error cp1 nobody")
    assert "cp3: ssh: no route" in err and "cp1: ports: port 6443" in err
    assert world.hosts.log == []


def test_check_of_fit_hosts_is_0_and_says_so(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, monkeypatch, "check", "--skip", "swap") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "All 5 hosts are fit."
    assert any(line.split()[:3] == ["swap", "skipped", "-"] for line in out.splitlines())
    assert err == ""


def test_check_as_json_holds_every_finding_with_host_fact_and_cure(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked.answers = {"cp1": NGINX}
    assert run(world, monkeypatch, "-o", "json", "check") == 11
    document = json.loads(capsys.readouterr().out)
    assert list(Draft202012Validator(check_schema()).iter_errors(document)) == []
    assert (document["schema_version"], document["fit"], document["hosts"]) == (1, False, 5)
    assert {c["name"]: c["result"] for c in document["checks"]}["ports"] == "error"
    assert document["findings"] == [{
        "check": "ports", "host": "cp1", "severity": "error", "cure": "on cp1: systemctl disable --now nginx.service",
        "saw": "port 6443, which kube-apiserver needs, is in use by nginx (nginx.service)",
        "expected": "nobody else on the ports we need", "code": "ports", "retry": False}]


def test_a_misspelt_check_is_refused_before_any_host_is_asked(world: World, asked: Asked) -> None:
    with pytest.raises(UsageFault, match="no check prots"):
        preflight.known_checks(["os", "prots"])
    assert asked.calls == []


def told(world: World, monkeypatch: pytest.MonkeyPatch, **faults: KubewrightError) -> None:
    """Let these hosts answer with faults, the others as they are."""
    real = world.hosts.seen

    def seen(name: str, items: Any) -> HostObserved:
        if name in faults:
            raise faults[name]
        return real(name, items)

    monkeypatch.setattr(world.hosts, "seen", seen)


def rows_of(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in text.splitlines()}


def test_a_step_that_still_runs_is_told_beside_what_the_others_have(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told(world, monkeypatch, cp1=LockHeld("cp1: observing: step x still runs after 120 s", code="host-busy"))
    assert run(world, monkeypatch, "check") == 14
    asked.answers = {"cp2": NGINX}
    assert run(world, monkeypatch, "check") == 11
    err = capsys.readouterr().err
    assert "cp1: idle: observing: step x still runs after 120 s" in err and "cp2: ports: port 6443" in err


@pytest.mark.parametrize("fault", [
    HostFault("cp1", "applier observe", "the login of root only says: go away", code="login-only-says"),
    KubewrightError("cp1: applier observe: exit 1: applier: torn", code="applier-failed"),
    KubewrightError("cp1: this is a bug: KeyError: 'x'")])
def test_whatever_fails_on_one_host_is_its_finding_and_hides_no_other(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        fault: KubewrightError) -> None:
    told(world, monkeypatch, cp1=fault)
    asked.answers = {"cp2": NGINX, "w1": KubewrightError("w1: applier inspect: exit 1: applier: odd", code="x")}
    assert run(world, monkeypatch, "check") == 11
    out, err = capsys.readouterr()
    assert rows_of(out)["ssh"][1:4] == ["error", "cp1,", "w1"]
    assert [line.partition(": ")[0] for line in err.splitlines() if ": ssh: " in line or ": ports: " in line] == [
        "cp1", "w1", "cp2"]
    assert "hint: " not in err, "the command that would tell more is this one"


@pytest.mark.parametrize("verb", [["plan"], ["up", "--yes"]])
def test_a_login_that_only_says_something_is_12_with_its_words_and_its_cure_in_every_verb(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        verb: list[str]) -> None:
    told(world, monkeypatch, w1=HostFault("w1", "applier observe", "the login of root only says: take debian",
                                          code="login-only-says", hint="in cluster.yaml: ssh.user: debian"))
    assert run(world, monkeypatch, *verb) == 12
    err = capsys.readouterr().err
    assert "w1: applier observe: the login of root only says: take debian" in err
    assert "in cluster.yaml: ssh.user: debian" in err
    assert world.hosts.log == []


def test_a_question_that_nobody_was_asked_is_not_answered_and_nobody_reachable_is_12(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for host in world.hosts.hosts.values():
        host.down = True
    assert run(world, monkeypatch, "check") == 12
    rows = rows_of(capsys.readouterr().out)
    assert {tuple(row[1:5]) for name, row in rows.items() if name not in ("CHECK", "ssh")} == {("-", "0", "of", "5")}
    assert run(world, monkeypatch, "-o", "json", "check") == 12
    document = json.loads(capsys.readouterr().out)
    assert {(c["result"], c["asked"]) for c in document["checks"] if c["name"] != "ssh"} == {("-", 0)}
    assert document["fit"] is False


def test_what_does_not_go_beside_the_questions_is_a_finding_of_that_host(
        world: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked.refused = {"cp1": (faults.forwarding_fault("cp1"),),
                     "w1": (HostFault("w1", "x", "others may read the key", code="ansible-login", hint="chmod 600 k"),)}
    assert run(world, monkeypatch, "check") == 11
    out, err = capsys.readouterr()
    assert (rows_of(out)["forwarding"][1:3], rows_of(out)["ansible"][1:3]) == (["error", "cp1"], ["error", "w1"])
    assert "cp1: forwarding: sshd forbids forwarding" in err and "    chmod 600 k" in err
    assert run(world, monkeypatch, "up", "--yes") == 11
    assert world.hosts.log == [], "found before the first change"


def test_the_way_through_sshd_is_tried_where_etcd_and_the_api_are_and_ansible_s_login_everywhere(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, object]] = []

    def forwarding(one: OneHost, port: int) -> None:
        tried.append((one.name, port))
        if one.name == "cp2":
            raise faults.forwarding_fault("cp2")

    def ansible(target: Any, *, kept: Path | None) -> None:
        assert kept is None
        tried.append((target.name, "ssh"))
        raise HostFault(target.name, "x", "no", code="ansible-login")

    monkeypatch.setattr(world.hosts, "forward", forwarding)
    monkeypatch.setattr(login, "prove", ansible)
    with world.session() as one:
        one.target.observed = {name: HostObserved(name, host.facts, {}) for name, host in world.hosts.hosts.items()}
        answers = preflight.ask(one, ["cp2", "w1"])
        assert sorted(tried, key=str) == [("cp2", "ssh"), ("cp2", 2379), ("cp2", 7443), ("w1", "ssh")]
        tried.clear()
        assert not isinstance(preflight.ask(one, ["w1"], ["ansible"])["w1"], KubewrightError)
        assert tried == [], "what is skipped is not tried"
    codes = {host: [f.code for f in a.refused] for host, a in answers.items() if isinstance(a, preflight.Asked)}
    assert codes == {"cp2": ["ansible-login", "forwarding-forbidden"], "w1": ["ansible-login"]}


def test_ansible_s_login_stays_open_for_a_run_that_changes_something_and_for_nothing_else(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Path | None]] = []

    def prove(target: Any, *, kept: Path | None) -> float:
        seen.append((target.name, kept))
        return 0.0

    monkeypatch.setattr(login, "prove", prove)
    assert run(world, monkeypatch, "check") == 0
    assert {kept for _, kept in seen} == {None}
    seen.clear()
    assert run(world, monkeypatch, "up", "--yes") == 0
    assert sorted(seen) == [(name, SOCKETS) for name in sorted(world.hosts.hosts)]
    seen.clear()
    assert run(world, monkeypatch, "up", "--yes") == 0
    assert seen == []


def test_why_there_is_no_plan_is_told_after_the_findings(
        built: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked.answers = {"cp2": NGINX}

    def refused(session: object) -> None:
        raise RefusedForSafety("the cluster on these hosts has another CA", code="foreign-ca")

    monkeypatch.setattr(preflight, "survey", refused)
    assert run(built, monkeypatch, "check") == 11
    out, err = capsys.readouterr()
    assert rows_of(out)["ports"][1:3] == ["error", "cp2"]
    assert "cp2: ports: " in err and "another CA" in err
    asked.answers = {}
    assert run(built, monkeypatch, "check") == 15
    assert "fit" not in capsys.readouterr().out


def test_missing_bytes_are_the_plans_and_without_one_the_whole_lock_on_a_new_host(world: World, asked: Asked) -> None:
    with world.session() as one:
        plan = preflight.fit_survey(one)
    total = sum(a.size for a in lock().artifacts)
    assert preflight.missing_mib("w1", "amd64", lock(), ROOM, plan) == 1, "the fixture's artifacts are tiny"
    assert preflight.missing_mib("w1", "amd64", lock(), ROOM, None) == -(-total // preflight.MIB)
    assert preflight.missing_mib("w1", "amd64", lock(), replace(ROOM, prepared=True), None) == 0


def test_packages_that_come_with_the_run_are_asked_of_no_source(world: World) -> None:
    with world.session() as session:
        survey(session)
        assert preflight._question(session, "w1", ())["packages"]
        session.run.packages = {session.observed["w1"].facts.packaged_as: Path("packages.tar")}
        assert preflight._question(session, "w1", ())["packages"] == []


def test_a_run_asks_whose_the_files_are_that_it_would_overwrite(built: World) -> None:
    built.hosts.hosts["w1"].edit("/etc/haproxy/haproxy.cfg", "file sha256:of-others 0644 root:root", "frontend mine")
    with built.session() as one:
        assert "/etc/haproxy/haproxy.cfg" in preflight._files(one, "w1"), "without a plan, what others bring most often"
        survey(one)
        assert preflight._files(one, "w1") == ["/etc/haproxy/haproxy.cfg"]
        assert preflight._files(one, "w2") == []


def test_up_overwrites_no_file_of_others_unless_that_is_skipped(
        built: World, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "/etc/haproxy/haproxy.cfg"
    theirs = "file sha256:of-others 0644 root:root"
    built.hosts.hosts["w1"].edit(place, theirs, "frontend mine")
    asked.answers = {"w1": replace(ROOM, others={place: "somebody put it there"})}
    assert run(built, monkeypatch, "up", "--yes") == 11
    assert (built.hosts.log, built.hosts.hosts["w1"].states["file", place]) == ([], theirs)
    assert run(built, monkeypatch, "up", "--yes", "--skip", "files") == 0
    assert built.hosts.hosts["w1"].states["file", place] != theirs


def test_new_hosts_try_each_other_beside_what_is_asked_and_a_second_run_has_none(world: World, asked: Asked) -> None:
    with world.session() as one:
        preflight.fit_survey(one)
    assert set(world.hosts.network.went) == {"cp1", "cp2", "cp3", "w1", "w2"}


def test_hosts_that_were_changed_before_try_nothing_unless_asked(built: World, asked: Asked) -> None:
    del built.hosts.hosts["w2"].states["file", "/var/lib/kubelet/config.yaml"]
    with built.session() as one:
        preflight.fit_survey(one)
        assert preflight.look(one).probed is None
    assert built.hosts.network.asked == {}
    for number, host in enumerate(built.hosts.hosts.values()):      # what listens there is the cluster's, VXLAN too
        own = Interface("flannel.1", (f"10.244.{number}.0/32",), 1450)
        host.facts = replace(host.facts, interfaces=(*host.facts.interfaces, own))
    with built.session() as one:
        report = preflight.look(one, probe=True)
    assert (report.answered["reach"], report.answered["fsync"], report.result("mtu")[0]) == (5, 3, "ok")
    assert str(report.probed) == (
        "Probed 20 pairs of hosts, 74 ways between them; between etcd's members at most 0.20 ms and 0 of 60 lost; "
        "99 of 100 small writes are safe after 1.5 ms at most (cp3).")


def test_new_hosts_may_be_left_alone_and_what_was_not_tried_is_not_ok(world: World, asked: Asked) -> None:
    with world.session() as one:
        report = preflight.look(one, probe=False)
    assert world.hosts.network.asked == {}
    assert {report.result(name)[0] for name in by_trying.NAMES} == {preflight.UNASKED}
    with world.session() as one:
        assert preflight.look(one, skip=by_trying.NAMES).probed is None
    assert world.hosts.network.asked == {}


def test_a_way_that_is_closed_refuses_before_anything_is_changed(world: World, asked: Asked) -> None:
    world.hosts.network.lost = {("cp2", ("10.77.0.11", "tcp", 2380)): "timed out"}
    with world.session() as one, pytest.raises(PreflightRefused) as caught:
        preflight.fit_survey(one)
    assert caught.value.details[0] == "cp1: reach: tcp 2380 is not reached from cp2: timed out (may pass by itself)"
    assert (world.hosts.log, world.api.log) == ([], [])


def test_a_skipped_disk_is_not_written_to(world: World, asked: Asked) -> None:
    with world.session() as one:
        preflight.look(one, skip=("fsync", "dns"))
    assert not any({"fsync", "dns"} & set(request) for request in world.hosts.network.asked.values())
