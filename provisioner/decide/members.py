"""Whether a member's data is its own: decided from what is on disk and from who the members say they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioner.decide.membership import known_as
from provisioner.model.desired import EtcdMember
from provisioner.model.etcd import MemberSeen, quorum

ABSENT, EMPTY, THERE = "absent", "empty", "there"
LOST = "its etcd member lost its data"


@dataclass(frozen=True)
class MemberData:
    """What a host has of a member: nothing, a log without an entry, or data; and whose, as hexadecimal text."""

    state: str = ABSENT
    member: str = ""


@dataclass(frozen=True)
class MemberFault:
    """Why a member cannot be started as it is.

    `is_replaced` says whether its host may be given its place anew now. One that has `moved` has its own data, and only
    another address: that has to go first.
    """

    host: str
    saw: str
    is_replaced: bool = False
    moved: bool = False


def judge(
    wanted: Sequence[EtcdMember], data: Mapping[str, MemberData], listed: Sequence[MemberSeen] | None, answering: int,
) -> tuple[MemberFault, ...]:
    """Return the members of a founded cluster that have lost what made them members. Pure.

    `data` is that of the hosts that were seen, `listed` what `answering` members say who they are; None where none
    answers. A member that was added, and has nothing yet, is no fault: it joins when it is started.
    """
    faults = []
    for member in wanted:
        seen = data.get(member.name)
        fault = _judge(member, seen, listed) if seen else None
        if fault is not None:
            faults.append(_possible(fault, wanted, data, None if listed is None else len(listed), answering))
    return tuple(faults)


def _possible(
    fault: MemberFault, wanted: Sequence[EtcdMember], data: Mapping[str, MemberData], members: int | None,
    answering: int,
) -> MemberFault:
    """Return the fault as one that nobody can mend yet, with what to do first, where too few members answer."""
    if members is None:
        why = "no majority of the members answers, which could give it back"
    elif answering >= quorum(members):
        return fault
    else:
        why = f"{answering} of {members} members answer: too few to replace it"
    kept = [m.name for m in wanted if m.name != fault.host and (m.name not in data or data[m.name].state == THERE)]
    # Who restores a snapshot loses what was written since: not while a majority may have it all.
    first = (f"let these answer first (on {', '.join(kept)}: systemctl start etcd): while a majority has its data, no "
             "snapshot is needed" if len(kept) >= quorum(len(wanted)) else
             "what is left becomes the cluster by kubewright etcd recover, a snapshot by kubewright etcd restore")
    return MemberFault(fault.host, f"{fault.saw}, and {why}; {first}")


def _judge(member: EtcdMember, seen: MemberData, listed: Sequence[MemberSeen] | None) -> MemberFault | None:
    if listed is None:
        return None if seen.state == THERE else MemberFault(member.name, LOST)
    entry = known_as(member, listed)
    if entry is None and seen.state == ABSENT:
        return None         # nobody yet: it joins
    if entry is None:
        return MemberFault(member.name, "it is no etcd member: it was removed", is_replaced=True)
    own = seen.member == f"{entry.id:x}"
    if member.peer_url not in entry.peer_urls:
        there = f"the members know it at {', '.join(entry.peer_urls)} and not at {member.peer_url}"
        if seen.state == THERE and own:
            return MemberFault(member.name, there, is_replaced=True, moved=True)
        return MemberFault(member.name, f"{LOST}; {there}", is_replaced=True)
    if not entry.name:      # added, and not started yet
        if seen.state == ABSENT or own:
            return None
        return MemberFault(member.name, "it was added as a member anew, and still has the data of before",
                           is_replaced=True)
    if seen.state == THERE and (own or not seen.member):
        return None
    saw = LOST if seen.state != THERE else f"its data is that of another member ({seen.member})"
    return MemberFault(member.name, saw, is_replaced=True)
