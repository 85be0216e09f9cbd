"""One run, several targets: what the inventory says now, and what was applied last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.errors import RefusedForSafety
from provisioner.model.cluster import SshOverride
from provisioner.model.inventory import Inventory
from provisioner.orchestrate.plan import applied, drift
from provisioner.orchestrate.plan.survey import survey
from provisioner.orchestrate.run import verbs
from provisioner.orchestrate.run.options import Intent
from provisioner.transport.pool import Pool
from provisioner.transport.remote import SshHosts
from provisioner.transport.target import Target, targets_of
from tests.fakes.session import World

KUBELET = "/var/lib/kubelet/config.yaml"


def without(inventory: Inventory, *hosts: str) -> Inventory:
    """Return the inventory after somebody has taken these hosts out of it."""
    left = {name: spec for name, spec in inventory.cluster.hosts.items() if name not in hosts}
    return replace(inventory, cluster=inventory.cluster.model_copy(update={"hosts": left}))


def test_a_second_target_has_its_own_plan_and_shares_the_run(built: World) -> None:
    base = applied.here(built.inventory)
    assert base is not None
    built.inventory = without(built.inventory, "w2")
    with built.session() as now:
        then = now.towards(applied.inventory_of(built.inventory, base), base.lock)
        survey(then, partial=True)
        assert set(then.observed) == {"cp1", "cp2", "cp3", "w1", "w2"}
        assert (now.plan, now.observed) == (None, {})
        survey(now)
        assert set(now.the_plan.desired.hosts) == {"cp1", "cp2", "cp3", "w1"}
        assert set(then.the_plan.desired.hosts) == {"cp1", "cp2", "cp3", "w1", "w2"}
        now.run.epoch = 7
        assert then.run.epoch == 7 and then.hosts is now.hosts


def test_drift_is_measured_in_one_run_and_on_hosts_that_have_left_too(built: World) -> None:
    built.hosts.hosts["w2"].edit(KUBELET, "file sha256:by-hand 0600 root:root", "x\n", unit="kubelet.service")
    before = built.sessions
    with drift.open_applied(without(built.inventory, "w2"), built.events.append) as session:
        assert {c.host for c in survey(session, partial=True).changes} == {"w2"}
    assert built.sessions == before + 1


def _target(name: str, address: str) -> Target:
    return Target(name, address, 22, "admin", "sudo", None, Path("known_hosts"))


def test_a_host_that_is_reached_already_keeps_its_way(built: World) -> None:
    pool = Pool({"a": _target("a", "10.0.0.1")})
    SshHosts(pool).also_reach({"a": _target("a", "10.0.0.9"), "b": _target("b", "10.0.0.2")})
    assert {name: target.address for name, target in pool.targets.items()} == {"a": "10.0.0.1", "b": "10.0.0.2"}


def test_hosts_that_left_are_reached_where_they_were_applied_and_as_the_cluster_logs_in_now(built: World) -> None:
    base = applied.here(built.inventory)
    assert base is not None
    targets = targets_of(applied.inventory_of(without(built.inventory, "w2"), base))
    assert (targets["w2"].address, targets["w2"].user) == (str(built.inventory.cluster.machine("w2").address), "admin")


def test_a_host_that_left_is_reached_at_its_own_ssh_host(built: World) -> None:
    whole = built.inventory
    spec = whole.cluster.hosts["w2"].model_copy(update={"ssh": SshOverride(host="w2.example.org")})
    built.inventory = replace(whole, cluster=whole.cluster.model_copy(
        update={"hosts": {**whole.cluster.hosts, "w2": spec}}))
    built.perform()         # nothing changes, and the place is remembered
    base = applied.here(built.inventory)
    assert base is not None
    targets = targets_of(applied.inventory_of(without(built.inventory, "w2"), base))
    assert (targets["w2"].address, targets["w1"].address) == ("w2.example.org", "10.77.0.21")


@pytest.mark.parametrize(("gone", "code"), [(("cp3",), "member-left"), (("w2",), "")])
def test_a_verb_is_judged_from_what_was_applied_to_what_the_inventory_says(
        built: World, monkeypatch: pytest.MonkeyPatch, gone: Collection[str], code: str) -> None:
    built.inventory = without(built.inventory, *gone)
    text = built.inventory.file.read_bytes()
    if code:
        with pytest.raises(RefusedForSafety) as refused:
            built.perform()
        assert (refused.value.code, refused.value.hint) == (code, "kubewright node remove cp3")
    else:
        built.perform()
    monkeypatch.setitem(verbs.VERBS, "up", replace(verbs.VERBS["up"], rules="node remove"))
    asked: list[str] = []
    built.perform(Intent(), lambda plan, consent: bool(asked.append(consent.question)))
    assert asked == ["Change cluster lab?"], "the verb for it is not refused, here or by what the hosts say"
    assert built.inventory.file.read_bytes() == text, "no verb writes the inventory"
