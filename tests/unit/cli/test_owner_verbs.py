"""A host of another cluster as people meet it, on hosts in memory."""

from __future__ import annotations

from provisioner.model.observed import Owner
from provisioner.orchestrate.plan import owner
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, drift, run, world

__all__ = ["run", "world"]


def test_up_records_whose_the_hosts_are_and_takes_no_other_s_unless_asked(world: World, run: Run) -> None:
    assert run("up", "--yes").code == 0
    own = owner.ours(world.session())
    assert {h.owner for h in world.hosts.hosts.values()} == {own} and own.ca
    w1 = world.hosts.hosts["w1"]
    w1.owner = Owner("a", own.ca)
    world.forget()
    for words, code in ((("plan",), 15), (("up", "--yes"), 15), (("check",), 11)):
        ended = run(*words)
        assert (ended.code, "w1: " in ended.err and "belongs to cluster a" in ended.err) == (code, True), words
    assert world.hosts.log == []
    assert run("plan", "--allow", owner.TAKE).code == 0
    drift(world)
    assert run("up", "--yes", "--allow", owner.TAKE).code == 0
    assert w1.owner == own
