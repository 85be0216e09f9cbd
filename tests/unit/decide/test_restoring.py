"""What a restore means for the objects that are there, and by how much revisions grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.decide.restoring import BUMP, bump, differences

THEN = {b"/registry/configmaps/default/a": 5, b"/registry/configmaps/default/b": 6,
        b"/registry/leases/kube-node-lease/w1": 7, b"/registry/apiextensions.k8s.io/customresourcedefinitions/x": 3,
        b"/registry/pods/default/p": 4}
NOW = {b"/registry/configmaps/default/a": 5, b"/registry/configmaps/default/c": 20,
       b"/registry/configmaps/default/d": 21, b"/registry/leases/kube-node-lease/w1": 22,
       b"/registry/pods/default/p": 9}


def test_each_kind_says_what_is_lost_what_comes_back_and_what_goes_back() -> None:
    found = list(differences(THEN, NOW))
    assert [(d.kind, d.lost, d.back, d.older) for d in found] == [
        ("configmaps", 2, 1, 0), ("customresourcedefinitions", 0, 1, 0), ("pods", 0, 0, 1), ("leases", 0, 0, 1)]
    assert found[0].sentence == "2 made since then, lost; 1 deleted since then, back"
    assert found[2].sentence == "1 changed since then, as they were"


def test_nothing_written_since_is_no_difference() -> None:
    assert list(differences(THEN, THEN)) == []


@pytest.mark.parametrize(("snapshot", "seen", "grows"), [
    (100, 0, BUMP),                             # nobody tells what there was
    (100, 600, BUMP + 500),
    (1000, BUMP + 5000, 2 * BUMP + 4000),       # of before an earlier restore: higher than all since
    (BUMP + 7, 20, BUMP),
])
def test_revisions_grow_beyond_all_that_was_seen(snapshot: int, seen: int, grows: int) -> None:
    assert bump(snapshot, seen) == grows


@given(st.integers(1, 2**40), st.integers(0, 2**40))
def test_no_revision_is_ever_as_low_as_one_that_was_seen(snapshot: int, seen: int) -> None:
    assert snapshot + bump(snapshot, seen) >= seen + BUMP
