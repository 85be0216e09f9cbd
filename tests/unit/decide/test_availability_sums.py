"""The arithmetic of failures and gaps, by cases; and what a budget lets pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.decide.availability import SLICES, Tally
from provisioner.errors import UsageFault
from provisioner.model.availability import Attempt, Availability, Batch, Budget, SeriesResult, budget_of

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "availability.yaml").read_text(encoding="utf-8"))
RATES = {"a": 10.0, "b": 2.0}


def attempt(series: str, at: float, took: float, why: str = "", more: dict[str, Any] | None = None) -> Attempt:
    return Attempt(series, at, took, why, **(more or {}))


def batch(spec: dict[str, Any]) -> Batch:
    attempts = tuple(attempt(*one) for one in spec["attempts"])
    return Batch(spec.get("host", "w1"), spec.get("channel", 0), 0.0, attempts, spec.get("blind", 0.0))


@pytest.mark.parametrize("case", CASES, ids=[c["case"] for c in CASES])
def test_attempts_sum_up_as_the_case_says(case: dict[str, Any]) -> None:
    tally = Tally(RATES)
    for spec in case["batches"]:
        tally.add(batch(spec))
    found = {f"{r.series}@{r.host}": r for r in tally.results()}
    wanted = {name if "@" in name else f"{name}@w1": dict(w) for name, w in case["expect"].items()}
    assert found.keys() == wanted.keys()
    for name, fields in wanted.items():
        numbers = fields.pop("acknowledged", None)
        assert numbers is None or sorted(tally.acknowledged[name.partition("@")[0]]) == numbers
        assert {k: getattr(found[name], k) for k in fields} == fields, name


SEEN = Availability(60.0, (SeriesResult("vip", "w1", 600, 2, {"refused": 2}, 800, 12, cuts=1),
                           SeriesResult("local", "cp1", 120, 0, {}, 3, 9)),
                    writes=100, not_seen={"w1": 0.0, "w2": 2.54})


def test_the_sum_of_all_series_is_told_with_the_longest_gap_and_the_time_not_seen() -> None:
    assert (SEEN.attempts, SEEN.failures, SEEN.cuts, SEEN.gap_ms, SEEN.not_seen_seconds) == (720, 2, 1, 800, 2.5)
    assert SEEN.to_json()["series"][0]["reasons"] == {"refused": 2}
    assert {"attempts", "failures", "gap_ms", "lost", "leader_changes", "not_seen"} <= SEEN.to_json().keys()


@pytest.mark.parametrize(("words", "over"), [
    ([], []),
    (["failures=2", "gap=1s", "cuts=1"], []),
    (["failures=1"], ["failed attempts: 2, allowed are 1"]),
    (["gap=799ms", "cuts=0"], ["longest gap: 800 ms, allowed are 799 ms", "cut requests: 1, allowed are 0"]),
])
def test_a_budget_says_what_is_beyond_it(words: list[str], over: list[str]) -> None:
    budget = budget_of(words)
    assert budget.spent(SEEN) == over
    assert budget.is_given == bool(words)


def test_lost_writes_are_beyond_every_budget() -> None:
    assert Budget().spent(Availability(1.0, lost=3)) == ["acknowledged writes lost: 3"]
    assert Budget().spent(Availability(1.0, lost=None)) == []


@pytest.mark.parametrize("word", ["failures", "failures=-1", "gap=5", "gap=1h", "loss=0", "failures=0,gap=1s"])
def test_another_form_of_budget_is_a_usage_fault(word: str) -> None:
    with pytest.raises(UsageFault, match="not failures=N"):
        budget_of([word])


def curves(tally: Tally) -> dict[str, tuple[tuple[int, ...], ...]]:
    return {name: tuple(curve) for name, curve in tally.timeline().curves.items()}


def test_attempts_stand_in_the_slice_of_time_in_which_they_began_whatever_channel_told_them() -> None:
    tally = Tally(RATES)
    tally.add(Batch("w1", 0, 1.0, (Attempt("a", 0.2, 0.03), Attempt("a", 0.9, 2.0, "refused"))))
    tally.add(Batch("w2", 0, 1.0, (Attempt("a", 0.1, 0.5),)), began=0.3)
    tally.add(Batch("w1", 1, 1.0, (Attempt("a", 0.0, 0.01), Attempt("b", 0.1, line=True))), began=3.0)
    assert tally.timeline().seconds == 1.0
    assert curves(tally) == {"a": ((3, 0, 0, 1), (1, 0, 0, 0), (500, 0, 0, 10)),
                             "b": ((0, 0, 0, 1), (0, 0, 0, 0), (0, 0, 0, 0))}


def test_a_long_measurement_has_longer_slices_and_loses_nothing() -> None:
    tally = Tally(RATES)
    tally.add(Batch("w1", 0, 0.0, tuple(Attempt("a", float(s), 0.001 * (s % 7)) for s in range(3 * SLICES))))
    timeline = tally.timeline()
    attempts, failures, slowest = timeline.curves["a"]
    assert (timeline.seconds, len(attempts)) == (4.0, 3 * SLICES // 4)
    assert (sum(attempts), sum(failures), max(slowest)) == (3 * SLICES, 0, 6)


def test_the_longest_gap_is_told_with_the_moment_at_which_it_began() -> None:
    tally = Tally(RATES)
    late = (Attempt("b", 0.0), Attempt("b", 0.5, 0.2), Attempt("b", 1.0), Attempt("b", 1.5, 3.0))
    tally.add(Batch("w1", 0, 0.0, late), began=10.0)
    (seen,) = tally.results()
    assert (seen.gap_ms, seen.gap_at) == (3000, 11.5)
