"""Members that have lost what made them members: seen in every survey, refused before anything is changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from provisioner.compile import etcd
from provisioner.decide import members, moving
from provisioner.decide.members import MemberData, MemberFault
from provisioner.decide.membership import Membership
from provisioner.errors import RefusedForSafety
from provisioner.model.cluster import Host
from provisioner.model.desired import Desired, EtcdMember, Unit
from provisioner.model.plan import FORGET, JOINS, Change, LostMember, MemberChange
from provisioner.orchestrate.gates import etcd_members
from provisioner.orchestrate.plan import owner
from provisioner.orchestrate.session.session import Session

UNIT = Unit(path=etcd.UNIT, phase="etcd")
COUNTED_ON = (UNIT.path, "kube-apiserver.service")      # by the other hosts, by name
MOVES = "etcd-moves"    # the change rule after --allow by which members leave hosts that stay


@dataclass(frozen=True)
class Found:
    """Members that cannot be started as they are; what is done about who is one, and how many voted before.

    `joining` are the hosts whose member is to vote and does not yet.
    """

    lost: tuple[LostMember, ...] = ()
    changes: tuple[MemberChange, ...] = ()
    voters: int = 0

    @property
    def joining(self) -> set[str]:
        return {c.host for c in self.changes if c.action in JOINS}


NOTHING = Found()


def look(session: Session, desired: Desired) -> Found:
    """Return the members of a founded cluster that cannot be started as they are, with what mends each, and who joins.

    The members are asked who they are only where one has no data or does not run, a run began to add some, or a host
    leaves or is replaced.
    """
    data = {m.name: _data(session, m.name) for m in desired.members if m.name in session.observed}
    began = recorded(session)
    session.target.former = moving.former(session.cluster, session.observed)
    leaving, former = ({name: EtcdMember(name, Host(name, spec).address) for name, spec in hosts.items()}
                       for hosts in (session.target.leaving, session.target.former))
    going = {**leaving, **former}
    run = all(seen.state == members.THERE and _runs(session, host) for host, seen in data.items())
    if run and not began and not going and not session.target.replacing:
        return NOTHING
    names = [*(m.name for m in desired.members), *going]
    # Why a member does not answer is for the gates and `status` to tell.
    answers = etcd_members.answering(session, [name for name in names if name not in session.unreachable])
    # What answers has taken part, whatever we make of its log.
    data |= {host: MemberData(members.THERE) for host, seen in data.items()
             if host in answers and seen.state == members.EMPTY}
    voters = {host: answer for host, answer in answers.items() if not answer.learner}   # a learner lists nobody
    listed = next((answer.members for answer in voters.values() if answer.leader_id), None)
    # A member with its own data that is known at another address has the same machine, which is not replaced.
    kept = {f"{m.id:x}" for m in listed or ()}
    fresh = {h for h in session.target.replacing if listed is not None and (
        h not in data or data[h].state != members.THERE or data[h].member not in kept)}
    found = [f for f in members.judge(desired.members, data, listed, len(voters)) if f.host not in fresh]
    lost = tuple(LostMember(f.host, f.saw, _cure(f)) for f in found)
    if lost or listed is None:
        return Found(lost)
    seen = Membership(listed, {a.member_id for a in answers.values() if a.leader_id}, began)
    known = {name: entry for name, member in going.items() if (entry := seen.known(member))}
    session.target.still_members = {name for name, entry in known.items() if not entry.is_learner}
    session.target.replaced = _replaced(session, desired, seen, data)
    at_once = [*(known[name].id for name in leaving if name in known), *session.target.replaced.values()]
    return _acts(desired, seen, at_once, list(former.values()))


def _replaced(session: Session, desired: Desired, seen: Membership, data: Mapping[str, MemberData]) -> dict[str, int]:
    """Return the members of hosts that are replaced, as they were before: those whose data is not on their host."""
    found = {}
    for member in desired.members:
        entry = seen.known(member)
        if member.name in session.target.replacing and entry is not None and entry.name and not entry.is_learner:
            there = data.get(member.name, MemberData())
            if there.state != members.THERE or there.member not in ("", f"{entry.id:x}"):
                found[member.name] = entry.id
    return found


def _acts(desired: Desired, seen: Membership, leaving: Collection[int], going: Sequence[EtcdMember]) -> Found:
    """Return the acts on who is a member; as something that is lost where one of them may not be done."""
    acts, refused = moving.course(seen, desired.members, going, leaving)
    missing = [m for m in desired.members if not seen.is_voter(m)]
    if refused and leaving:
        host = ", ".join(m.name for m in seen.listed if m.id in leaving)
        return Found((LostMember(host, f"its etcd member is not taken out: {refused}"),))
    if refused and (missing or acts):
        host = next((m.name for m in missing), acts[0].host if acts else "etcd")
        return Found((LostMember(host, f"its etcd member does not join: {refused}"),))
    changes = [MemberChange(a.kind, a.host or a.url) for a in acts]
    if seen.recorded and not changes:
        changes = [MemberChange(FORGET)]
    return Found((), tuple(changes), len(seen.voters) if changes else 0)


def recorded(session: Session) -> frozenset[str]:
    """Return the peer addresses of the members that a run has recorded on hosts that it adds."""
    texts = (str(seen.extra(owner.JOINING_MARK.kind, owner.JOINING_MARK.path).get("text", ""))
             for seen in session.observed.values())
    return frozenset(line.split()[-1] for text in texts for line in text.splitlines() if line.strip())


def _data(session: Session, host: str) -> MemberData:
    seen = session.observed[host]
    return MemberData(seen.state(owner.MEMBER.kind, owner.MEMBER.path),
                      str(seen.extra(owner.MEMBER.kind, owner.MEMBER.path).get("member", "")))


def _runs(session: Session, host: str) -> bool:
    return session.observed[host].runs(UNIT.path)


def _cure(fault: MemberFault) -> tuple[str, ...]:
    """Return the commands that give a host its place again; data of its own goes by a verb for that alone."""
    first = (f"kubewright reset {fault.host}",) if fault.moved else ()
    return (*first, f"kubewright node replace {fault.host}") if fault.is_replaced else ()


def without_starts(changes: Sequence[Change], lost: Sequence[LostMember]) -> tuple[Change, ...]:
    """Return the changes without the starts of members that will not be started."""
    hosts = {member.host for member in lost}
    return tuple(c for c in changes if not (c.host in hosts and (c.kind, c.path) == (UNIT.kind, UNIT.path)))


def refuse(session: Session) -> None:
    """Raise RefusedForSafety where a member has lost its data: it would have to join, not to start.

    And where one of a cluster that is up would be taken away, as its role is asked for no more: the change rules say so
    too, but only where it is known what was applied, which it is not before the first run that ends well. Of hosts that
    leave it is what was asked for, and where `--allow` said that etcd moves.
    """
    plan = session.the_plan
    _refuse_to_take_away(session)
    if not plan.lost:
        return
    several = [f"{member.host}: {member.saw}" for member in plan.lost]
    raise RefusedForSafety(
        several[0] if len(several) == 1 else f"{len(several)} etcd members cannot be started",
        details=["the other members keep serving; nothing was changed", *(several if len(several) > 1 else [])],
        code="etcd-member-lost", hint=next((m.typed for m in plan.lost if m.cure), "kubewright status"))


def _refuse_to_take_away(session: Session) -> None:
    plan, moves = session.the_plan, MOVES in session.run.allowed
    going = [c for c in plan.changes if c.kind == Unit.kind and c.action == "remove" and c.path in COUNTED_ON
             and c.host not in session.target.leaving and not (moves and c.path == UNIT.path)]
    if plan.bootstrap or not going:
        return
    hosts = list(dict.fromkeys(c.host for c in going))
    may_move = not moves and all(c.path == UNIT.path for c in going)
    allow = f"; or, to move it: kubewright up --allow {MOVES}" if may_move else ""
    raise RefusedForSafety(
        f"{', '.join(hosts)}: {going[0].path} is there and its role is not in cluster.yaml: `up` takes no member away "
        "unasked", code="member-role-removed",
        hint=f"kubewright up    # when {hosts[0]} has its role in cluster.yaml again{allow}",
        details=["nothing was changed; its data is where it was",
                 *(f"{c.host}: {c.path} would be taken away too" for c in going[1:])])
