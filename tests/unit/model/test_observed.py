"""State strings in their parts: what the applier says, read in one place."""

from __future__ import annotations

import pytest

from provisioner.model.observed import HostObserved, ObservedItem, PairState, UnitState
from tests.unit.compile.compile_fixture import facts


@pytest.mark.parametrize(("state", "runs", "is_up", "is_enabled", "is_current"), [
    ("active enabled current", True, True, True, True),
    ("active disabled due", True, True, False, False),
    ("activating enabled current", False, True, True, True),
    ("reloading enabled due", False, True, True, False),
    ("failed enabled current", False, False, True, True),
    ("inactive static current", False, False, False, True),
    ("absent", False, False, False, False),
])
def test_a_unit_s_state_is_read(state: str, runs: bool, is_up: bool, is_enabled: bool, is_current: bool) -> None:
    unit = UnitState.of(state)
    assert (unit.runs, unit.is_up, unit.is_enabled, unit.is_current) == (runs, is_up, is_enabled, is_current)


@pytest.mark.parametrize(("state", "pair"), [
    ("certificate sha256:ab key-ok 0600 root:root", PairState(True, "0600 root:root", "sha256:ab")),
    ("certificate sha256:ab key-mismatch 0600 root:root", PairState(False, "0600 root:root", "sha256:ab")),
    ("certificate sha256:ab key-ok 0600 root:root but 0666 root:root",
     PairState(True, "0600 root:root", "sha256:ab", "0666 root:root")),
    ("certificate key-ok 0600 root:root", PairState(True, "0600 root:root")),
])
def test_a_certificate_s_state_is_read_and_written(state: str, pair: PairState) -> None:
    assert (PairState.of(state), str(pair)) == (pair, state)


@pytest.mark.parametrize("state", ["absent", "other symlink", "certificate sha256:ab key-missing",
                                   "file sha256:ab 0644 root:root", "certificate", "file key-ok 0644 root:root"])
def test_what_has_no_key_of_its_own_does_not_work(state: str) -> None:
    assert not PairState.of(state).works


def test_a_unit_that_was_not_asked_for_does_not_run() -> None:
    seen = {("unit", "etcd.service"): ObservedItem("unit", "etcd.service", "active enabled due")}
    host = HostObserved("cp1", facts("cp1", "10.77.0.11"), seen)
    assert (host.runs("etcd.service"), host.runs("kubelet.service")) == (True, False)
