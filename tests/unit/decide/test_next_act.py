"""The next act on etcd's membership: in no state of up to five members, dead or alive, does it cost the quorum."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest

from provisioner.decide.membership import Act, Membership, Refused, followed, next_act
from provisioner.model.desired import EtcdMember
from provisioner.model.etcd import MemberSeen, quorum

NAMES = ("cp1", "cp2", "cp3", "cp4", "cp5")


def wanted(*names: str) -> tuple[EtcdMember, ...]:
    return tuple(EtcdMember(name, f"10.77.0.1{name[-1]}") for name in names)


def url(name: str) -> str:
    return f"https://10.77.0.1{name[-1]}:2380"


def member(name: str, *, learner: bool = False, started: bool = True) -> MemberSeen:
    return MemberSeen(int(name[-1]), name if started else "", (url(name),), learner)


def seen(voters: Sequence[str], dead: Sequence[str] = (), *others: MemberSeen, recorded: Sequence[str] = (),
         ) -> Membership:
    listed = (*(member(v) for v in voters), *others)
    return Membership(listed, {m.id for m in listed if m.name and m.name not in dead}, [url(r) for r in recorded])


THREE = NAMES[:3]


@pytest.mark.parametrize(("now", "want", "leaving", "act"), [
    (seen(THREE), THREE, (), None),
    (seen(THREE), NAMES, (), Act("add", "cp4", 0, url("cp4"))),
    (seen(THREE, (), member("cp4", learner=True, started=False)), NAMES, (), Act("start", "cp4", 4, url("cp4"))),
    (seen(THREE, (), member("cp4", learner=True)), NAMES, (), Act("promote", "cp4", 4, url("cp4"))),
    (seen(("cp1", "cp2", "cp3", "cp4")), NAMES, (), Act("add", "cp5", 0, url("cp5"))),
    # added by a run that was killed, for a host that has left the inventory since
    (seen(THREE, (), member("cp4", learner=True, started=False), recorded=("cp4",)), THREE, (),
     Act("remove", "", 4, url("cp4"))),
    # of what leaves, the dead go first, and before anybody joins
    (seen(NAMES, ("cp2",)), ("cp1", "cp3", "cp5"), (2, 4), Act("remove", "cp2", 2, url("cp2"))),
    (seen(THREE, ("cp2",)), THREE, (2,), Act("remove", "cp2", 2, url("cp2"))),
])
def test_the_next_act_is_one_and_follows_from_what_the_members_say(
        now: Membership, want: Sequence[str], leaving: Sequence[int], act: Act | None) -> None:
    assert next_act(now, wanted(*want), leaving) == act


@pytest.mark.parametrize(("now", "want", "leaving", "why"), [
    (seen(THREE, ("cp2",)), ("cp1", "cp2"), (3,), "1 of 2 voters would remain; a quorum of 2 needs 2"),
    (seen(THREE, ("cp2", "cp3")), THREE, (2,), "1 of 3 voters answer; a quorum of 3 needs 2"),
    (seen(THREE, ("cp2",)), NAMES, (), "cp2 does not answer: a new member is added only while every voter is well"),
    (seen(("cp1",)), (), (1,), "cp1 is the only voter: without it there is no etcd"),
    (seen(THREE, (), member("cp4", learner=True, started=False)), THREE, (),
     "https://10.77.0.14:2380 (not started) is a member and not in the inventory, and nothing here says that we added "
     "it"),
    (seen(("cp1", "cp2", "cp3", "cp4")), THREE, (),
     "cp4 is a member and not in the inventory, and nothing here says that we added it"),
])
def test_what_the_quorum_does_not_bear_is_refused_with_its_sum(
        now: Membership, want: Sequence[str], leaving: Sequence[int], why: str) -> None:
    act = next_act(now, wanted(*want), leaving)
    assert isinstance(act, Refused) and act.why == why


def test_a_members_address_is_not_changed_where_it_stands_and_one_that_is_replaced_goes_first() -> None:
    moved = (EtcdMember("cp1", "10.77.0.11"), EtcdMember("cp2", "10.77.0.99"), EtcdMember("cp3", "10.77.0.13"))
    refused = next_act(seen(THREE), moved)
    assert isinstance(refused, Refused)
    assert refused.why == "cp2 is a member at https://10.77.0.12:2380 and not at https://10.77.0.99:2380"
    acts, why, _ = followed(seen(THREE), moved, (2,))
    assert [(a.kind, a.host) for a in acts] == [("remove", "cp2"), ("add", "cp2"), ("start", "cp2"), ("promote", "cp2")]
    assert why == ""


def states() -> Iterator[tuple[Membership, tuple[EtcdMember, ...], tuple[int, ...]]]:
    """Yield every membership of one to four voters, each dead or alive, with a learner or none, and what is wanted."""
    extra = [(), *((member("cp5", learner=learner, started=started),)
                   for learner, started in ((True, True), (True, False), (False, False)))]
    for count in range(1, 5):
        voters = NAMES[:count]
        for dead, others, recorded in itertools.product(
                itertools.chain.from_iterable(itertools.combinations(voters, n) for n in range(count + 1)),
                extra, ((), ("cp5",))):
            for want in itertools.chain.from_iterable(itertools.combinations(NAMES, n) for n in range(1, 6)):
                leaving = tuple(int(v[-1]) for v in voters if v not in want)
                for going in {leaving, (), tuple(int(v[-1]) for v in voters)}:
                    yield seen(voters, dead, *others, recorded=recorded), wanted(*want), going


def test_no_act_on_any_small_membership_costs_the_quorum_or_touches_what_is_not_ours() -> None:
    looked = 0
    for now, want, leaving in states():
        looked += 1
        act = next_act(now, want, leaving)
        if act is None or isinstance(act, Refused):
            continue
        known = next((m for m in now.listed if m.id == act.member), None)
        alive = [m for m in now.voters if m.id in now.answering]
        assert len(alive) >= quorum(len(now.voters)), "only a majority changes anything"
        if act.kind == "remove":
            assert known is not None
            assert known.id in leaving or (url("cp5") in known.peer_urls and url("cp5") in now.recorded)
            left = [m for m in now.voters if m.id != known.id]
            if not known.is_learner:
                assert len([m for m in left if m.id in now.answering]) >= quorum(len(left)), (now, act)
        if act.kind == "add":
            assert not now.dead and all(m.name and not m.is_learner for m in now.listed), (now, act)
            assert act.url in {m.peer_url for m in want}
        if act.kind == "promote":
            assert known is not None and known.name and known.is_learner
    assert looked > 5000


def test_every_course_ends_at_what_is_wanted_or_with_a_reason() -> None:
    for now, want, leaving in states():
        if set(leaving) & {int(m.name[-1]) for m in want}:
            continue            # replaced: its new member is another's id, which this course does not know
        acts, refused, _ = followed(now, want, leaving)
        assert len(acts) <= 4 * (len(want) + len(now.listed))
        if refused:
            continue
        last = now
        names = {m.peer_url for m in want}
        for act in acts:
            names_now = {u for m in last.listed for u in m.peer_urls}
            last = last if act.kind != "remove" else Membership(
                tuple(m for m in last.listed if m.id != act.member), last.answering, last.recorded)
            if act.kind == "add":
                assert act.url not in names_now
        done = {u for m in last.listed for u in m.peer_urls} | {a.url for a in acts if a.kind == "add"}
        assert done == names, (now, want, acts)
