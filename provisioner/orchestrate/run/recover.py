"""`etcd recover`: the majority's data is gone for ever, and what the survivor has becomes the cluster's.

A snapshot of the survivor that is furthest is taken without a quorum and restored on every member's host, as any other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from provisioner.decide.members import THERE
from provisioner.errors import RefusedForSafety
from provisioner.model.etcd import EtcdStatus, quorum
from provisioner.model.plan import Plan
from provisioner.orchestrate.gates import etcd_members
from provisioner.orchestrate.look import snapshots as look
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.plan.approval import Agreed
from provisioner.orchestrate.run import restore
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.session.session import Session
from provisioner.transport.pool import raise_all

MAJORITY = "majority-has-data"


def plan(session: Session, intent: Intent, agreed: Agreed) -> Plan:
    """Take the survivor's snapshot, kept here as any other, and plan its restore; changes nothing on any host.

    RefusedForSafety where a majority serves, or could: what it has acknowledged may be on no survivor.
    """
    names = [h.name for h in session.cluster.etcd_hosts]
    answers = etcd_members.answering(session, names)
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
    allow = tuple(a for a in intent.allow if a != MAJORITY)
    return restore.plan(session, replace(intent, file=file, allow=allow), agreed)


def _voters(answers: Mapping[str, EtcdStatus], names: list[str]) -> set[str]:
    """Return the members that vote, as the survivors list them; the inventory may have others, or fewer."""
    listed = {m.id: m.name or f"{m.id:x}" for a in answers.values() for m in a.members if not m.is_learner}
    return set(listed.values()) or set(names)


def _with_data(session: Session, names: list[str]) -> list[str]:
    """Return the hosts on which a member's data lies, whether it runs or not; raises where one does not answer."""
    seen = raise_all(session.hosts.observe_each({name: (owner.MEMBER,) for name in names}))
    return [name for name, one in seen.items() if one.state(owner.MEMBER.kind, owner.MEMBER.path) == THERE]
