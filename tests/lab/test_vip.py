"""The VIP has one holder, whatever happens to who holds it, and the API answers there again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from provisioner.lab import faults
from tests.lab.conftest import Lab
from tests.lab.figures import record
from tests.lab.witness import Api, Attempts, Holders, admin

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]
BALANCERS = ("cp1", "cp2", "cp3")
LIMIT = 3.0
WATCHED = 4.0        # seconds looked at after each fault: longer than the limit, so that a late change is seen


@pytest.fixture(scope="module")
def vip(cluster: Lab) -> Api:
    """Requests to the VIP from this machine, in the lab's network."""
    api = cluster.inventory.cluster.api
    return Api(cluster, admin(cluster), None, str(api.vip), api.port)


@pytest.fixture
def holders(cluster: Lab) -> Iterator[Holders]:
    with Holders(cluster, BALANCERS) as found:
        yield found


def watch(holders: Holders, answers: Attempts, hosts: tuple[str, ...], since: float) -> tuple[float, float]:
    """Look for some seconds; return when one of `hosts` held the VIP for good, and the longest time without answer."""
    time.sleep(max(0.0, since + WATCHED - time.monotonic()))
    return holders.settled(since, hosts), answers.longest_silence(since)


def faulty(lab: Lab, way: str, host: str) -> AbstractContextManager[None]:
    return faults.cut_off(lab.inventory, host) if way == "cut" else faults.dropping(lab.inventory, host)


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.full)])
def test_a_killed_keepalived_leaves_one_holder(cluster: Lab, vip: Api, holders: Holders, times: int) -> None:
    settled: list[float] = []
    silent: list[float] = []
    with Attempts(vip) as answers:
        for turn in range(times):
            holder = holders.one()
            whom = ("all", "main")[turn % 2]
            began = time.monotonic()
            cluster.on(holder, "systemctl", "kill", "--signal=SIGKILL", f"--kill-whom={whom}", "keepalived")
            for figures, value in zip((settled, silent), watch(holders, answers, BALANCERS, began), strict=True):
                figures.append(value)
    record("one VIP holder after kill -9 of keepalived", settled, unit="s", limit=LIMIT)
    record("API through the VIP silent after kill -9 of keepalived", silent, unit="s", limit=LIMIT)
    assert max(settled) <= LIMIT
    assert max(silent) <= LIMIT


@pytest.mark.parametrize("way", ["cut", "drop"])
@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.full)])
def test_a_holder_that_is_cut_off_and_comes_back_leaves_one_holder(
        cluster: Lab, vip: Api, holders: Holders, times: int, way: str) -> None:
    """`cut`: it sees its carrier go, and lets go. `drop`: it cannot know; the others have a holder of theirs."""
    during, after, silent = [], [], []
    with Attempts(vip) as answers:
        for _ in range(times):
            holder = holders.one()
            majority = tuple(host for host in BALANCERS if host != holder)
            began = time.monotonic()
            with faulty(cluster, way, holder):
                seconds, silence = watch(holders, answers, majority, began)
                during.append(seconds)
                silent.append(silence)
                healed = time.monotonic()
            seconds, silence = watch(holders, answers, BALANCERS, healed)
            after.append(seconds)
            silent.append(silence)
    name = "the holder's cable was pulled" if way == "cut" else "the holder's packets were lost"
    record(f"one VIP holder on the majority's side after {name}", during, unit="s", limit=LIMIT)
    record(f"one VIP holder after {name} and it is back", after, unit="s", limit=LIMIT)
    record(f"API through the VIP silent when {name}, and when it is back", silent, unit="s", limit=LIMIT)
    assert max(during) <= LIMIT
    assert max(after) <= LIMIT
    assert max(silent) <= LIMIT
