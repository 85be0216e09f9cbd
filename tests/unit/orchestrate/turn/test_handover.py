"""A host that can hold the VIP no more takes nobody new before its keepalived goes, in the step that takes it away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from provisioner.compile.load_balancer import KEEPALIVED
from provisioner.model.plan import Plan
from provisioner.orchestrate.run.options import Intent
from provisioner.orchestrate.run.verb import Consent
from provisioner.orchestrate.turn import handover
from provisioner.report.plan_text import plan_text
from tests.fakes.session import World, instant
from tests.unit.orchestrate.plan.test_only import ask_for

NFT, SLEEP = ("artifact", handover.NFT), ("artifact", handover.SLEEP)


@pytest.fixture
def leaving(built: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster whose first host is to be no load balancer any more."""
    instant(monkeypatch)
    ask_for(built, cp1={"address": "10.77.0.11", "roles": ["etcd", "control-plane"]})
    return built


def acts(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take the role away, and return what cp1 did in the step in which keepalived went."""
    done: list[tuple[str, str]] = []
    host = world.hosts.hosts["cp1"]
    change = host.change

    def see(asked: Mapping[str, Any], step: str = "") -> str:
        what = asked["argv"][0] if asked["kind"] == "program" else f"{asked['action']} {asked['path']}"
        done.append((step, what))
        return change(asked, step)

    monkeypatch.setattr(host, "change", see)
    world.perform(Intent("up", allow=("role-removed",)))
    step = next(step for step, what in done if what == f"remove {KEEPALIVED}")
    return [what for of_step, what in done if of_step == step]


def test_what_came_to_the_vip_is_answered_before_keepalived_goes_and_no_rule_stays(
        leaving: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in (NFT, SLEEP):
        leaving.hosts.hosts["cp1"].states[key] = "sha256:of-it 0755 root:root"
    made = acts(leaving, monkeypatch)
    assert "10.77.0.10 timeout" in made[0] and "tcp dport 8443 tcp flags & (syn | ack) == syn drop" in made[0]
    assert made[1] == "0.8" and made.index(f"remove {KEEPALIVED}") > 1
    assert made[-1] == "delete table inet kubewright-handover"


def test_a_host_without_nft_gives_the_vip_up_as_it_is(leaving: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("kubewright-handover" in what for what in acts(leaving, monkeypatch))


def test_the_plan_says_that_the_vip_leaves_first(leaving: World) -> None:
    shown: list[str] = []

    def ask(plan: Plan, consent: Consent) -> bool:
        shown.append(plan_text(plan, leaving.inventory.cluster, seconds=1.0))
        return False

    leaving.perform(Intent("up", allow=("role-removed",)), ask)
    assert "no new connection at the VIP there for a second before" in shown[0]
