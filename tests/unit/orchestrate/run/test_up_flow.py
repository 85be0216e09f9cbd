"""The whole of `up` against hosts in memory that are as strict as the applier."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from provisioner.compile.control_plane import AUTHENTICATION_CONFIG as AUTHENTICATION
from provisioner.compile.etcd import BOOTSTRAP_ENV, BOOTSTRAPPED
from provisioner.compile.parts import MANAGED_BY
from provisioner.compile.pki import ADMIN, CA, SA_KEY
from provisioner.errors import GateFailed, KubewrightError, PlanStale, RefusedForSafety, Unreachable
from provisioner.model.desired import File
from provisioner.model.etcd import MemberSeen
from provisioner.model.observed import ABSENT
from provisioner.model.phases import BEGINNINGS, PhaseName
from provisioner.operate import pki
from provisioner.operate.kube import ApiFault
from provisioner.orchestrate.phases.new_cluster import NEW
from provisioner.orchestrate.plan import applied as last_applied
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.plan.survey import create_secrets, is_bootstrapped, survey
from provisioner.orchestrate.run import engine
from provisioner.orchestrate.run.verbs import UP
from provisioner.orchestrate.session.cluster_access import NO_ACCESS
from provisioner.orchestrate.session.session import Session
from tests.fakes.session import LAB, UP_ALL, FakeAccess, World, at_each_step, instant

KUBELET_CONFIG = ("file", "/var/lib/kubelet/config.yaml")
ETCD_SERVER = "/etc/kubernetes/pki/etcd/server.crt"
CONTROL_PLANE_UNITS = ("kube-apiserver.service", "kube-controller-manager.service", "kube-scheduler.service")


RUNTIME_UNITS = ("containerd.service", "kubewright-images.service")
NODE_UNITS = ("kubelet.service", "kube-proxy.service", "flanneld.service", "kubewright-network-watch.service")
NAMES = [p.name for p in UP]


def up(world: World) -> None:
    world.perform()


@contextmanager
def killed_before(world: World, phase: PhaseName) -> Iterator[Session]:
    """Let a first run come as far as the phases before this one; its session ends with the block."""
    with world.session() as session:
        survey(session)
        create_secrets(session)
        engine.run(session, UP[:NAMES.index(phase)])
        yield session


def test_a_first_run_begins_each_phase_once_those_that_it_needs_are_proved(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    up(world)
    everyone = ("cp1", "cp2", "cp3", "w1", "w2")
    steps = [(entry[1], entry[2]) for entry in world.hosts.log if entry[0] == "apply"]
    assert ("prepare", everyone) in world.hosts.log
    assert sorted(entry[1] for entry in world.hosts.log if entry[0] == "store") == sorted(everyone), "sent once"
    assert sorted(steps) == sorted([
        ("pki.0", everyone), *((step, (host,)) for step, hosts in (
            ("controllers.0", ("cp1", "w1", "w2")), ("join.0", ("cp2", "cp3"))) for host in hosts),
        *((noted, (host,)) for noted in ("etcd.bootstrapped", "verify.0") for host in everyone[:3])])
    made = {step: {row["kind"] for one in world.hosts.hosts.values() for of in one.steps if of["step"].endswith(step)
                   for row in of["changes"]} for step in ("pki.0", "controllers.0")}
    assert "unit" in made["pki.0"] and made["controllers.0"] == {"unit"}, "Ansible brings, connections start"
    assert world.break_glass == 1
    told = [(e.type, e.phase) for e in world.events if e.type in ("phase-start", "phase-done")]
    for phase in UP:
        begins = told.index(("phase-start", phase.name))
        before = [p.name for p in UP[:UP.index(phase)]] if phase.after is None else phase.after
        assert all(told.index(("phase-done", name)) < begins for name in before), phase.name


def units_started(world: World) -> dict[tuple[str, str], set[str]]:
    """Return what each step started on each host, of what runs of Kubernetes."""
    ours = {*CONTROL_PLANE_UNITS, *RUNTIME_UNITS, *NODE_UNITS}
    steps = {(host, step["step"].partition(".")[2]): ours & {row["path"] for row in step["changes"]}
             for host, one in world.hosts.hosts.items() for step in one.steps}
    return {where: units for where, units in steps.items() if units}


def test_a_first_run_starts_the_other_control_planes_once_the_nodes_of_the_first_are_ready(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    up(world)
    servers, nodes = {*CONTROL_PLANE_UNITS}, {*RUNTIME_UNITS, *NODE_UNITS}
    assert units_started(world) == {
        ("cp1", "pki.0"): {CONTROL_PLANE_UNITS[0], *RUNTIME_UNITS},
        ("cp1", "controllers.0"): {*CONTROL_PLANE_UNITS[1:], *NODE_UNITS},
        **{(host, step): {*units} for host in ("w1", "w2")
           for step, units in (("pki.0", RUNTIME_UNITS), ("controllers.0", NODE_UNITS))},
        ("cp2", "join.0"): servers | nodes, ("cp3", "join.0"): servers | nodes}
    told = [(e.type, e.phase) for e in world.events]
    assert told.index(("phase-done", "network")) < told.index(("phase-start", "join"))
    proved: dict[tuple[str, str], int] = {}
    for number, event in enumerate(world.events):
        for name in (servers | nodes) & set((event.data or {}).get("proved", ()) if event.type == "gate" else ()):
            proved.setdefault((event.host, name), number)
    begins = told.index(("phase-start", "join"))
    assert {where: number > begins for where, number in proved.items()} == {
        (host, unit): host in ("cp2", "cp3") for host in world.inventory.cluster.hosts
        for unit in (servers | nodes if host.startswith("cp") else nodes)}
    assert [f"Ready: {', '.join(hosts)}" for hosts in (("cp1", "w1", "w2"), ("cp1", "cp2", "cp3", "w1", "w2"))] == [
        text for e in world.events if e.type == "gate" and e.data for text in e.data["proved"] if "Ready:" in text]


@pytest.mark.parametrize("workers", [0, 1])
def test_where_the_others_would_be_as_few_as_the_replicas_of_the_first_pods_all_nodes_begin_at_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    instant(monkeypatch)
    gone = ("w1", "w2")[workers:]
    hosts = {name: row for name, row in yaml.safe_load(LAB)["hosts"].items() if name not in gone}
    world = World.make(tmp_path, monkeypatch, hosts=hosts)
    up(world)
    started = units_started(world)
    for host in ("cp2", "cp3"):
        assert started[host, "pki.0"] == {*RUNTIME_UNITS}
        assert started[host, "controllers.0"] == {*NODE_UNITS}
        assert started[host, "join.0"] == {*CONTROL_PLANE_UNITS}


def test_a_first_run_killed_before_the_others_joined_is_completed_by_the_next(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    with killed_before(world, "join"):
        pass
    for host in ("cp2", "cp3"):
        states = world.hosts.hosts[host].states
        held = (*CONTROL_PLANE_UNITS, *RUNTIME_UNITS, *NODE_UNITS)
        assert not [unit for unit in held if ("unit", unit) in states]
        states.update({("unit", unit): "inactive disabled due" for unit in held})    # as systemd has it
    world.forget()
    session = world.session()
    survey(session)
    assert session.api_servers == ("cp1",), "nobody has to wait for those that were never started"
    up(world)
    for host in ("cp1", "cp2", "cp3"):
        for unit in (*CONTROL_PLANE_UNITS, *RUNTIME_UNITS, *NODE_UNITS):
            assert world.hosts.hosts[host].states["unit", unit].startswith("active "), (host, unit)


def test_an_api_server_that_is_to_start_with_its_host_counts_although_it_has_not_yet(built: World) -> None:
    built.hosts.hosts["cp2"].states["unit", CONTROL_PLANE_UNITS[0]] = "inactive enabled due"
    session = built.session()
    survey(session)
    assert session.api_servers == ("cp1", "cp2", "cp3")


@pytest.mark.parametrize("begins", BEGINNINGS)
def test_a_run_may_begin_at_each_phase_that_is_offered(
        built: World, monkeypatch: pytest.MonkeyPatch, begins: str) -> None:
    instant(monkeypatch)
    built.hosts.hosts["w1"].edit(KUBELET_CONFIG[1], "file sha256:by-hand 0600 root:root", "maxPods: 5\n",
                                 unit="kubelet.service")
    built.perform(replace(UP_ALL, start=begins))
    assert built.events[-1].status == "ok"


def test_on_a_live_cluster_there_is_no_phase_in_which_control_planes_join(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    built.hosts.hosts["cp2"].edit("/etc/kubernetes/scheduler.yaml", "file sha256:by-hand 0600 root:root", "",
                                  unit="kube-scheduler.service")
    up(built)
    assert "join" not in {e.phase for e in built.events}


def test_the_package_s_own_file_is_expected_once_the_package_is_there(world: World,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    up(world)
    assert all(" 0644 root:root" in h.states["file", "/etc/haproxy/haproxy.cfg"]
               and "of-the-package" not in h.states["file", "/etc/haproxy/haproxy.cfg"]
               for h in world.hosts.hosts.values())


def test_after_a_first_run_nothing_differs_and_a_second_only_proves(built: World) -> None:
    with built.session() as session:
        plan = survey(session)
        assert (plan.is_empty, plan.bootstrap, plan.strangers) == (True, False, ())
    up(built)
    assert built.hosts.log == []
    assert [m for m, _ in built.api.log] == []
    assert [e.phase for e in built.events if e.type == "phase-done"] == ["verify"]


def test_no_member_can_ever_say_new_again_after_the_first_gate(built: World) -> None:
    for name in ("cp1", "cp2", "cp3"):
        states = built.hosts.hosts[name].states
        assert states.get(("file", BOOTSTRAP_ENV), ABSENT) == ABSENT
        assert states["file", BOOTSTRAPPED].startswith("file ")
    assert ("file", BOOTSTRAPPED) not in built.hosts.hosts["w1"].states


def test_a_run_killed_after_the_members_started_still_ends_as_one_cluster(world: World,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    with killed_before(world, "etcd") as session:
        UP[NAMES.index("etcd")].act(session)            # killed before its gate
    assert world.hosts.hosts["cp1"].states["file", BOOTSTRAP_ENV].startswith("file ")
    up(world)
    assert ("file", BOOTSTRAP_ENV) not in world.hosts.hosts["cp1"].states
    assert is_bootstrapped({"cp1": _observed(world, "cp1")})


def test_a_run_killed_while_the_hosts_were_told_that_the_cluster_is_up_is_finished_by_the_next(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    with killed_before(world, UP[NAMES.index("etcd") + 1].name):
        pass
    for name in ("cp2", "cp3"):                         # killed when only cp1 had been told
        states = world.hosts.hosts[name].states
        del states["file", BOOTSTRAPPED]
        states["file", BOOTSTRAP_ENV] = File(path=BOOTSTRAP_ENV, phase="etcd", content=NEW).want()
    world.forget()
    up(world)
    test_no_member_can_ever_say_new_again_after_the_first_gate(world)
    told = [hosts for what, step, hosts in world.hosts.log if (what, step) == ("apply", "etcd.bootstrapped")]
    assert told == [("cp2",), ("cp3",)]


def _observed(world: World, host: str):  # type: ignore[no-untyped-def]
    session = world.session()
    survey(session)
    return session.observed[host]


def test_one_file_changed_by_hand_is_put_back_there_alone_and_restarts_its_unit_once(built: World) -> None:
    host = built.hosts.hosts["w1"]
    host.edit(KUBELET_CONFIG[1], "file sha256:by-hand 0600 root:root", "maxPods: 5\n", unit="kubelet.service")
    with built.session() as session:
        plan = survey(session)
    assert [(c.host, c.kind, c.path, c.action, c.reason) for c in plan.changes] == [
        ("w1", "file", KUBELET_CONFIG[1], "change", plan.changes[0].reason),
        ("w1", "unit", "kubelet.service", "restart", f"{KUBELET_CONFIG[1]} ({plan.changes[0].reason})")]
    assert plan.changes[0].reason.startswith("-maxPods 5, +apiVersion ")
    up(built)
    assert built.hosts.log == [("apply", "node.0", ("w1",))]
    with built.session() as session:
        assert survey(session).is_empty


def rounds(world: World) -> list[tuple[str, list[str]]]:
    """Return what hosts were asked for by gates: the survey asks only for what lasts in a node's kernel."""
    lasting = {"packet rules of kube-proxy", "packet rules of flanneld", "Pod network"}
    return [(host, names) for host, names in world.hosts.probed if set(names) - lasting]


