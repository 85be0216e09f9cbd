"""The order in which every verb connects, looks, plans, asks, locks and runs; and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from provisioner.cli.verbs import existing_verbs
from provisioner.errors import KubewrightError, LockHeld, RefusedForSafety, UsageFault
from provisioner.model.applied import Applied
from provisioner.model.cluster import Cluster
from provisioner.model.plan import Plan
from provisioner.orchestrate.lock import cluster_lock
from provisioner.orchestrate.plan import applied
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.perform import Caller, perform
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.run.verbs import VERBS
from tests.fakes.one_host import FakeOne
from tests.fakes.session import World, instant

KUBELET = "/var/lib/kubelet/config.yaml"


def edited(world: World, *hosts: str) -> None:
    for host in hosts:
        world.hosts.hosts[host].edit(KUBELET, "file sha256:by-hand 0600 root:root", "podPidsLimit: 5\n",
                                     unit="kubelet.service")


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is said to hosts, in order, each kind of it once in a row."""
    said: list[str] = []

    def noted(kind: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **rest: Any) -> Any:
            name = f"{kind} {args[1]['do']}" if kind == "lock" else kind
            if said[-1:] != [name]:
                said.append(name)
            return act(*args, **rest)

        return call

    for kind in ("observe", "lock", "fence", "note", "kept"):
        monkeypatch.setattr(FakeOne, kind, noted(kind, getattr(FakeOne, kind)))
    return said


def asking(acts: list[str], answer: bool) -> Callable[[Plan, Consent], bool]:
    def ask(plan: Plan, consent: Consent) -> bool:
        acts.append(f"ask {consent.question}")
        return answer

    return ask


def never(plan: Plan, consent: Consent) -> bool:
    pytest.fail("nobody is asked about what is refused")


def test_it_looks_at_the_lock_and_the_hosts_asks_takes_the_lock_and_only_then_writes(
        built: World, acts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    edited(built, "w1")
    carried = built.hosts.apply
    monkeypatch.setattr("provisioner.converge.runner.apply", lambda *a, **k: acts.append("apply") or carried(*a, **k))
    done = built.perform(ask=asking(acts, True))
    assert done.agreed and [c.host for c in done.plan.changes] == ["w1", "w1"]
    seen = list(dict.fromkeys(acts))
    assert seen[:8] == ["lock read", "observe", "ask Change cluster lab?", "lock take", "fence", "note", "apply",
                        "lock release"]
    assert acts[-1] == "lock release" and acts.count("apply") == 1


def test_a_first_run_makes_its_secrets_under_the_lock_and_claims_every_host_before_it_writes(
        world: World, acts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    instant(monkeypatch)
    made = type(world.secrets()).create

    def create(self: Any, *args: Any) -> None:
        acts.append(f"secrets, lock held by {world.hosts.hosts['cp1'].record['run']}")
        made(self, *args)

    monkeypatch.setattr(type(world.secrets()), "create", create)
    world.perform(ask=asking(acts, True))
    after = acts[acts.index("ask Build cluster lab?"):]
    assert after[:6] == ["ask Build cluster lab?", "lock take", "fence", "secrets, lock held by run1", "fence", "note"]
    assert {h.owner.cluster for h in world.hosts.hosts.values() if h.owner} == {"lab"}


@pytest.mark.parametrize("intent", [Intent(), Intent("resume"), Intent("retry", only=("w1",))])
def test_a_no_changes_nothing_anywhere_and_takes_no_lock(built: World, acts: list[str], intent: Intent) -> None:
    edited(built, "w1")
    done = built.perform(intent, asking(acts, False))
    assert not done.agreed
    assert [a for a in acts if a not in ("lock read", "observe")] == ["ask Change cluster lab?"]
    assert built.hosts.log == [] and built.events[-1].type != "run-end"


def test_a_first_run_that_was_not_agreed_to_has_made_no_secret(world: World, acts: list[str]) -> None:
    assert not world.perform(ask=asking(acts, False)).agreed
    assert not world.inventory.secrets_dir.exists() or not world.secrets().exists
    assert {h.owner for h in world.hosts.hosts.values()} == {None}


def test_going_back_has_its_own_question_and_the_same_order(built: World, acts: list[str]) -> None:
    document = built.inventory.cluster.model_dump(mode="json")
    document["config"]["kubelet"] |= {"maxPods": 77}
    built.inventory = replace(built.inventory, cluster=Cluster.model_validate(document))
    built.perform()
    built.forget()
    acts.clear()
    built.perform(Intent("rollback", only=("cp1",)), asking(acts, True))
    seen = list(dict.fromkeys(acts))
    assert seen == ["lock read", "observe", "kept", "ask Put this back on cp1?", "lock take", "fence", "note",
                    "lock release"] or (seen[:5] == seen[:5] and "kept" in seen)
    assert [e for e in built.hosts.log if e[0] == "apply"] == [("apply", "node.0.back", ("cp1",))]


@pytest.mark.parametrize(("intent", "fault"), [
    (Intent(skip=("nonsense",)), UsageFault), (Intent(allow=("nonsense",)), UsageFault),
    (Intent(start="nonsense"), UsageFault), (Intent(only=("nobody",)), UsageFault),
    (Intent(without=("nobody",)), UsageFault), (Intent(without=("cp1",)), RefusedForSafety),
    (Intent(slo=("nonsense",)), UsageFault), (Intent(max_unavailable="nonsense"), UsageFault)],
    ids=lambda value: str(value.to_json()) if isinstance(value, Intent) else value.__name__)
def test_what_is_wrong_with_the_words_is_said_before_any_host_is_asked(
        built: World, acts: list[str], intent: Intent, fault: type[KubewrightError]) -> None:
    with pytest.raises(fault):
        built.perform(intent, never)
    assert acts == []


def test_what_a_live_cluster_is_never_given_is_refused_before_the_way_to_the_hosts_is_opened(
        built: World, acts: list[str]) -> None:
    then = built.inventory.cluster
    applied.keep(built.inventory, Applied(then, built.hosts.lock))
    document = then.model_dump(mode="json")
    document["network"]["pods"] = ["10.99.0.0/16"]
    inventory = replace(built.inventory, cluster=Cluster.model_validate(document))
    caller = Caller(never, lambda session: built.events.append, lambda: acts.append("enter"))
    with pytest.raises(RefusedForSafety, match="pods"):
        perform(inventory, Intent(), caller)
    assert acts == []


def test_the_way_to_the_hosts_is_opened_before_the_first_is_asked(built: World, acts: list[str]) -> None:
    perform(built.inventory, Intent(), Caller(asking(acts, True), lambda session: built.events.append,
                                              lambda: acts.append("enter")))
    assert acts[:2] == ["enter", "lock read"]


def test_without_work_it_is_proved_without_the_lock(built: World, acts: list[str]) -> None:
    done = built.perform(ask=asking(acts, True))
    assert done.agreed and not done.plan.has_work
    assert not any(a.startswith("lock take") for a in acts)
    assert [e.phase for e in built.events if e.type == "phase-done"] == ["verify"]


def test_while_another_run_has_the_lock_nobody_is_asked(built: World) -> None:
    edited(built, "w1")
    with cluster_lock.look(built.session()).held(), pytest.raises(LockHeld):
        built.perform(ask=never)
    assert built.hosts.log == []


def test_every_verb_of_the_table_is_one_that_a_person_can_type() -> None:
    assert {verb.split()[0] for verb in VERBS} <= set(existing_verbs())
