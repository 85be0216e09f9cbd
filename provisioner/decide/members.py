"""Whether a member's data is its own: decided from what is on disk and from who the members say they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from provisioner.compile.etcd import DATA_DIR, ETCDCTL
from provisioner.decide.membership import known_as
from provisioner.model.desired import EtcdMember
from provisioner.model.etcd import MemberSeen, quorum

ABSENT, EMPTY, THERE = "absent", "empty", "there"
# What is there is kept, an earlier one too; the directory's own name has to be free.
ASIDE = (("systemctl", "stop", "etcd"),
         ("mv", "--backup=numbered", "-T", f"{DATA_DIR}/member", f"{DATA_DIR}/member.lost"))
LOST = "its etcd member lost its data"


@dataclass(frozen=True)
class MemberData:
    """What a host has of a member: nothing, a log without an entry, or data; and whose, as hexadecimal text."""

    state: str = ABSENT
    member: str = ""


@dataclass(frozen=True)
class Command:
    """What a person runs as root: on the member's own host, or (`elsewhere`) on that of a healthy member."""

    words: tuple[str, ...]
    elsewhere: bool = False


@dataclass(frozen=True)
class MemberFault:
    """Why a member cannot be started as it is, and the commands after which `up` starts it.

    One that has `moved` has its own data, and only another address: it is not replaced.
    """

    host: str
    saw: str
    cure: tuple[Command, ...] = ()
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
    """Return the fault without its cure where too few members answer to change who is one, and what to do first."""
    if members is None:
        why = "no majority of the members answers, which could give it back"
    elif answering >= quorum(members) or not any(command.elsewhere for command in fault.cure):
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
    aside = tuple(Command(words) for words in ASIDE) if seen.state != ABSENT else ()
    add = Command((*ETCDCTL, "member", "add", member.name, f"--peer-urls={member.peer_url}"), elsewhere=True)
    entry = known_as(member, listed)
    if entry is None and seen.state == ABSENT:
        return None         # nobody yet: it joins
    if entry is None:
        return MemberFault(member.name, "it is no etcd member: it was removed", (*aside, add))
    number = f"{entry.id:x}"
    own = seen.member == number
    remove = Command((*ETCDCTL, "member", "remove", number), elsewhere=True)
    if member.peer_url not in entry.peer_urls:
        there = f"the members know it at {', '.join(entry.peer_urls)} and not at {member.peer_url}"
        update = Command((*ETCDCTL, "member", "update", number, f"--peer-urls={member.peer_url}"), elsewhere=True)
        if seen.state == THERE and own:
            return MemberFault(member.name, there, (update,), moved=True)
        return MemberFault(member.name, f"{LOST}; {there}", (*aside, remove, add))
    if not entry.name:      # added, and not started yet
        if seen.state == ABSENT or own:
            return None
        return MemberFault(member.name, "it was added as a member anew, and still has the data of before", aside)
    if seen.state == THERE and (own or not seen.member):
        return None
    saw = LOST if seen.state != THERE else f"its data is that of another member ({seen.member})"
    return MemberFault(member.name, saw, (*aside, remove, add))