def test_phases_with_nothing_to_do_ask_each_host_once_together_and_what_changed_is_asked_anew(built: World) -> None:
    host = built.hosts.hosts["w1"]
    host.edit(KUBELET_CONFIG[1], "file sha256:by-hand 0600 root:root", "maxPods: 5\n", unit="kubelet.service")
    built.hosts.probed.clear()
    built.events.clear()
    up(built)
    asked = {h: [names for of_host, names in rounds(built) if of_host == h] for h in ("cp1", "w1")}
    assert {"containerd.service", "etcd /readyz", "haproxy", "kube-apiserver /readyz", "API at the VIP",
            "kube-scheduler.service"} <= set(asked["cp1"][0])
    of_phase = ["node", "network", "verify"]
    assert ["kubelet" in names for names in asked["cp1"]] == [False, True, True, False, True], "before, after, verify"
    assert ["kubelet" in names for names in asked["w1"]] == [False, True, True, True, False, True], "its batch as well"
    proved = [e for e in built.events if e.type == "gate" and e.host == "cp1"]
    assert [e.phase for e in proved] == [
        "runtime", "etcd", "load-balancer", "control-plane", "control-plane", "controllers", *of_phase]
    assert all(e.status == "ok" and e.data and e.data["proved"] for e in proved)


