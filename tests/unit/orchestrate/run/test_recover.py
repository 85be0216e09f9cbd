"""`etcd recover` on hosts in memory: what is refused, and what a run that was killed is gone on from."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import RefusedForSafety
from provisioner.model.etcd import EtcdStatus, MemberSeen
from provisioner.operate import etcd, recovery, snapshots
from provisioner.operate.recovery import Recovery
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.run import recover, restore
from provisioner.orchestrate.run.options import Intent
from tests.fakes.session import World


def leaderless(world: World, monkeypatch: pytest.MonkeyPatch, there: set[str]) -> None:
    """Let only cp2 answer, without a leader, and let `there` be the hosts with data."""
    plain = etcd.status

    def status(access: Any, *, timeout: float = 3.0) -> EtcdStatus:
        return replace(plain(access, timeout=timeout), leader_id=0)

    monkeypatch.setattr(etcd, "status", status)
    world.hosts.silent |= {"cp1", "cp3"}
    for name in ("cp1", "cp2", "cp3"):
        world.hosts.hosts[name].states[owner.MEMBER.kind, owner.MEMBER.path] = "there" if name in there else "empty"


def recovered(world: World, monkeypatch: pytest.MonkeyPatch, *allow: str) -> list[str]:
    """Return the files that were taken and handed on to be restored."""
    files: list[str] = []
    monkeypatch.setattr(look, "take", lambda session, file: files.append(f"took {file.name}"))

    def planned(session: Any, intent: Intent, agreed: Any) -> Any:
        assert isinstance(intent.file, Path) and intent.allow == ()
        files.append(f"restores {intent.file.name}")
        raise RefusedForSafety("enough")

    monkeypatch.setattr(restore, "plan", planned)
    with pytest.raises(RefusedForSafety, match="enough"):
        world.perform(Intent("etcd recover", allow=allow))
    return files


def test_the_survivor_s_snapshot_is_what_is_restored(built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    leaderless(built, monkeypatch, {"cp2"})
    took, restores = recovered(built, monkeypatch)
    assert took.startswith("took lab-") and restores.partition(" ")[2] == took.partition(" ")[2]


def test_a_majority_that_serves_or_has_its_data_is_not_given_up(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedForSafety, match="etcd has a leader"):
        built.perform(Intent("etcd recover"))
    leaderless(built, monkeypatch, {"cp2", "cp3"})
    with pytest.raises(RefusedForSafety, match="cp2, cp3 have their data: 2 of 3 is a majority") as refused:
        built.perform(Intent("etcd recover"))
    assert any("systemctl restart etcd" in line for line in refused.value.details)
    assert len(recovered(built, monkeypatch, recover.MAJORITY)) == 2


def test_the_majority_is_that_of_the_survivor_s_own_list_and_not_of_the_inventory(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    leaderless(built, monkeypatch, {"cp1", "cp2"})
    for number, name in ((8, "cp8"), (9, "cp9")):
        built.hosts.listed[name] = MemberSeen(number, name, (f"https://10.77.0.{number}:2380",))
    assert len(recovered(built, monkeypatch)) == 2, "2 of 5 that vote are no majority, whatever the inventory says"
    built.hosts.listed = {"cp3": MemberSeen(3, "cp3", ("https://10.77.0.13:2380",), is_learner=True)}
    with pytest.raises(RefusedForSafety, match="cp1, cp2 have their data: 2 of 2 is a majority"):
        built.perform(Intent("etcd recover"))


def began(world: World, *, hours: float, cluster: int, holds: bool = False) -> Path:
    """Let a run of this machine have begun a recovery so long ago, of the cluster with this id; return its snapshot."""
    file = world.inventory.snapshots_dir / "survivor.db.age"
    file.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
    file.write_bytes(b"x")
    recovery.note(file.parent, Recovery(file, f"{cluster:x}", time.time() - hours * 3600, holds))
    return file


def test_what_a_killed_recovery_had_taken_is_gone_on_with_while_nobody_of_before_answers(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    began(built, hours=1, cluster=77)
    built.hosts.silent |= {"cp1", "cp2", "cp3"}
    assert recovered(built, monkeypatch) == ["restores survivor.db.age"]
    built.hosts.silent.clear()
    assert recovered(built, monkeypatch) == ["restores survivor.db.age"], "members of another cluster, half made"


def test_a_survivor_that_still_answers_is_asked_again_and_not_what_it_had_then(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    leaderless(built, monkeypatch, {"cp2"})
    own = etcd.status(built.session().access.etcd("cp2")).cluster_id
    began(built, hours=1, cluster=own)
    took, restores = recovered(built, monkeypatch)
    assert took.startswith("took lab-") and restores != "restores survivor.db.age"


def test_after_a_day_without_an_answer_a_person_has_to_name_the_file(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = began(built, hours=49, cluster=77)
    built.hosts.silent |= {"cp1", "cp2", "cp3"}
    with pytest.raises(RefusedForSafety, match="is 2 days old") as refused:
        built.perform(Intent("etcd recover"))
    assert refused.value.hint == f"kubewright etcd restore {file}"


def test_where_every_member_was_proved_to_hold_it_only_what_comes_after_is_done(built: World) -> None:
    began(built, hours=1, cluster=77, holds=True)
    for name in ("cp1", "cp2", "cp3"):
        built.hosts.hosts[name].states["unit", "kube-apiserver.service"] = "inactive enabled current"
    built.perform(Intent("etcd recover"))
    steps = [one[1] for one in built.hosts.log if one[0] == "apply"]
    assert steps == ["control-plane.0", "controllers.0", "node.0", "network.0"]
    assert recovery.begun(built.inventory.snapshots_dir) is None, "it has ended"
    with pytest.raises(RefusedForSafety, match="etcd has a leader"):
        built.perform(Intent("etcd recover"))


def test_data_that_every_member_held_once_is_never_put_back_over_what_was_written_since(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    began(built, hours=1, cluster=77, holds=True)
    built.hosts.silent.add("cp3")
    with pytest.raises(RefusedForSafety, match="etcd has a leader"):
        built.perform(Intent("etcd recover"))
    leaderless(built, monkeypatch, {"cp2"})
    took, restores = recovered(built, monkeypatch)
    assert took.startswith("took lab-") and restores != "restores survivor.db.age", "the majority was lost once more"


def test_a_recovery_that_something_else_ended_is_not_gone_on_with(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before every member was proved, then `up` let API servers serve: the members are past where it began."""
    place = began(built, hours=1, cluster=77).parent
    snapshots.note_reached(place, 1_000_000)
    leaderless(built, monkeypatch, {"cp2"})
    plain, revision = etcd.status, 1_000_000
    monkeypatch.setattr(etcd, "status", lambda access, *, timeout=3.0: replace(
        plain(access, timeout=timeout), revision=revision))
    assert recovered(built, monkeypatch) == ["restores survivor.db.age"], "nothing was written"
    revision += 1
    took, restores = recovered(built, monkeypatch)
    assert took.startswith("took lab-") and restores != "restores survivor.db.age"
