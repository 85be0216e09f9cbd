"""The line to a host is cut while it is changed: the run goes on or stops in words, and each step takes effect once."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter

import pytest

from provisioner.lab import faults
from tests.lab.conftest import Lab
from tests.lab.walk.killing import Up
from tests.lab.walk.record import Walk
from tests.lab.walk.table import RUNNING, Leg, on_disk
from tests.lab.walk.walking import Row, again, converged

pytestmark = [pytest.mark.lab, pytest.mark.changes("walk"), pytest.mark.bears_changes, pytest.mark.timeout(900)]
LEGS = {leg.phase: leg for leg in RUNNING}
LONG = ("etcd", "control-plane", "node")
CUTS = [(leg, 5.0) for leg in RUNNING] + [(LEGS[phase], 60.0) for phase in LONG]
NUMBERS = itertools.count(60)       # no change is made twice, nor one of the kill walk's
STARTED = "39f53479d3a045ac8e11786248231fbf"    # systemd's SD_MESSAGE_UNIT_STARTED
STEP = "kubewright-step-"
STEPLESS = ("prepare", "stage")     # and their changes need no other phase
STOPPED = {12: "unreachable", 13: "a gate or a step"}


def name(leg: Leg, seconds: float) -> str:
    return f"{leg.phase}, {seconds:g} s"


WALK = Walk("ssh_cuts.json", [name(*cut) for cut in CUTS])


def starts(lab: Lab, host: str, since: float) -> Counter[str]:
    """Return how often each of our units and steps was started there, from the journal: each has a new InvocationID."""
    lines = lab.on(host, "journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=UNIT",
                   f"--since=@{since:.3f}", f"MESSAGE_ID={STARTED}").splitlines()
    ours = {file.name for file in (on_disk(lab, host) / "etc/kubewright/inputs").iterdir()}
    names = [str(json.loads(line)["UNIT"]) for line in lines]
    return Counter(name for name in names if name in ours or name.startswith(STEP))


def results(lab: Lab, host: str, since: float) -> dict[str, str]:
    """Return the status of each step that ended on the host since then, by its unit's name."""
    files = (on_disk(lab, host) / "var/lib/kubewright/steps").glob("*/result.json")
    read = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.stat().st_mtime >= since]
    return {f"{STEP}{result['step']}.service": str(result["status"]) for result in read}


def cut(lab: Lab, leg: Leg, seconds: float) -> Row:
    """Lose all SSH packets of the leg's host for so long from the start of its phase, and return what came of it."""
    assert leg.change is not None
    leg.change(lab, leg.host, next(NUMBERS))
    since = time.time()
    up = Up(lab)
    try:
        up.wait_for("phase-start", leg.phase)
        with faults.dropping(lab.inventory, leg.host, port=22):
            before = sent_again(lab)
            time.sleep(seconds)
            felt = sent_again(lab) - before
        code, said = up.end()
    finally:
        up.process.kill()
    row = {"phase": leg.phase, "host": leg.host, "seconds": seconds, "exit": code, "said": said[-1500:] if code else "",
           "run": round(time.time() - since, 1), "felt": felt, "rerun": again(lab)}
    return row | {"starts": starts(lab, leg.host, since), "results": results(lab, leg.host, since)}


def sent_again(lab: Lab) -> int:
    """Return how often something was sent anew on this machine's side of the lab's network, where the run is."""
    text = lab.run("lab", "exec", "--here", "--", "cat", "/proc/net/snmp").stdout
    names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])


def wrong(row: Row) -> list[str]:
    """Return what of a row must not be."""
    code, said, host = row["exit"], row["said"], row["host"]
    clean = code == 0 or (code in STOPPED and "hint: " in said and f"{host}: " in said and "Traceback" not in said)
    units = row["starts"]
    steps = {unit: times for unit, times in units.items() if unit.startswith(STEP)}
    return [text for bad, text in (
        (not clean, f"it stopped otherwise than in words: {code}: {said}"),
        (row["felt"] <= 0, "the run sent nothing again: nothing was cut"),
        (not converged(row["rerun"]), f"the re-run did not converge: {row['rerun']}"),
        (any(times > 1 for times in units.values()), f"started more than once: {units}"),
        (not row["results"] and row["phase"] not in STEPLESS, "no step was made"),
        (steps.keys() != row["results"].keys(), f"steps {steps} with results {row['results']}"),
        (set(row["results"].values()) - {"done"}, f"results: {row['results']}")) if bad]


def test_a_cut_of_five_seconds_is_survived_and_each_step_takes_effect_once(cluster: Lab) -> None:
    assert wrong(cut(cluster, LEGS["node"], 5.0)) == []


@pytest.mark.full
@pytest.mark.parametrize(("leg", "seconds"), CUTS, ids=str)
def test_a_cut_at_any_phase_is_survived_or_stops_the_run_in_words(cluster: Lab, leg: Leg, seconds: float) -> None:
    WALK.skip_walked(name(leg, seconds))
    row = cut(cluster, leg, seconds)
    WALK.keep(name(leg, seconds), row, passed=not wrong(row))
    assert wrong(row) == []
