"""One worker alone: it and the control planes are looked at, and what would be missed by that is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.compile import load_balancer
from provisioner.errors import RefusedForSafety, UsageFault
from provisioner.model.applied import HOST_PATH
from provisioner.model.cluster import Cluster
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Performed
from provisioner.report.plan_text import plan_text
from tests.fakes.haproxy import FakeBalancer
from tests.fakes.host import FakeHost
from tests.fakes.session import World, instant
from tests.unit.compile.compile_fixture import facts_of

NEW = Intent(only=("w3",), alone=True)


def ask_for(world: World, **hosts: dict[str, Any]) -> None:
    """Write these hosts into the inventory, as a person does."""
    text = yaml.safe_load(world.inventory.file.read_text())
    text["hosts"] |= hosts
    world.inventory.file.write_text(yaml.safe_dump(text, sort_keys=False))
    world.inventory = replace(world.inventory, cluster=Cluster.model_validate(text))


@pytest.fixture
def grown(built: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster whose inventory has got a worker w3, an empty machine; w1 would not answer if it were asked."""
    instant(monkeypatch)
    ask_for(built, w3={"address": "10.77.0.23", "roles": ["worker"]})
    built.hosts.hosts["w3"] = FakeHost("w3", facts_of(built.inventory.cluster)["w3"], {("swap", "swap"): "off"})
    built.hosts.balancers["w3"] = FakeBalancer(built.hosts.serves)
    built.hosts.hosts["w1"].down = True
    return built


def changed(done: Performed) -> dict[str, set[str]]:
    """Return the hosts with changes, each with paths of theirs: all for control planes."""
    found: dict[str, set[str]] = {}
    for change in done.plan.changes:
        found.setdefault(change.host, set()).add(change.path if change.host != "w3" else "-")
    return found


def test_a_new_worker_joins_without_a_look_at_the_others_and_the_record_says_so(grown: World) -> None:
    done = grown.perform(NEW)
    assert changed(done) == {"w3": {"-"}, **{h: {HOST_PATH} for h in ("cp1", "cp2", "cp3")}}
    assert not {host for host, _ in grown.hosts.probed} & {"w1", "w2"}
    grown.hosts.hosts["w1"].down = False
    with grown.session() as session:
        assert survey(session).is_empty, "the next `up` has nothing to do"


def test_the_plan_says_that_others_were_not_looked_at(grown: World) -> None:
    done = grown.perform(NEW, lambda plan, consent: False)
    text = plan_text(done.plan, grown.inventory.cluster, seconds=1.0)
    assert "2 other workers: as last applied → not looked at: what was changed there by hand is not in" in text


@pytest.mark.parametrize(("hosts", "named"), [
    ({"w1": {"address": "10.77.0.21", "roles": ["worker"], "labels": {"zone": "a"}}}, "hosts.w1"),
    ({"w4": {"address": "10.77.0.24", "roles": ["worker"]}}, "hosts.w4"),
])
def test_an_inventory_that_asks_for_more_is_refused_and_the_rest_is_named(
        grown: World, hosts: dict[str, Any], named: str) -> None:
    ask_for(grown, **hosts)
    with pytest.raises(RefusedForSafety, match="w3: done alone: the inventory asks for more") as refused:
        grown.perform(NEW)
    assert refused.value.details[0] == f"differs too: {named}" and refused.value.code == "only-more"
    assert grown.hosts.log == []


def test_where_one_host_more_changes_what_every_host_has_all_must_be_looked_at(
        grown: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_balancer, "MOST_CPU", load_balancer.CHECK_CPU * 5.5)
    with pytest.raises(RefusedForSafety, match="w3: done alone") as refused:
        grown.perform(NEW)
    assert refused.value.details[0] == (
        "differs too: how often each host asks the API servers, for there are more hosts now")
    assert grown.hosts.log == []


def test_only_workers_can_be_done_alone(built: World) -> None:
    with pytest.raises(RefusedForSafety, match="cp1: done alone"):
        built.perform(Intent(only=("cp1",), alone=True))
    with pytest.raises(UsageFault, match="--only w9: not in the inventory"):
        built.perform(Intent(only=("w9",), alone=True))


def test_before_there_is_a_cluster_all_hosts_are_looked_at(world: World) -> None:
    with pytest.raises(RefusedForSafety, match="all hosts must be looked at"):
        world.perform(Intent(only=("w1",), alone=True))


@pytest.mark.parametrize(("more", "named"), [
    ({"without": ("w2",)}, "--without"), ({"plan_file": Path("plan.json")}, "a saved plan")])
def test_a_saved_plan_or_hosts_left_out_do_not_go_with_it(built: World, more: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageFault, match=f"^--only and {named} do not go together"):
        replace(NEW, only=("w1",), **more).fits(built.inventory.cluster)
