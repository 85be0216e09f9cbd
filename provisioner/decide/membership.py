"""Which single act on etcd's membership comes next, or why none may: the arithmetic of its quorum, from values alone.

A member that does not answer is dead: what looks alive and is not costs the quorum. One act at a time; after each the
members are asked anew and this is decided anew, so a run that was killed anywhere goes on where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from provisioner.model.desired import EtcdMember
from provisioner.model.etcd import MemberSeen, quorum

Kind = Literal["add", "start", "promote", "remove"]


def known_as(member: EtcdMember, listed: Sequence[MemberSeen]) -> MemberSeen | None:
    """Return who a member of the inventory is to the others: by its address, else by its name."""
    by_address = (m for m in listed if member.peer_url in m.peer_urls)
    by_name = (m for m in listed if m.name == member.name)
    return next(iter((*by_address, *by_name)), None)


@dataclass(frozen=True)
class Membership:
    """The members as a majority lists them, the ids of those that answer, and the peer addresses that we have recorded
    as added by us."""

    listed: Sequence[MemberSeen]
    answering: Collection[int]
    recorded: Collection[str] = ()

    @property
    def voters(self) -> tuple[MemberSeen, ...]:
        return tuple(m for m in self.listed if not m.is_learner)

    @property
    def dead(self) -> tuple[MemberSeen, ...]:
        """Return the voters that do not answer; those that never started do not either."""
        return tuple(m for m in self.voters if m.id not in self.answering)

    def is_voter(self, member: EtcdMember) -> bool:
        """Say whether a member of the inventory has a vote, and has told its name."""
        known = self.known(member)
        return known is not None and bool(known.name) and not known.is_learner

    def known(self, member: EtcdMember) -> MemberSeen | None:
        """Return how a member of the inventory is listed."""
        return known_as(member, self.listed)


@dataclass(frozen=True)
class Act:
    """One act: `add` and `start` are of a host, `promote` and `remove` of a member that is listed."""

    kind: Kind
    host: str = ""
    member: int = 0
    url: str = ""


@dataclass(frozen=True)
class Refused:
    """Why nothing may be done, with its sum."""

    why: str
    details: tuple[str, ...] = field(default=())


def next_act(seen: Membership, wanted: Sequence[EtcdMember], leaving: Collection[int] = ()) -> Act | Refused | None:
    """Return what is done next so that the members are `wanted`, without those of the ids in `leaving`; None: nothing.

    What is taken out goes before anything is added, and of that the dead go first. A learner that is there is ended
    before another is added. Nobody is added while a voter is dead: it would raise what a quorum needs.
    """
    if len(seen.voters) - len(seen.dead) < quorum(len(seen.voters)):
        return Refused(_sum(len(seen.voters) - len(seen.dead), len(seen.voters), "answer"))
    return _out(seen, wanted, leaving) or _elsewhere(seen, wanted) or _in(seen, wanted)


def _out(seen: Membership, wanted: Sequence[EtcdMember], leaving: Collection[int]) -> Act | Refused | None:
    named = {member.name for member in wanted}
    urls = {member.peer_url for member in wanted}
    going = []
    for member in seen.listed:
        if member.id in leaving:
            going.append(member)
        elif member.name in named or urls & set(member.peer_urls):
            continue
        elif (member.is_learner or not member.name) and set(member.peer_urls) & set(seen.recorded):
            going.append(member)        # added by a run of ours that was killed, for a host that has left since
        else:
            return Refused(f"{_name(member)} is a member and not in the inventory, and nothing here says that we "
                           "added it")
    # Without a vote it costs nothing; the dead give the quorum back.
    going.sort(key=lambda m: (not m.is_learner, m.id in seen.answering))
    return _removal(seen, going[0]) if going else None


def _removal(seen: Membership, member: MemberSeen) -> Act | Refused:
    act = Act("remove", member.name, member.id, member.peer_urls[0] if member.peer_urls else "")
    if member.is_learner:
        return act
    left = [m for m in seen.voters if m.id != member.id]
    alive = [m for m in left if m.id in seen.answering]
    if not left:
        return Refused(f"{_name(member)} is the only voter: without it there is no etcd")
    if len(alive) < quorum(len(left)):
        dead = [_name(m) for m in left if m not in alive]
        return Refused(_sum(len(alive), len(left), "would remain"),
                       (f"{', '.join(dead)} {'does' if len(dead) == 1 else 'do'} not answer",))
    return act


def _elsewhere(seen: Membership, wanted: Sequence[EtcdMember]) -> Refused | None:
    """Refuse where a member that stays has another address in etcd: none is changed where it stands."""
    for member in wanted:
        known = seen.known(member)
        if known is not None and known.name and member.peer_url not in known.peer_urls:
            return Refused(f"{member.name} is a member at {', '.join(known.peer_urls)} and not at {member.peer_url}")
    return None


def _in(seen: Membership, wanted: Sequence[EtcdMember]) -> Act | Refused | None:
    new = [(member, seen.known(member)) for member in wanted if not seen.is_voter(member)]
    for member, known in new:
        if known is not None and not known.name:
            return Act("start", member.name, known.id, member.peer_url)
        if known is not None:
            return Act("promote", member.name, known.id, member.peer_url)
    missing = [member for member, known in new if known is None]
    if not missing:
        return None
    if seen.dead:
        dead = ", ".join(_name(m) for m in seen.dead)
        return Refused(f"{dead} {'does' if len(seen.dead) == 1 else 'do'} not answer: a new member is added only while "
                       "every voter is well", (_sum(len(seen.voters) - len(seen.dead), len(seen.voters), "answer"),))
    return Act("add", missing[0].name, 0, missing[0].peer_url)


def _name(member: MemberSeen) -> str:
    return member.name or f"{', '.join(member.peer_urls)} (not started)"


def _sum(alive: int, voters: int, verb: str) -> str:
    return f"{alive} of {voters} voters {verb}; a quorum of {voters} needs {quorum(voters)}"


def followed(seen: Membership, wanted: Sequence[EtcdMember], leaving: Collection[int] = (),
             ) -> tuple[list[Act], str, Membership]:
    """Return all acts to come if each goes as it should, why the first that may not is refused ("": none is), and the
    members as they are then.

    So a run that would be refused in its middle is refused before its first act.
    """
    acts: list[Act] = []
    while True:
        act = next_act(seen, wanted, leaving)
        if isinstance(act, Refused):
            return acts, "; ".join([act.why, *act.details]), seen
        if act is None:
            return acts, "", seen
        acts.append(act)
        seen = _after(seen, act)


def _after(seen: Membership, act: Act) -> Membership:
    listed, answering = list(seen.listed), set(seen.answering)
    if act.kind == "add":
        listed.append(MemberSeen(min((0, *(m.id for m in listed))) - 1, "", (act.url,), is_learner=True))
    elif act.kind == "remove":
        listed = [m for m in listed if m.id != act.member]
    else:
        answering.add(act.member)
        listed = [m if m.id != act.member else MemberSeen(
            m.id, act.host, (act.url,), m.is_learner and act.kind != "promote") for m in listed]
    return Membership(tuple(listed), answering, seen.recorded)
