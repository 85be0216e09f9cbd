"""An upgrade that is disturbed: the same command goes on, one control plane is out at most, and no create is cut.

Killed in each stage, its SSH cut in each stage, a host without power before it and in the middle of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from provisioner.lab import faults
from provisioner.model.ports import APISERVER
from tests.lab import figures, outside, slow
from tests.lab.conftest import Lab, until
from tests.lab.load import VIP, Load, longest_gap, lost_writes
from tests.lab.machines import CONTROL_PLANES
from tests.lab.moments import Told, begins, killed
from tests.lab.newer import TO, ask_for, older
from tests.lab.walk.killing import Up
from tests.lab.walk.standing import Standing

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.dirties, pytest.mark.timeout(1800)]

UPGRADE = ("upgrade", "--no-soak", "--yes")
STOPPED = (12, 13)      # unreachable; a gate or a step
STAGES = ("etcd", "control-plane", "controllers", "node")


def hands(phase: str) -> Told:
    """Return what tells that a host is handed its part of a phase: it is done there, whoever dies here."""
    return lambda event: event["type"] == "host-start" and event["phase"] == phase and "step" in event["data"]


def drained(event: Mapping[str, Any]) -> bool:
    """Say whether an event tells of a Node that was emptied."""
    objects = event["data"].get("objects", ()) if event["type"] == "changed" else ()
    return any("is drained" in one["reason"] for one in objects)


MOMENTS: dict[str, Told] = {
    "everything is brought to the hosts": begins("stage"),
    "the members are to move": begins("etcd"),
    "a member moves": hands("etcd"),
    "all members have moved": begins("control-plane"),
    "an API server is changed": hands("control-plane"),
    "the controllers are to change": begins("controllers"),
    "controllers are changed": hands("controllers"),
    "a node is empty": drained,
    "a node is changed": hands("node"),
    "all is changed and to be proved": begins("verify"),
}


@pytest.fixture
def asked(cluster: Lab) -> Iterator[Lab]:
    """A cluster of the older version that serves, its inventory and lock naming the newer."""
    with older(cluster):
        ask_for(cluster, TO)
        yield cluster


@contextmanager
def asking(lab: Lab) -> Iterator[tuple[Load, Standing]]:
    """Ask, write, create slowly and look who stands, all from outside of the nodes, during the block."""
    with ExitStack() as stack:
        series = stack.enter_context(slow.creates(lab))
        standing = stack.enter_context(Standing(lab))
        load = stack.enter_context(outside.load(lab, series))
        load.run_until(3.0)
        yield load, standing
        load.run_until(load.seconds() + 3.0)


def has_arrived(lab: Lab) -> None:
    """See that all nodes run the newer version and take Pods, and that nothing is left to be done."""
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    assert {n["status"]["nodeInfo"]["kubeletVersion"] for n in nodes} == {f"v{TO}"}
    assert not any(n["spec"].get("unschedulable") for n in nodes)
    assert lab.json("plan")["changes"] == []
    until(lambda: lab.json("status")["healthy"], 60, "healthy")


def found(lab: Lab, load: Load, standing: Standing, what: str, **more: Any) -> dict[str, Any]:
    """Record and return what clients saw of an upgrade, and how many control planes were out at one time."""
    out, which = standing.most_out()
    failed = [a for a in load.attempts if a.why]
    seen: dict[str, Any] = {
        "failed": len([a for a in failed if a.series != slow.SLOW]), "cut": len(load.failed(slow.SLOW)),
        "lost": len(lost_writes(lab, load.of("writes"))), "out": out, "which": which}
    figures.record(f"failed attempts while an upgrade is {what}", [float(seen["failed"])], unit="failed",
                   attempts={name: len(load.of(name)) for name in (VIP, "writes", slow.SLOW)},
                   gap=longest_gap(load.of(VIP)), seen=seen, failures=[vars(a) for a in failed][:50], **more)
    print(seen, [vars(a) for a in failed][:20])
    assert load.of(slow.SLOW), "creates were made"
    return seen


UNHURT = {"failed": 0, "cut": 0, "lost": 0}


def test_killed_at_ten_moments_it_is_gone_on_with_by_the_same_command(asked: Lab) -> None:
    with asking(asked) as (load, standing):
        for what, comes in MOMENTS.items():
            killed(asked, what, comes, *UPGRADE, seconds=600)
        print(asked.run(*UPGRADE, timeout=900).stderr)
    seen = found(asked, load, standing, "killed at ten moments", kills=len(MOMENTS))
    has_arrived(asked)
    assert {name: seen[name] for name in UNHURT} == UNHURT and seen["out"] <= 1, seen


def test_its_line_to_a_host_is_cut_in_each_stage_and_it_goes_on_or_stops_in_words(asked: Lab) -> None:
    runs = []
    with asking(asked) as (load, standing):
        waits = list(STAGES)
        while waits:
            up = Up(asked, *UPGRADE)
            try:
                while waits and up.comes("phase-start", waits[0], 600):
                    host = "w1" if waits.pop(0) == "node" else "cp1"
                    with faults.dropping(asked.inventory, host, port=22):
                        time.sleep(5.0)     # as long as the line is down
                runs.append(up.end(900))
            finally:
                up.process.kill()
            assert is_clean(*runs[-1]), runs[-1]
        if runs[-1][0]:
            runs.append((0, asked.run(*UPGRADE, timeout=900).stderr))
    print(runs[-1][1])
    seen = found(asked, load, standing, "cut off in each stage", exits=[code for code, _ in runs])
    has_arrived(asked)
    assert {name: seen[name] for name in UNHURT} == UNHURT and seen["out"] <= 1, seen


def is_clean(code: int, said: str) -> bool:
    """Say whether a run ended well, or stopped with what it saw and what to do."""
    return code == 0 or (code in STOPPED and "hint: " in said and "Traceback" not in said)


def handed(events: Sequence[Mapping[str, Any]], phase: str) -> str:
    """Return the host that was handed its part of a phase first; "" before it was."""
    return next((str(e["host"]) for e in events if hands(phase)(e)), "")


def loses_power(lab: Lab, stage: str, words: tuple[str, ...]) -> tuple[str, int]:
    """Upgrade, and take the power of the host that is handed its part of a stage for a moment; return it, and the exit.
    """
    began, up = time.time(), Up(lab, *words)
    try:
        until(lambda: handed(lab.events(began), stage) or up.process.poll() is not None, 600, stage)
        host = handed(lab.events(began), stage)
        assert host, up.process.communicate()[0]
        faults.kill(lab.inventory, host)
        faults.come_back(lab.inventory, host)
        code, said = up.end(900)
    finally:
        up.process.kill()
    print(said)
    assert is_clean(code, said), (code, said)
    return host, code


def struck_at(lab: Lab, stage: str, words: tuple[str, ...]) -> dict[str, int]:
    """Take the power of a host in this stage, wait until it stands again, and return how the run ended."""
    host, code = loses_power(lab, stage, words)
    until(partial(stands, lab, host), 120, f"{host} stands again")
    return {f"{stage}: {host}": code}


def stands(lab: Lab, host: str) -> bool:
    """Say whether a host that has booted has nothing left to start, and its API server is ready."""
    ready = ("curl", "-skf", "--max-time", "2", f"https://127.0.0.1:{APISERVER}/readyz")
    return not lab.on(host, "systemctl", "list-jobs", "--no-legend", check=False) and (
        host not in CONTROL_PLANES or lab.on(host, *ready, check=False).strip() == "ok")


def test_hosts_without_power_are_refused_by_name_or_left_out_and_one_that_reboots_stops_it_in_words(asked: Lab) -> None:
    inventory = asked.inventory
    for host in ("cp3", "w2"):
        with faults.killed(inventory, host):
            refused = asked.run(*UPGRADE, check=False)
            print(refused.stderr)
            assert refused.returncode == 12 and f"{host}: " in refused.stderr, refused.stderr
            assert "nothing was changed on any host" in refused.stderr
    until(asked.has_booted, 120, "booted")
    faults.kill(inventory, "w2")
    # The Pods of the one worker have nowhere to go while the other is without power: nodes wait for it. Each run ends
    # behind the stage in which it is struck, for it may go on by itself when the host is back.
    without, struck = (*UPGRADE, "--without", "w2", "--until"), dict[str, int]()
    with asking(asked) as (load, standing):
        for stage in ("etcd", "control-plane"):
            struck |= struck_at(asked, stage, (*without, stage))
        print(asked.run(*without, "controllers", timeout=900).stderr)
        faults.come_back(inventory, "w2")
        until(asked.has_booted, 120, "booted")
        struck |= struck_at(asked, "node", UPGRADE)
        print(asked.run(*UPGRADE, timeout=900).stderr)
    seen = found(asked, load, standing, "met by hosts that lose their power", struck=struck)
    has_arrived(asked)
    assert seen["lost"] == 0 and seen["out"] <= 1, seen
