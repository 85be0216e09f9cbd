"""`probe` and `up --slo` as people and programs meet them, on hosts in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from provisioner.model.availability import Attempt
from tests.fakes.session import World
from tests.unit.cli.test_cluster_verbs import Run, built, drift, run, world

__all__ = ["built", "run", "world"]
REFUSED = Attempt("vip", 1.0, 0.0, "connection refused")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeping(monkeypatch, lambda seconds: None)


def sleeping(monkeypatch: pytest.MonkeyPatch, sleep: Callable[[float], None]) -> None:
    monkeypatch.setattr("provisioner.cli.probe.time", SimpleNamespace(sleep=sleep))


def test_a_cluster_that_serves_is_told_by_series_with_exit_0(built: World, run: Run) -> None:
    ended = run("probe", "--for", "10s")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].split() == ["SERIES", "FROM", "ATTEMPTS", "FAILED", "GAP", "SLOWEST"]
    assert {line.split()[0] for line in lines[1:-1]} == {
        "vip", "read", "write", "update", "watch", "service", "local", "dns"}
    assert "0 of 16 attempts failed" in lines[-1] and "0 of 1 acknowledged writes lost" in lines[-1]


def test_one_failure_is_too_many_unless_a_budget_says_otherwise(built: World, run: Run) -> None:
    built.samples.told = [REFUSED]
    ended = run("probe", "--for", "10s")
    assert ended.code == 13
    assert "vip from cp1: 1 of " in ended.out and "connection refused (1)" in ended.out
    assert "budget is spent: failed attempts: 1, allowed are 0" in ended.err
    assert run("probe", "--slo", "failures=1").code == 0


def test_the_result_as_json_is_one_document_also_when_it_failed(built: World, run: Run) -> None:
    built.samples.told = [REFUSED]
    ended = run("-o", "json", "probe")
    document = json.loads(ended.out)
    assert (ended.code, document["schema_version"], document["failures"], document["lost"]) == (13, 1, 1, 0)
    assert [s["series"] for s in document["series"] if s["failures"]] == ["vip"]


def test_ctrl_c_prints_what_was_measured_and_takes_the_keys_away(
        built: World, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    sleeping(monkeypatch, stop)
    ended = run("probe", "--for", "10m")
    assert ended.code == 130
    assert "0 of 16 attempts failed" in ended.out
    assert "stopped after 0 s of 600 s" in ended.err


def test_a_cluster_that_does_not_know_the_prober_is_told_how_to_learn_it(built: World, run: Run) -> None:
    del built.api.objects["/api/v1/namespaces/kubewright-prober/serviceaccounts/prober"]
    ended = run("probe")
    assert ended.code == 13
    assert f"hint: kubewright -i {built.inventory.path} up" in ended.err


@pytest.mark.parametrize("words", [
    ["--for", "10x"], ["--for", "-1m"], ["--for", "0s"], ["--slo", "failures"], ["--slo", "gap=1"]])
def test_a_time_or_budget_of_another_form_is_a_usage_fault(built: World, run: Run, words: list[str]) -> None:
    assert run("probe", *words).code == 64


def test_up_with_a_budget_measures_what_restarts_and_stops_when_it_is_spent(built: World, run: Run) -> None:
    drift(built)
    built.samples.told = [REFUSED]
    spent = run("up", "--yes", "--slo", "failures=0")
    assert spent.code == 13
    assert "budget is spent" in spent.err
    assert "✗ prober" in spent.err and "vip from cp1: 1 of " in spent.err
    assert run("up", "--yes", "--slo", "failures=5").code == 0
    assert run("up", "--yes", "--slo", "nothing").code == 64