def test_what_is_done_in_the_midst_ends_what_was_asked_together(built: World) -> None:
    del built.api.objects[next(path for path in built.api.objects if "/clusterrolebindings/" in path)]
    built.hosts.probed.clear()
    up(built)
    asked = ["kubelet" in names for host, names in rounds(built) if host == "cp1"]
    assert asked == [True, True, True], "together with all before it, anew after it, and in the end"


def test_the_last_phase_asks_every_host_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    world = World.make(tmp_path, monkeypatch, network={"hosts": ["10.77.0.0/24"], "plugin": "none"})
    up(world)
    world.forget()
    world.hosts.hosts["w1"].states["swap", "swap"] = "on"
    up(world)
    asked = ["containerd.service" in names for host, names in rounds(world) if host == "cp1"]
    assert asked == [True, True]


def test_a_host_that_does_not_hold_while_nothing_is_done_is_named_by_the_gate_of_its_phase(built: World) -> None:
    built.hosts.hosts["w1"].edit(KUBELET_CONFIG[1], "file sha256:by-hand 0600 root:root", "maxPods: 5\n")
    built.hosts.broken = {"cp2: kube-scheduler.service": "failed"}
    with pytest.raises(GateFailed, match=r"cp2: gate after controllers: .* kube-scheduler.service: failed"):
        up(built)
    assert built.hosts.log == []


