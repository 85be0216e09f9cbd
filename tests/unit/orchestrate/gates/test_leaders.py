"""Nobody is drained while nobody leads: what is evicted then would stay behind its Service."""

from __future__ import annotations

import pytest

from provisioner.errors import GateFailed
from provisioner.orchestrate.gates import leaders
from provisioner.orchestrate.turn import drained
from tests.fakes.session import World

AGO = "2026-11-30T00:00:00+00:00"


def test_a_lease_that_still_holds_and_is_renewed_no_more_is_no_leader(built: World) -> None:
    session = built.session()
    built.api.renewed = AGO
    with pytest.raises(GateFailed, match="kube-controller-manager, kube-scheduler: not seen to lead"):
        leaders.lead(session)


def test_who_renews_between_two_looks_leads_whatever_the_clocks_say(
        built: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session, looks = built.session(), iter(range(100))
    real = built.kube

    def kube() -> object:
        built.api.renewed = f"2020-01-01T00:00:{next(looks):02d}+00:00"
        return real()

    monkeypatch.setattr(built, "kube", kube)
    leaders.lead(session)
    assert (built.events[-1].data or {})["proved"] == ["kube-controller-manager and kube-scheduler lead"]


def test_before_a_node_is_drained_somebody_is_seen_to_lead(built: World) -> None:
    session = built.session()
    built.api.renewed = AGO
    with pytest.raises(GateFailed, match="not seen to lead"):
        drained.others_are_ready(session, ["w1"])
