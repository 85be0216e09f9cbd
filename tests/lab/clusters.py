"""One cluster a topology for the whole session: built once, and put back from its snapshot where a test left another.

A test says what it leaves: nothing (the cluster is what it was), `changes` (healthy, with other settings, which the
tests of its file, or of the group that the mark names, do not mind), or `dirties` (anything). One that `bears_changes`
takes any healthy cluster. The snapshot is taken before the first that leaves something, where a later test needs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from tests.lab.machines import NODES, ROOT, Lab, until
from tests.lab.selection import LEAVES, Manners, is_put_back, needs_snapshot
from tests.lab.waves import Wave, hold, let_go

GOLDEN = "golden"
TOPOLOGIES = {"stacked": NODES, "single": (NODES[0], NODES[-1])}
FIXTURES = {"empty_lab": "stacked", "cluster": "stacked", "single": "single"}
HEALTHY = 240.0         # seconds until a cluster whose nodes have just booted must be well, on a busy machine


def topology_of(item: pytest.Item) -> str | None:
    """Return the topology whose cluster the test is given; None where it has its own nodes, or none."""
    names = getattr(item, "fixturenames", ())
    return next((topology for fixture, topology in FIXTURES.items() if fixture in names and fixture != "empty_lab"),
                None)


def manners(item: pytest.Item) -> Manners:
    """Return what the test says of itself: `changes` or `dirties`, for whom, and whether it `bears_changes`."""
    leaves = next((mark for mark in reversed(LEAVES) if mark and item.get_closest_marker(mark)), "")
    mark = item.get_closest_marker("changes")
    group = "" if mark is None else str(mark.args[0] if mark.args else item.path)
    return Manners(leaves, group, item.get_closest_marker("bears_changes") is not None)


def expect(items: Iterable[pytest.Item]) -> None:
    """Find out, of the tests of this session in their order, which topologies have to be put back once."""
    asked: dict[str, list[Manners]] = {}
    for item in items:
        if topology := topology_of(item):
            asked.setdefault(topology, []).append(manners(item))
    PUT_BACK.clear()
    PUT_BACK.update(topology for topology, tests in asked.items() if needs_snapshot(tests))


@dataclass
class Ground:
    """The nodes of one topology, and what the tests so far have left on them."""

    lab: Lab
    is_up: bool = False
    is_built: bool = False
    golden: str = ""                    # cluster.yaml as it was when the snapshot was taken
    held: tuple[Wave, ...] = ()         # what does not start by itself in it
    changed_by: str = ""                # the group of tests that left other settings
    is_dirty: bool = False
    failure: str = ""                   # why there is no cluster: told to every test that needs it

    def boot(self) -> Lab:
        """Let the nodes run, empty where this session has not built a cluster yet."""
        if not self.is_up:
            if not _keeps():
                self.lab.run("lab", "down")
                shutil.rmtree(self.lab.directory / ".kubewright", ignore_errors=True)
                self.lab.forget_credentials()       # of an earlier session's cluster
            self.lab.run("lab", "up")
            self.is_up = True
        return self.lab

    def give(self, test: Manners) -> Lab:
        """Return a healthy cluster: the golden one, or, to tests of one group, what the test before it changed."""
        self.boot()
        if is_put_back(test, self.changed_by, is_dirty=self.is_dirty):
            self.restore()
        elif not self.is_built:
            self.lab.run("up", "--yes")
        self.is_built = True
        return self.lab

    def restore(self) -> None:
        """Put back nodes and inventory, and wait until the cluster has found together."""
        assert self.golden, "no test of this session was to need a snapshot"
        self.lab.file.write_text(self.golden, encoding="utf-8")
        self.lab.forget_credentials()
        self.lab.run("lab", "restore", GOLDEN)
        self.is_dirty, self.changed_by = False, ""
        self.wait()

    def keep(self) -> None:
        """Take the snapshot that later tests get, unless there is one."""
        if not self.golden:
            self.lab.run("up", "--yes")             # whatever went before, and failed
            golden = self.lab.file.read_text(encoding="utf-8")
            self.lab.release_leaders()
            self.held = hold(self.lab)
            self.lab.run("lab", "snapshot", GOLDEN)
            self.golden = golden
            self.wait()

    def wait(self) -> None:
        """Wait until the cluster is healthy; that asks much, so it is asked when the machine has little else to do."""
        not_before = let_go(self.lab, self.held)
        until(self.lab.has_booted, HEALTHY, "all units start and the API answers", 0.5)
        time.sleep(max(0.0, not_before - time.monotonic()))
        self.lab.run("ready", "--timeout", f"{HEALTHY:.0f}s")

    def end(self) -> None:
        if self.is_up and not _keeps():
            self.lab.run("lab", "down")
        self.is_up = self.is_built = False
        self.golden, self.held, self.changed_by, self.is_dirty = "", (), "", False


def _keeps() -> bool:
    return "KUBEWRIGHT_TEST_KEEP" in os.environ


def _ground(topology: str) -> Ground:
    name = os.environ.get("KUBEWRIGHT_TEST_LAB", "test")        # another one runs beside it
    name = name if topology == "stacked" else f"{name}-{topology}"
    return Ground(Lab(ROOT / ".kubewright" / f"{name}-lab", name, TOPOLOGIES[topology]))


GROUNDS: dict[str, Ground] = {}
PUT_BACK: set[str] = set()          # the topologies of which this session needs a snapshot


def ground(topology: str) -> Ground:
    """Return the session's nodes of a topology; made once, for a Lab that is made writes its inventory anew."""
    if topology not in GROUNDS:
        GROUNDS[topology] = _ground(topology)
    return GROUNDS[topology]


def prepare(item: pytest.Item) -> None:
    """Give the test the cluster that it is promised; called before its fixtures are made."""
    topology = topology_of(item)
    if topology is None:
        return
    for name, other in GROUNDS.items():
        if name != topology:
            other.end()                             # this machine bears one cluster at a time
    mine = ground(topology)
    if mine.failure:
        pytest.fail(f"there is no cluster: {mine.failure}", pytrace=False)
    try:
        mine.give(manners(item))
        if manners(item).leaves and topology in PUT_BACK:
            mine.keep()
    except (AssertionError, subprocess.TimeoutExpired) as fault:
        mine.failure = str(fault)
        raise


def leave(item: pytest.Item, *, failed: bool) -> None:
    """Remember what the test has left; one that failed may have left anything."""
    topology = topology_of(item)
    if topology is None or topology not in GROUNDS:
        return
    mine = GROUNDS[topology]
    test = manners(item)
    if test.leaves == "dirties" or (failed and mine.golden):
        mine.is_dirty = True
    elif test.leaves == "changes":
        mine.changed_by = test.group


def end() -> None:
    """Take down what is up; the last act of a session."""
    for one in GROUNDS.values():
        one.end()
