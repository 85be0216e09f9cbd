"""Members move to other hosts: who comes votes first, and there are never fewer than before and after."""

from __future__ import annotations

import itertools

import pytest

from provisioner.decide import moving
from provisioner.decide.membership import Act, Membership
from provisioner.model.desired import EtcdMember
from tests.unit.decide.test_next_act import NAMES, member, seen, wanted

OLD, NEW = ("cp1", "cp2"), ("cp3", "cp4", "cp5")


def names(acts: list[Act]) -> list[tuple[str, str]]:
    return [(act.kind, act.host) for act in acts]


def test_all_that_come_vote_before_the_first_that_goes_is_taken_out() -> None:
    acts, refused = moving.course(seen(("cp1",)), wanted(*NEW), wanted("cp1"))
    assert refused == ""
    assert names(acts) == [(kind, host) for host in NEW for kind in ("add", "start", "promote")] + [("remove", "cp1")]


def test_a_run_that_was_killed_goes_on_from_what_the_members_say() -> None:
    half = seen(("cp1", "cp3"), (), member("cp4", learner=True))
    acts, refused = moving.course(half, wanted(*NEW), wanted("cp1"))
    assert (names(acts), refused) == ([("promote", "cp4"), ("add", "cp5"), ("start", "cp5"), ("promote", "cp5"),
                                       ("remove", "cp1")], "")
    last, refused = moving.course(seen(("cp1", *NEW)), wanted(*NEW), wanted("cp1"))
    assert (names(last), refused) == ([("remove", "cp1")], "")
    assert moving.course(seen(NEW), wanted(*NEW), wanted("cp1")) == ([], "")


def test_fewer_members_on_the_same_hosts_is_the_same_without_anybody_new() -> None:
    acts, refused = moving.course(seen(NAMES), wanted(*NAMES[:3]), wanted("cp4", "cp5"))
    assert (names(acts), refused) == ([("remove", "cp4"), ("remove", "cp5")], "")


@pytest.mark.parametrize(("now", "why"), [
    (seen(("cp1", "cp2", "cp3"), ("cp2",)), "cp2 does not answer: a new member is added only while every voter is w"),
    (seen(("cp1", "cp2", "cp3"), ("cp2", "cp3")), "1 of 3 voters answer; a quorum of 3 needs 2"),
])
def test_while_a_voter_is_dead_nothing_moves(now: Membership, why: str) -> None:
    acts, refused = moving.course(now, wanted("cp4"), wanted("cp1", "cp2", "cp3"))
    assert acts == [] and refused.startswith(why)


def test_every_move_between_any_hosts_ends_where_it_should_and_takes_nobody_out_before_all_that_come_vote() -> None:
    looked = 0
    for old, new in itertools.product(*(
            [c for n in range(1, 5) for c in itertools.combinations(NAMES, n)] for _ in range(2))):
        going: list[EtcdMember] = [m for m in wanted(*old) if m.name not in new]
        acts, refused = moving.course(seen(old), wanted(*new), going)
        assert refused == "", (old, new)
        voters = set(old)
        for act in acts:
            if act.kind == "promote":
                voters.add(act.host)
            if act.kind == "remove":
                assert set(new) <= voters, "who comes votes first"
                voters.remove(act.host)
            assert len(voters) >= min(len(old), len(new)), "never fewer than before and after"
        assert voters == set(new), (old, new)
        looked += 1
    assert looked > 800


def test_the_leader_is_taken_out_last() -> None:
    assert moving.order({"cp3", "cp1", "cp2"}, "cp1") == ["cp2", "cp3", "cp1"]
    assert moving.order({"cp2", "cp1"}, "") == ["cp1", "cp2"]
