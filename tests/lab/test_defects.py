"""Each defect of the table, given to a real machine, is named with what was seen and how to mend it; `check` changes
nothing there, and what it tells one to paste mends it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from provisioner.lab import faults
from provisioner.lab.defects import act
from provisioner.lab.defects.defect import Defect
from provisioner.lab.defects.table import DEFECTS
from provisioner.operate.checks.table import CHECKS
from provisioner.parallel import ask_all
from tests.lab import figures
from tests.lab.conftest import NODES, Lab
from tests.lab.traces import stay, traces

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), pytest.mark.usefixtures("nft")]
FOUND = tuple(defect for defect in DEFECTS if defect.check in {check.name for check in CHECKS})


@pytest.fixture(autouse=True)
def mended(empty_lab: Lab) -> Iterator[None]:
    """Put back whatever a test has left."""
    yield
    faults.undo(empty_lab.inventory)


@pytest.fixture(scope="module")
def nft(empty_lab: Lab) -> None:
    """Have the tool that a firewall is made with everywhere: it belongs to no defect."""
    install = "apt-get -q update && apt-get -qy install nftables iptables"
    ask_all(lambda host: empty_lab.on(host, "sh", "-ec", install), NODES, workers=len(NODES), name="install")


def look(lab: Lab, *options: str) -> list[dict[str, Any]]:
    """Return what `check` finds, but how quick the disk is: it is this machine's, and everybody's on it."""
    done = lab.run("-o", "json", "check", *options, check=False)
    assert done.returncode in (0, 11, 12) and "Traceback" not in done.stderr, done.stderr
    return [f for f in json.loads(done.stdout)["findings"] if f["check"] != "fsync"]


def of(findings: Sequence[dict[str, Any]], host: str, defect: Defect) -> list[dict[str, Any]]:
    """Return what names this defect: on its own host, or on those that see it."""
    return [f for f in findings if (f["host"] == host) != defect.elsewhere and f["check"] == defect.check]


def command(cure: str, host: str) -> str:
    """Return what one pastes on the host."""
    where, _, line = cure.partition(": ")
    assert where.split(",")[0] == f"on {host}", cure
    return line


def on_whom(lab: Lab, defect: Defect, busy: dict[str, list[Defect]]) -> str | None:
    """Return the first host whose roles and other defects let this one in."""
    cluster = lab.inventory.cluster
    return next((host.name for host in cluster.machines if act.fits(cluster, host, defect)
                 and not act.clash([*busy.get(host.name, ()), defect])), None)


@pytest.mark.full
@pytest.mark.parametrize("defect", FOUND, ids=lambda defect: defect.name)
def test_each_defect_is_named_with_host_value_and_cure_and_nothing_is_changed(empty_lab: Lab, defect: Defect) -> None:
    host = on_whom(empty_lab, defect, {}) or ""
    clean = traces(empty_lab)
    faults.give(empty_lab.inventory, host, [defect.name])
    given = traces(empty_lab)
    found = look(empty_lab)
    named = of(found, host, defect)
    assert named and all(f["saw"] and f["expected"] for f in named), found
    assert any(f["cure"] for f in found if f["check"] == defect.check), found
    print(f"{defect.name}: {[(f['severity'], f['saw'], f['cure']) for f in named]}")
    assert {f["check"] for f in found if f["severity"] != "unseen"} <= {defect.check, *defect.also}, found
    stay(empty_lab, given, seconds=30)
    if defect.pasted:
        for finding in named:
            empty_lab.on(host, "sh", "-ec", command(finding["cure"], host))
        assert not of(look(empty_lab), host, defect)
    faults.undo(empty_lab.inventory, [host])
    stay(empty_lab, clean)


@pytest.mark.full
def test_all_defects_that_go_together_are_named_at_once(empty_lab: Lab) -> None:
    busy: dict[str, list[Defect]] = {}
    for defect in (d for d in FOUND if not d.alone):
        host = on_whom(empty_lab, defect, busy)
        if host:
            busy.setdefault(host, []).append(defect)
    clean = traces(empty_lab)
    for host, defects in busy.items():
        faults.give(empty_lab.inventory, host, [d.name for d in defects])
    given = traces(empty_lab)
    found = look(empty_lab)
    missing = [(host, d.name) for host, defects in busy.items() for d in defects if not of(found, host, d)]
    assert not missing, f"{missing} of {found}"
    stay(empty_lab, given)
    faults.undo(empty_lab.inventory)
    stay(empty_lab, clean)


@pytest.mark.full
def test_clean_hosts_have_no_findings(empty_lab: Lab) -> None:
    for options, limit in ((("--no-probe",), 3), ((), 20), (("--probe",), 20)):
        took = []
        for _ in range(5):
            began = time.monotonic()
            found = look(empty_lab, *options)
            took.append(time.monotonic() - began)
            assert found == []
        figures.record(f"`{' '.join(('check', *options))}` of five clean hosts", took, unit="s", limit=limit)


@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_a_check_that_is_killed_leaves_nothing_on_any_host(empty_lab: Lab, how: signal.Signals) -> None:
    clean = traces(empty_lab)
    for moment in (0.4, 0.8, 1.2, 1.6, 2.0, 2.5):
        process = empty_lab.start("check")
        time.sleep(moment)                      # the moment is what is varied
        process.send_signal(how)
        process.communicate(timeout=30)
        stay(empty_lab, clean, seconds=30)