def test_one_file_changed_by_hand_and_never_read_is_put_back_and_nothing_restarts(built: World) -> None:
    host = built.hosts.hosts["w1"]
    host.edit(KUBELET_CONFIG[1], "file sha256:by-hand 0600 root:root", "maxPods: 5\n")
    with built.session() as session:
        assert [(c.kind, c.path) for c in survey(session).changes] == [KUBELET_CONFIG]
    up(built)
    with built.session() as session:
        assert survey(session).is_empty


def test_renewed_member_certificates_restart_members_one_at_a_time_each_proved_alone(built: World) -> None:
    # Those whose turn has not come run with their old certificate: the proof between batches must not wait for them.
    for name in ("cp1", "cp2", "cp3"):
        del built.hosts.hosts[name].extras["certificate", ETCD_SERVER]      # unreadable: issued anew
    up(built)
    assert applied(built) == [("etcd.0", ("cp2",)), ("etcd.1", ("cp3",)), ("etcd.2", ("cp1",))], "the leader comes last"
    proofs = [host for host, names in built.hosts.probed if "etcd.service" in names]
    assert proofs[:3] == ["cp2", "cp3", "cp1"], "after each batch only its own host is asked"


def test_while_a_member_is_down_a_re_run_restarts_no_other(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first run restarted cp1's member, which did not come back: it runs what it should and is in no plan any more.
    instant(monkeypatch)
    built.hosts.hosts["cp1"].states["unit", "etcd.service"] = "activating enabled current"
    built.hosts.silent.add("cp1")
    for name in ("cp2", "cp3"):
        del built.hosts.hosts[name].extras["certificate", ETCD_SERVER]
    with pytest.raises(GateFailed, match=r"gate before etcd: .*cp1: .*1 of 2 members answer"):
        up(built)
    assert built.hosts.log == [], "not even the certificates, which belong to the restart"


def test_a_member_that_is_down_itself_is_restarted_while_the_others_serve(built: World) -> None:
    del built.hosts.hosts["cp2"].extras["certificate", ETCD_SERVER]
    built.hosts.silent.add("cp2")
    with at_each_step(built, built.hosts.silent.clear):
        up(built)
    assert applied(built) == [("etcd.0", ("cp2",))]


def applied(world: World) -> list[tuple[str, tuple[str, ...]]]:
    """Return the batches that were carried to hosts, in their order."""
    return [entry[1:] for entry in world.hosts.log if entry[0] == "apply"]


def edited(world: World, *hosts: str) -> None:
    """Change a file by hand that an API server reads at its start, and let it have read that."""
    for name in hosts:
        world.hosts.hosts[name].edit(AUTHENTICATION, "file sha256:by-hand 0600 root:root",
                                     unit="kube-apiserver.service")


def test_while_an_api_server_is_down_a_re_run_restarts_no_other(built: World) -> None:
    edited(built, "cp2", "cp3")
    built.hosts.broken = {"cp1: kube-apiserver /readyz": "connection refused"}
    with pytest.raises(GateFailed, match=r"cp1: gate before control-plane: .*connection refused"):
        up(built)
    assert built.hosts.log == []


def test_an_api_server_that_serves_nobody_is_restarted_whatever_the_others_do(built: World) -> None:
    edited(built, "cp1")
    built.hosts.broken = {f"{h}: kube-apiserver /readyz": "500" for h in ("cp1", "cp2", "cp3")}
    with pytest.raises(GateFailed, match="gate after control-plane"):
        up(built)
    assert {e[2] for e in built.hosts.log} == {("cp1",)}


def test_a_ca_file_that_is_torn_or_has_another_end_of_line_is_put_back_and_not_taken_for_another_cluster_s(
        built: World) -> None:
    for name, text in (("cp1", ""), ("w1", built.secrets().public()["ca.crt"].replace("\n", "\r\n"))):
        built.hosts.hosts[name].states["file", CA] = "file sha256:by-hand 0644 root:root"
        built.hosts.hosts[name].extras["file", CA] = {"text": text}
    with built.session() as session:
        assert {(c.host, c.path) for c in survey(session).changes if c.kind == "file"} == {("cp1", CA), ("w1", CA)}


@pytest.mark.parametrize("fault", [ApiFault("GET /", "certificate has expired", 401),
                                   GateFailed("no control plane gives access", code=NO_ACCESS)])
def test_credentials_that_do_not_open_the_api_are_replaced_and_fetched_anew_in_the_same_run(
        built: World, monkeypatch: pytest.MonkeyPatch, fault: KubewrightError) -> None:
    with built.session() as session:
        files = session.access.admin_files()
        files[1].write_text("of no use")

        def refuse(*_: object) -> None:
            raise fault

        with monkeypatch.context() as patch:
            patch.setattr(FakeAccess, "kube", refuse)
            assert {o.action for o in survey(session).objects} == {"add"}
        assert session.access.admin_files()[1].read_text() != "of no use"


@pytest.mark.parametrize("state", ["file hmac:by-hand 0600 root:root", "file MINE 0644 root:root"])
def test_a_secret_edited_and_never_read_or_with_another_mode_is_put_back_and_the_plan_names_no_restart(
        built: World, state: str) -> None:
    host = built.hosts.hosts["cp1"]
    host.edit(SA_KEY, state.replace("MINE", host.states["file", SA_KEY].split()[1]))
    with built.session() as session:
        assert [(c.kind, c.path) for c in survey(session).changes] == [("file", SA_KEY)]
        engine.run(session, UP)
    assert built.hosts.log == [("apply", "pki.0", ("cp1",))]
    with built.session() as session:
        assert survey(session).is_empty


def test_credentials_that_a_run_has_replaced_on_the_hosts_are_fetched_anew(built: World) -> None:
    with built.session() as session:
        survey(session)
        before = session.access.admin_files()[1].read_bytes()      # as the prober does, before the first phase
        for host in built.hosts.hosts.values():
            host.states.pop(("certificate", ADMIN.path), None)
        plan = survey(session)
        assert ADMIN.path in {c.path for c in plan.changes}
        engine.run(session, UP[:3])
        assert session.access.admin_files()[1].read_bytes() != before


def test_a_host_that_lost_its_member_s_data_is_refused_and_nothing_of_etcd_is_touched(built: World) -> None:
    host = built.hosts.hosts["cp2"]
    for key in [k for k in host.states if "etcd" in k[1] and k[0] != "certificate"]:
        del host.states[key]
    built.hosts.listed["cp2"] = MemberSeen(2, "cp2", ("https://10.77.0.12:2380",))
    with pytest.raises(RefusedForSafety) as refused:
        up(built)
    assert refused.value.exit_code == 15
    assert refused.value.code == "etcd-member-lost"
    assert "cp2" in refused.value.message and "cp1" not in refused.value.message
    assert not [e for e in built.hosts.log if e[0] == "apply" and e[1].startswith("etcd")]


def test_an_inventory_with_another_ca_is_refused_before_anything_is_done(built: World) -> None:
    shutil.rmtree(built.inventory.secrets_dir)
    built.secrets().create("lab")
    with pytest.raises(RefusedForSafety) as refused:
        up(built)
    assert (refused.value.exit_code, refused.value.code) == (15, "foreign-ca")
    assert "cp1" in refused.value.message
    assert built.hosts.log == []


@pytest.mark.parametrize("name", ["ca.crt", "etcd-ca.crt", "front-proxy-ca.crt"])
def test_each_of_the_three_cas_must_be_the_cluster_s(built: World, name: str) -> None:
    other = pki.new_ca("of another cluster").certificate
    (built.inventory.secrets_dir / name).write_bytes(other)
    with pytest.raises(RefusedForSafety) as refused:
        up(built)
    assert (refused.value.exit_code, refused.value.code) == (15, "foreign-ca")
    assert built.hosts.log == []


def test_an_inventory_without_a_ca_is_refused_on_a_live_cluster_and_mints_none(built: World) -> None:
    shutil.rmtree(built.inventory.secrets_dir)
    with pytest.raises(RefusedForSafety, match="another CA than this inventory"):
        up(built)
    assert not built.inventory.secrets_dir.exists()


def test_a_host_that_does_not_answer_stops_the_run_before_anything_is_done(world: World) -> None:
    world.hosts.hosts["w2"].down = True
    with pytest.raises(Unreachable, match="w2"):
        up(world)
    assert world.hosts.log == []


def test_a_host_that_is_not_what_the_plan_saw_is_stale_and_later_phases_do_not_start(built: World) -> None:
    built.hosts.hosts["w1"].states[KUBELET_CONFIG] = "file sha256:one 0644 root:root"
    with built.session() as session:
        survey(session)
        built.hosts.hosts["w1"].states[KUBELET_CONFIG] = "file sha256:two 0644 root:root"
        with pytest.raises(PlanStale):
            engine.run(session, UP)
    end = built.events[-1]
    assert (end.type, end.status, end.phase) == ("run-end", "failed", "node")
    assert end.data and end.data["not_started"] == ["network", "join", "addons", "remove", "verify"]
    assert end.data["error"]["code"] == "plan-stale"


def test_a_node_that_the_inventory_does_not_name_is_told_and_left_alone(built: World) -> None:
    built.api.put("/api/v1/nodes/old1", {"metadata": {"name": "old1"}, "status": {}})
    with built.session() as session:
        plan = survey(session)
    assert (plan.strangers, plan.is_empty) == (("old1",), True)


def test_objects_are_all_to_add_while_the_api_says_it_cannot_answer(built: World) -> None:
    built.api.refuse = 503
    with built.session() as session:
        plan = survey(session)
    assert {o.action for o in plan.objects} == {"add"}
    built.api.refuse = 400
    with built.session() as session, pytest.raises(KubewrightError, match="400"):
        survey(session)


def test_a_namespace_of_ours_that_is_no_longer_desired_is_left_and_named_until_its_end_is_asked_for(
        built: World) -> None:
    record = built.api.objects["/api/v1/namespaces/kube-system/configmaps/kubewright-objects-access"]
    record["data"]["objects"] += "v1 Namespace old\n"
    built.api.put("/api/v1/namespaces/old", {"kind": "Namespace", "metadata": {
        "name": "old", "uid": "1", "labels": MANAGED_BY, "managedFields": [{"manager": "kubewright"}]}})
    with built.session() as session:
        plan = last_applied.judge_hosts(session, survey(session), "up")
        assert not [c for c in plan.objects if c.action == "remove"]
        assert [(v.path, v.code) for v in plan.verdicts] == [("Namespace old", owner.NAMESPACE)]
    with built.session() as session:
        session.run.allowed = (owner.NAMESPACE,)
        assert [c.identity for c in survey(session).objects if c.action == "remove"] == ["Namespace old"]


def test_a_namespace_that_only_carries_our_label_is_no_business_of_ours(built: World) -> None:
    built.api.put("/api/v1/namespaces/shop", {"kind": "Namespace", "metadata": {"name": "shop", "labels": MANAGED_BY}})
    with built.session() as session:
        session.run.allowed = (owner.NAMESPACE,)
        assert survey(session).is_empty
