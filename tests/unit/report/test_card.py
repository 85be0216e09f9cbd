"""The card of a run: API and workload apart, the longest run of failures beside their sum, who was drained of what."""

from __future__ import annotations

from provisioner.decide.availability import Tally
from provisioner.model.availability import Attempt, Batch
from provisioner.report import card
from provisioner.report.html import report_html
from provisioner.report.story import story_of


def row(series: str, failures: int, in_a_row: int | None, **more: object) -> dict[str, object]:
    counted = {} if in_a_row is None else {"in_a_row": in_a_row}
    return {"series": series, "host": "w1", "attempts": 100, "failures": failures, "gap_ms": failures * 10,
            "slowest_ms": 9, "reasons": {}, **counted, **more}


def drained(host: str, *pods: str) -> dict[str, object]:
    rows = [{"identity": f"Node {host}", "action": "change", "reason": f"is drained: {len(pods)} Pods left",
             "result": "done"}]
    rows += [{"identity": f"Pod {pod}", "action": "remove", "reason": f"evicted from {host} after 2.5 s",
              "result": "done"} for pod in pods]
    return {"type": "changed", "t": 2.0, "phase": "node", "data": {"objects": rows}}


STORY = story_of("r", [
    {"type": "run-start", "t": 1.0, "data": {"cluster": "c", "hosts": ["w1", "w2"]}},
    drained("w1", "shop/web-1", "shop/web-2"), drained("w2"),
    {"type": "availability", "t": 3.0, "status": "failed", "message": "5 of 400 attempts failed", "data": {
        "series": [row("vip", 3, 2), row("write", 1, 1), row("service", 0, 0), row("dns", 1, 1)]}},
    {"type": "run-end", "t": 4.0, "status": "ok"}])


def test_the_api_and_the_workload_are_summed_apart_with_the_longest_run_of_failures() -> None:
    api, workload = card.sides(STORY.availability)
    assert (api.name, api.attempts, api.failures, api.in_a_row, api.gap_ms) == ("API", 200, 4, 2, 30)
    assert (workload.name, workload.failures, workload.in_a_row, workload.series) == (
        "Workload", 1, 1, ("service", "dns"))
    assert card.sides({"series": [row("vip", 3, None)]})[0].in_a_row is None, "a run of before that was counted"
    assert card.sides({}) == ()


def test_each_drain_has_its_own_pods() -> None:
    first, second = card.drains(STORY)
    assert (first.host, [name for name, _ in first.pods]) == ("w1", ["shop/web-1", "shop/web-2"])
    assert (second.host, second.pods) == ("w2", ())


def test_the_page_shows_both() -> None:
    page = report_html(STORY)
    for words in ('<h2>Drains</h2>', "shop/web-2", "evicted from w1 after 2.5 s", "Most in a row",
                  '<th scope="row">Workload</th>'):
        assert words in page


def test_failures_that_follow_one_another_are_counted() -> None:
    tally = Tally({"vip": 10.0})
    tally.add(Batch("w1", 0, 1.0, tuple(Attempt("vip", n / 10, 0.01, why)
                                        for n, why in enumerate(["", "x", "x", "", "x", "x", "x", ""]))))
    (seen,) = tally.results()
    assert (seen.failures, seen.in_a_row) == (5, 3)
