"""`etcd restore` on hosts in memory: in which order what stops and starts, and what a fault leaves."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.converge.results import HostResult
from provisioner.decide.restoring import BUMP
from provisioner.errors import KubewrightError, RefusedForSafety
from provisioner.model.cluster import Cluster
from provisioner.model.etcd import MemberSeen
from provisioner.model.plan import Plan
from provisioner.model.snapshot import Proof
from provisioner.operate import etcd
from provisioner.operate.etcd import EtcdFault
from provisioner.operate.snapshots import Opened
from provisioner.orchestrate.gates import etcd_members
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.phases import restoring
from provisioner.orchestrate.plan import restorable
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Performed
from provisioner.orchestrate.run.verb import Consent
from tests.fakes.session import World

PLANES = ("cp1", "cp2", "cp3")
THEN = {b"/registry/configmaps/default/a": 5}
NOW = {b"/registry/configmaps/default/b": 9}
OLD = "tree 7 0700 etcd:etcd"


@pytest.fixture
def restored(built: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    db = tmp_path / "given.db"
    db.write_bytes(b"snapshot")
    sha256 = hashlib.sha256(b"snapshot").hexdigest()
    monkeypatch.setattr(look, "opened", lambda *a: Opened(db, True, None, {}, sha256))
    monkeypatch.setattr(look, "rehearsed", lambda *a: (Proof(5, len(THEN), None, "", 0.1, ""), THEN))
    monkeypatch.setattr(etcd, "revisions", lambda access: NOW)
    monkeypatch.setattr(etcd, "count", lambda access: len(THEN))
    monkeypatch.setattr(etcd, "hash_of", lambda access, revision: (7, 1))
    for name in PLANES:
        built.hosts.hosts[name].states["tree", restoring.MEMBER] = OLD
    return built


def restore(world: World, tmp_path: Path, seen: list[Plan] | None = None) -> Performed:
    def ask(plan: Plan, consent: Consent) -> bool:
        if seen is not None:
            seen.append(plan)
        return True

    return world.perform(Intent("etcd restore", file=tmp_path / "s.db.age"), ask)


def steps(world: World) -> list[str]:
    return [one[1] for one in world.hosts.log if one[0] == "apply"]


def test_what_writes_stops_first_then_the_members_and_all_start_in_the_other_order(
        restored: World, tmp_path: Path) -> None:
    plans: list[Plan] = []
    done = restore(restored, tmp_path, plans)
    assert steps(restored) == [
        "etcd.made", "etcd.writers", "etcd.members", "etcd.swapped", "etcd.started", "etcd.cleared",
        "control-plane.0", "controllers.0", "node.0", "network.0"]
    assert [(v.path, v.sentence) for v in plans[0].verdicts] == [
        ("configmaps", "1 made since then, lost; 1 deleted since then, back")]
    for name in PLANES:
        states = restored.hosts.hosts[name].states
        assert states["tree", f"{restoring.MEMBER}.before-{done.session.run.id}"] == OLD
        assert states["tree", restoring.MEMBER] not in (OLD, "absent")
        assert states["unit", "etcd.service"].startswith("active")
        assert states["unit", "kube-apiserver.service"].startswith("active")
        assert not any(kind == "artifact" and path.endswith("/restore.db") for kind, path in states)


def argv_of(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, list[str]]:
    """Return what etcdutl was told on each host."""
    told: dict[str, list[str]] = {}
    plain = type(next(iter(world.hosts.hosts.values()))).change

    def change(self: Any, one: Any, step: str = "") -> str:
        if one["kind"] == "program":
            told[self.name] = one["argv"]
            assert (one["owner"], one["timeout"]) == ("etcd", restoring.SECONDS)
        return plain(self, one, step)

    monkeypatch.setattr(type(next(iter(world.hosts.hosts.values()))), "change", change)
    restore(world, tmp_path)
    return told


def test_every_member_is_made_with_the_same_token_and_bump_and_its_own_name(
        restored: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = argv_of(restored, monkeypatch, tmp_path)
    assert tuple(told) == PLANES
    for name, argv in told.items():
        assert f"--name={name}" in argv and "--mark-compacted" in argv and "--skip-hash-check" not in argv
        assert any(word.startswith("--bump-revision=1000000") for word in argv)
    for flag in ("--initial-cluster-token=", "--bump-revision=", "--initial-cluster="):
        assert len({word for argv in told.values() for word in argv if word.startswith(flag)}) == 1


@pytest.mark.parametrize("serves", [True, False])
def test_api_servers_that_have_no_etcd_any_more_are_not_waited_for(
        restored: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serves: bool) -> None:
    at_once: list[bool] = []
    plain = type(next(iter(restored.hosts.hosts.values()))).change

    def change(self: Any, one: Any, step: str = "") -> str:
        if one["action"] == "stop" and one["path"] == "kube-apiserver.service":
            at_once.append(bool(one.get("at_once")))
        return plain(self, one, step)

    monkeypatch.setattr(type(next(iter(restored.hosts.hosts.values()))), "change", change)
    if not serves:
        monkeypatch.setattr(etcd_members, "answering", lambda session, hosts: {})
    restore(restored, tmp_path)
    assert at_once == [not serves] * 3


@pytest.mark.parametrize(("step", "stopped"), [("made", False), ("writers", True), ("members", True)])
def test_a_host_that_fails_before_any_data_is_moved_lets_the_old_data_serve_again(
        restored: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, stopped: bool) -> None:
    plain = restored.hosts._apply

    def apply(host: str, request: Any) -> HostResult:
        if host == "cp2" and request["step"].endswith(f".etcd.{step}"):
            return HostResult(host, "failed", message="no space left on device")
        return plain(host, request)

    monkeypatch.setattr(restored.hosts, "_apply", apply)
    with pytest.raises(KubewrightError) as fault:
        restore(restored, tmp_path)
    assert "no space left" in str([fault.value.message, *fault.value.details])
    assert "the data of before was not touched, and serves again" in fault.value.details
    assert ("etcd.writers" in steps(restored)) == stopped, "nothing is stopped before every member is made"
    as_before(restored)


def as_before(world: World, *, but: str = "") -> None:
    """See that all serve with the data that they had, and that nothing of the restore lies there."""
    for name in PLANES:
        states = world.hosts.hosts[name].states
        assert states["tree", restoring.MEMBER] == OLD
        if name != but:
            assert states["unit", "etcd.service"].startswith("active")
            assert states["unit", "kube-apiserver.service"].startswith("active")
            assert not any("restore" in path and state != "absent" for (kind, path), state in states.items()
                           if kind in ("artifact", "tree"))


def test_a_host_that_is_gone_for_good_while_all_is_stopped_keeps_no_other_from_serving_again(
        restored: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = restored.hosts._apply
    gone: list[str] = []

    def apply(host: str, request: Any) -> HostResult:
        if host == "cp2" and (gone or request["step"].endswith(".etcd.members")):
            gone.append(host)
            return HostResult(host, "unreachable", message="connection reset")
        return plain(host, request)

    monkeypatch.setattr(restored.hosts, "_apply", apply)
    with pytest.raises(KubewrightError) as fault:
        restore(restored, tmp_path)
    assert "the data of before was not touched" in fault.value.details
    as_before(restored, but="cp2")


@pytest.mark.parametrize("killed_after", [
    "etcd.made", "etcd.writers", "etcd.members", "etcd.swapped", "etcd.started", "etcd.cleared", "control-plane.0",
    "controllers.0", "node.0", "network.0"])
def test_killed_after_any_step_the_same_command_ends_it(
        restored: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_after: str) -> None:
    class Killed(BaseException):
        """As `kill -9`: nothing of ours runs any more."""

    plain = restored.hosts.apply

    def apply(inventory: object, directory: Path, hosts: Any, **more: Any) -> dict[str, HostResult]:
        done = plain(inventory, directory, hosts, **more)
        if directory.name == killed_after:
            raise Killed
        return done

    with monkeypatch.context() as patch:
        patch.setattr("provisioner.converge.runner.apply", apply)
        with pytest.raises(Killed):
            restore(restored, tmp_path)
    restore(restored, tmp_path)
    for name in PLANES:
        states = restored.hosts.hosts[name].states
        assert states["tree", restoring.MEMBER] not in (OLD, "absent")
        assert OLD in [state for (kind, path), state in states.items()
                       if kind == "tree" and path.startswith(f"{restoring.MEMBER}.before-")]
        assert states["unit", "etcd.service"].startswith("active")
        assert states["unit", "kube-apiserver.service"].startswith("active")
        assert not any(kind == "tree" and path.startswith(restoring.MADE) for kind, path in states)


def test_a_control_plane_that_does_not_answer_is_refused_before_anything_stops(
        restored: World, tmp_path: Path) -> None:
    restored.hosts.hosts["cp3"].down = True
    with pytest.raises(KubewrightError, match="cp3"):
        restore(restored, tmp_path)
    assert steps(restored) == []


def test_where_no_member_answers_the_plan_says_that_what_is_there_is_not_seen(
        restored: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(access: object) -> dict[bytes, int]:
        raise EtcdFault("etcd: listing keys: connection refused")

    monkeypatch.setattr(etcd, "revisions", silent)
    plans: list[Plan] = []
    restore(restored, tmp_path, plans)
    assert plans[0].verdicts[0].sentence == (
        "what is there now is not seen: etcd: listing keys: connection refused")


def test_what_is_allowed_by_name_reaches_the_one_who_judges_the_snapshot(
        restored: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    given = look.opened
    monkeypatch.setattr(look, "opened", lambda session, file, allow: asked.append(allow) or given(session, file, allow))
    restored.perform(Intent("etcd restore", file=tmp_path / "s.db.age", allow=("snapshot-without-manifest",)))
    assert asked == [("snapshot-without-manifest",)]


def leave_out(world: World, *hosts: str) -> None:
    """Take hosts out of cluster.yaml and do nothing else."""
    text = yaml.safe_load(world.inventory.file.read_text())
    text["hosts"] = {name: spec for name, spec in text["hosts"].items() if name not in hosts}
    world.inventory.file.write_text(yaml.safe_dump(text, sort_keys=False))
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(text))


@pytest.mark.parametrize("from_here", [True, False])
def test_members_that_only_left_the_file_would_serve_the_data_of_before_and_are_refused(
        restored: World, tmp_path: Path, from_here: bool) -> None:
    leave_out(restored, "cp2", "cp3")
    if not from_here:       # another machine's checkout: only the hosts know
        restored.inventory.applied_path.unlink()
    restored.hosts.listed |= {"cp2": None, "cp3": None}     # what answers names nobody else
    with pytest.raises(RefusedForSafety, match="hosts differ") as refused:
        restore(restored, tmp_path)
    assert refused.value.code == restorable.DIFFER
    assert any("cp2 is nothing, and was applied as etcd and control plane at 10.77.0.12" in line
               for line in refused.value.details)
    assert steps(restored) == []
    if from_here:
        restored.perform(Intent("etcd restore", file=tmp_path / "s.db.age", allow=(restorable.DIFFER,)))
        assert "etcd.swapped" in steps(restored)


def test_a_voter_that_only_the_members_know_is_named(
        restored: World, tmp_path: Path) -> None:
    restored.hosts.listed["w9"] = MemberSeen(99, "w9", ("https://10.77.0.99:2380",))
    with pytest.raises(RefusedForSafety, match=r"the members count on w9 at https://10\.77\.0\.99:2380"):
        restore(restored, tmp_path)
    assert steps(restored) == []


def test_a_host_without_the_program_that_makes_its_member_is_told_before_anything_stops(
        restored: World, tmp_path: Path) -> None:
    states = restored.hosts.hosts["cp2"].states
    del states[next(key for key in states if key[0] == "artifact" and key[1].endswith("/etcdutl"))]
    with pytest.raises(RefusedForSafety, match="cp2: etcdutl") as refused:
        restore(restored, tmp_path)
    assert refused.value.hint == "kubewright up" and steps(restored) == []


def test_the_same_old_file_restored_twice_while_nobody_answers_never_comes_to_a_revision_again(
        restored: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "answers", lambda session: None)
    bumps = [restore(restored, tmp_path).session.target.restore for _ in range(2)]
    assert [one.bump for one in bumps if one] == [BUMP, 2 * BUMP]
