"""`etcd recover`: the majority's data is gone for ever, and what the survivor has becomes the cluster's.

A snapshot of the survivor that is furthest is taken without a quorum and restored on every member's host, as any other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from provisioner.compile.etcd import UNIT
from provisioner.decide.members import THERE
from provisioner.errors import RefusedForSafety
from provisioner.model.etcd import EtcdStatus, quorum
from provisioner.model.plan import NOTED, Plan, Verdict
from provisioner.model.snapshot import Manifest
from provisioner.operate import recovery, snapshots
from provisioner.operate.recovery import Recovery
from provisioner.orchestrate.gates import etcd_members
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.phases import restoring
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.run import restore
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.session.phase import Phase
from provisioner.orchestrate.session.session import Session
from provisioner.transport.pool import raise_all

MAJORITY = "majority-has-data"
RECENT = 86400.0        # seconds in which a run that was killed is still what the same command goes on with


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Take the survivor's snapshot, kept here as any other, and plan its restore; changes nothing on any host.

    RefusedForSafety where a majority serves, or could: what it has acknowledged may be on no survivor.
    """
    names = [h.name for h in session.cluster.etcd_hosts]
    session.run.go_on = " ".join(["kubewright etcd recover", *(f"--allow {a}" for a in intent.allow)])
    answers = etcd_members.answering(session, names)
    began = _begun(session, answers)
    if began is not None:
        return _gone_on_with(session, intent, agreed, began)
    if any(a.leader_id for a in answers.values()):
        raise RefusedForSafety("etcd has a leader: nothing has to be recovered", code="quorum-there",
                               details=["nothing was changed"], hint="kubewright etcd members")
    voters = _voters(answers, names)
    there = [name for name in _with_data(session, names) if name in voters]
    if len(there) >= quorum(len(voters)) and MAJORITY not in intent.allow:
        raise RefusedForSafety(
            f"{', '.join(there)} have their data: {len(there)} of {len(voters)} is a majority", code=MAJORITY,
            details=[f"with them nothing is lost: on {', '.join(there)}: systemctl restart etcd",
                     f"where they cannot start: kubewright etcd recover --allow {MAJORITY}", "nothing was changed"],
            hint="kubewright etcd members")
    file = look.default_file(session, time.time())
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    look.take(session, file)
    look.clean(session)
    return _restored(session, intent, agreed, file)


def _restored(session: Session, intent: Intent, agreed: Agreed, file: Path) -> Plan:
    allow = tuple(a for a in intent.allow if a != MAJORITY)
    return restore.plan(session, replace(intent, file=file, allow=allow), agreed)


def _begun(session: Session, answers: Mapping[str, EtcdStatus]) -> Recovery | None:
    """Return the recovery that a killed run has begun; None where a member of before still tells what it has itself.

    None too where the members may have more than its snapshot. RefusedForSafety where nobody answers and it is long
    ago: nobody can tell what was written since.
    """
    place = session.target.inventory.snapshots_dir
    found = recovery.begun(place)
    if found is None or any(f"{a.cluster_id:x}" == found.cluster_id for a in answers.values()):
        return None
    if _all_serve(session, answers) if found.holds else not _was_written(place, answers):
        return _not_too_old(found, answers)
    return None


def _all_serve(session: Session, answers: Mapping[str, EtcdStatus]) -> bool:
    return len(answers) == len(session.cluster.etcd_hosts) and all(a.leader_id for a in answers.values())


def _was_written(place: Path, answers: Mapping[str, EtcdStatus]) -> bool:
    """Say whether a member that was restored has been written to: something else let API servers serve again."""
    began_at = snapshots.reached(place)
    return bool(began_at) and any(a.revision > began_at for a in answers.values())


def _not_too_old(found: Recovery, answers: Mapping[str, EtcdStatus]) -> Recovery:
    if not answers and time.time() - found.at > RECENT:
        raise RefusedForSafety(
            f"no member answers, and the recovery that was begun with {found.file} is {_days(found.at)} days old",
            code="recovery-old", details=["what was written since then, if anything, is not in it",
                                          "nothing was changed"], hint=f"kubewright etcd restore {found.file}")
    return found


def _days(since: float) -> int:
    return int((time.time() - since) // RECENT)


def _gone_on_with(session: Session, intent: Intent, agreed: Agreed, began: Recovery) -> Plan:
    """Plan what is left of a recovery: all of it again, or, where every member was proved to hold it, what comes after.
    """
    if began.holds:
        told = Verdict("objects", "restore", NOTED, "every member holds them already: the run that was killed is ended")
        return restore.planned(session, restore.admitted(session, intent), (told,), holds=True)
    return _restored(session, intent, agreed, began.file)


def begin(session: Session, intent: Intent, agreed: Agreed, found: Plan) -> Plan:
    """Note which snapshot is restored: once the members are stopped, the survivor tells nobody any more what it has."""
    file = session.target.restore.survivor if session.target.restore else None
    if file is not None:
        manifest = Manifest.read(snapshots.beside(file, "json").read_text(encoding="utf-8"))
        recovery.note(session.target.inventory.snapshots_dir, Recovery(
            file.absolute(), manifest.cluster_id, time.time()))
    return found


def through(intent: Intent, found: Plan) -> tuple[Phase, ...]:
    """Return the phases of a recovery; where no member is stopped, those after it."""
    stops_members = any(c.path == UNIT for c in found.changes)
    return restoring.PHASES if stops_members else restoring.AFTER


def _voters(answers: Mapping[str, EtcdStatus], names: list[str]) -> set[str]:
    """Return the members that vote, as the survivors list them; the inventory may have others, or fewer."""
    listed = {m.id: m.name or f"{m.id:x}" for a in answers.values() for m in a.members if not m.is_learner}
    return set(listed.values()) or set(names)


def _with_data(session: Session, names: list[str]) -> list[str]:
    """Return the hosts on which a member's data lies, whether it runs or not; raises where one does not answer."""
    seen = raise_all(session.hosts.observe_each({name: (owner.MEMBER,) for name in names}))
    return [name for name, one in seen.items() if one.state(owner.MEMBER.kind, owner.MEMBER.path) == THERE]
