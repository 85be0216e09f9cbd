"""Sampling over a real sshd: results as they come, a lost channel is not seen, and no number comes twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from provisioner.errors import KubewrightError
from provisioner.lab.processes import wait_until
from provisioner.model.availability import Batch, batch_of
from provisioner.transport import sampling
from provisioner.transport.pool import Pool
from provisioner.transport.remote import SshHosts
from provisioner.transport.sampling import Sampling, Series
from provisioner.transport.target import Target

REFUSED: list[Series] = [{"name": "x", "kind": "tcp", "address": "127.0.0.1", "port": 1, "rate": 20, "first": 5}]


class Taken:
    """What was handed over, and a way to wait for it."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.more = threading.Condition()

    def __call__(self, batch: Batch) -> None:
        with self.more:
            self.batches.append(batch)
            self.more.notify()

    def wait(self, look: Callable[[Sequence[Batch]], bool]) -> None:
        with self.more:
            assert self.more.wait_for(lambda: look(self.batches), 20)


@pytest.fixture
def taken() -> Taken:
    return Taken()


def test_a_line_of_the_applier_becomes_a_batch() -> None:
    batch = batch_of("w1", 2, {"until": 1.5, "blind": 2.0, "end": "asked", "attempts": [
        {"s": "vip", "at": 1, "took": 0.25, "why": "cut", "cut": True, "n": 7},
        {"s": "watch", "at": 1.25, "line": True}, {"s": "watch", "at": 1.25, "end": "closed", "blind": True}]})
    assert (batch.host, batch.channel, batch.until, batch.blind, batch.last) == ("w1", 2, 1.5, 2.0, True)
    request, line, opening = batch.attempts
    assert (request.series, request.took, request.why, request.cut, request.number) == ("vip", 0.25, "cut", True, 7)
    assert (line.line, opening.ended, opening.blind, request.line) == (True, "closed", True, False)


def test_results_are_handed_over_while_it_goes_on_and_the_end_is_in_order(
        target: Callable[..., Target], taken: Taken) -> None:
    with Pool({"cp1": target()}) as pool:
        with Sampling(SshHosts(pool), ["cp1"], lambda host: REFUSED, taken) as run:
            taken.wait(lambda batches: len(batches) >= 2)
            assert not taken.batches[-1].last
        assert taken.batches[-1].last
    found = [a for b in taken.batches for a in b.attempts]
    assert {a.why for a in found} == {"connection refused"}
    assert sorted(a.number for a in found if a.number is not None) == list(range(5, 5 + len(found)))
    assert (run.faults, run.seen) == ({}, {"cp1"})
    assert run.not_seen == {"cp1": sum(b.blind for b in taken.batches)}, "what comes late is not lost"


def test_a_lost_channel_is_not_seen_and_opened_again_with_other_numbers(
        target: Callable[..., Target], taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "RETRY", 0.5)
    with Pool({"cp1": target()}) as pool:
        with Sampling(SshHosts(pool), ["cp1"], lambda host: REFUSED, taken) as run:
            taken.wait(bool)
            pool.connection("cp1").close()
            taken.wait(lambda batches: batches[-1].channel == 1)
        assert 0.3 < run.not_seen["cp1"] < 15
    assert 0.3 < run.longest_unseen["cp1"] <= run.not_seen["cp1"]
    assert "connection was lost" in run.faults["cp1"]
    assert min(a.number or 0 for b in taken.batches if b.channel for a in b.attempts) == 5 + sampling.NUMBERS


def test_a_host_that_never_answers_is_not_seen_from_the_beginning_to_the_end(
        target: Callable[..., Target], taken: Taken) -> None:
    with Pool({"cp1": target(), "cp2": target("cp2", port=1)}) as pool:
        run = Sampling(SshHosts(pool), ["cp1", "cp2"], lambda host: REFUSED, taken)
        run.start(patience=1.0)
        taken.wait(bool)
        assert run.longest_unseen["cp2"] >= 1.0, "a silence that goes on counts already"
        run.stop()
    assert run.seen == {"cp1"}
    assert run.not_seen["cp2"] >= 1.0
    assert run.longest_unseen["cp2"] == run.not_seen["cp2"], "and does not grow after the end"
    assert "refused" in run.faults["cp2"]


def test_credentials_that_cannot_be_had_are_not_seen_either(target: Callable[..., Target], taken: Taken) -> None:
    def compose(host: str) -> Sequence[Series]:
        raise KubewrightError("no token")

    with Pool({"cp1": target()}) as pool:
        run = Sampling(SshHosts(pool), ["cp1"], compose, taken)
        run.start()
        assert wait_until(lambda: bool(run.faults), 60)
        run.stop()
    assert (run.seen, run.faults) == (frozenset(), {"cp1": "no token"})


def test_a_sampler_that_cannot_start_says_why(target: Callable[..., Target]) -> None:
    with Pool({"cp1": target()}) as pool, pytest.raises(KubewrightError, match="unknown kind of series"):
        SshHosts(pool).on("cp1").sample({"series": [{"name": "x", "kind": "magic"}]}, print, threading.Event(),
                                        duration=5)


def test_stopping_takes_no_longer_than_what_is_under_way(target: Callable[..., Target], taken: Taken) -> None:
    with Pool({"cp1": target()}) as pool:
        run = Sampling(SshHosts(pool), ["cp1"], lambda host: REFUSED, taken)
        run.start(patience=10)
        began = time.monotonic()
        run.stop()
    assert time.monotonic() - began < sampling.ENDING


@pytest.mark.parametrize(("lines", "lost"), [
    pytest.param([(100.0, 0, 0.5), (104.0, 0, 1.0), (104.1, 0, 4.5), (104.6, 0, 5.0)], 0.0, id="a late line"),
    pytest.param([(100.0, 0, 0.5), (104.0, 0, 1.0), (110.0, 1, 0.5)], 9.0, id="a late line, then another channel"),
    pytest.param([(100.0, 0, 0.5), (110.0, 0, 1.0), (120.0, 1, 0.5)], 19.0, id="a machine that slept, clock and all"),
])
def test_what_no_line_tells_of_is_not_seen_and_what_a_late_one_does_is(
        taken: Taken, monkeypatch: pytest.MonkeyPatch, lines: list[tuple[float, int, float]], lost: float) -> None:
    now = [0.0]
    monkeypatch.setattr(sampling, "time", SimpleNamespace(monotonic=lambda: now[0]))
    run = Sampling(SshHosts(Pool({})), ["cp1"], lambda host: REFUSED, taken)
    for now[0], channel, until in lines:
        run._heard("cp1", channel, {"until": until, "attempts": []})
    assert run.not_seen == {"cp1": pytest.approx(lost)}


def test_what_a_machine_slept_is_not_seen_although_its_channel_ends_in_order(
        taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(sampling, "time", SimpleNamespace(monotonic=lambda: now[0]))
    run = Sampling(SshHosts(Pool({})), ["cp1"], lambda host: REFUSED, taken)
    run._heard("cp1", 0, {"until": 0.5, "attempts": []})
    run._stop.set()
    now[0] = 110.0
    run._heard("cp1", 0, {"until": 1.0, "attempts": [], "end": "asked"})
    assert run.not_seen == run.longest_unseen == {"cp1": pytest.approx(9.5)}
