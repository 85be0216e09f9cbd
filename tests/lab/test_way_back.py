"""A change that does not work is put back on the first host that gets it, and nobody notices: on a running cluster."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.artifacts.cache import Cache
from provisioner.orchestrate.gates import api_servers
from tests.lab import figures
from tests.lab.bad_programs import NEVER_READY, pin
from tests.lab.conftest import LEADERS, Lab, unit_ids, until
from tests.lab.hostside import out_of_service

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
GREEN_WITHIN = 60.0     # seconds from the failed gate to the one that holds again
EXITS = "#!/bin/sh\n# A kube-apiserver that does not work.\nexit 1\n"


@pytest.fixture
def mended(cluster: Lab) -> Iterator[Lab]:
    """Return the cluster, whose inventory is what it was when the test began once it ends."""
    files = {path: path.read_bytes() for path in _files(cluster)}
    yield cluster
    for path, content in files.items():
        path.write_bytes(content)


def configure(lab: Lab, was: str, now: str) -> None:
    text = lab.file.read_text(encoding="utf-8")
    assert was in text
    lab.file.write_text(text.replace(was, now, 1), encoding="utf-8")


def a_kubelet_config_that_does_not_start(lab: Lab) -> None:
    configure(lab, "kubelet: {", 'kubelet: {evictionHard: {"memory.available": "much"}, ')


def a_flag_that_makes_the_api_server_exit(lab: Lab) -> None:
    configure(lab, "config:\n", "config:\n  kube-apiserver: {flags: {runtime-config: \"nonsense/v9=true\"}}\n")


def an_api_server_of_other_bytes_that_exits(lab: Lab) -> None:
    program = lab.directory / "kube-apiserver"
    program.write_text(EXITS, encoding="utf-8")
    stored = Cache().put(program, lambda copy: None)
    lock = lab.directory / "artifacts.lock"
    text, count = re.subn(r"(- name: kube-apiserver\n(?:  .*\n)*?  sha256: )\w+\n  size: \d+\n",
                          rf"\g<1>{stored.sha256}\n  size: {stored.size}\n", lock.read_text(encoding="utf-8"))
    assert count == 1
    lock.write_text(text, encoding="utf-8")


def failing_up(lab: Lab) -> tuple[str, list[dict[str, Any]]]:
    """Run an `up` that must end with exit 13; return its last words and its events."""
    since = time.time()
    done = lab.run("up", "--yes", check=False)
    assert done.returncode == 13, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    print(done.stderr)      # what a person saw, for whoever reads the log
    return done.stderr, lab.events(since)


def green_after(events: list[dict[str, Any]], host: str) -> float:
    """Return the seconds from the failed gate to the moment at which the host was back and proved."""
    failed = next(e for e in events if e["type"] == "gate" and e["status"] == "failed" and e.get("host") == host)
    back = next(e for e in events if e["type"] == "put-back")
    assert (back["host"], back["status"]) == (host, "ok"), back
    return float(back["t"] - failed["t"])


def controllers_have_their_leases(lab: Lab) -> None:
    """Wait until both were renewed: whoever lost the API in an earlier test has ended by then, or has it again."""
    since = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def renewed() -> bool:
        leases = json.loads(lab.kubectl("get", "leases", "-n", "kube-system", *LEADERS, "-o", "json"))["items"]
        return all(lease["spec"]["renewTime"] > since for lease in leases)

    until(renewed, 60, "both controllers have renewed their leases")


def changed(before: dict[str, str], after: dict[str, str]) -> dict[str, set[str]]:
    """Return by host the units that were restarted."""

    def ids(text: str) -> dict[str, str]:
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
        return {block["Id"]: block["InvocationID"] for block in blocks}

    found = {h: {unit for unit, one in ids(after[h]).items() if ids(before[h])[unit] != one} for h in before}
    return {host: units for host, units in found.items() if units}


@pytest.mark.parametrize(("break_it", "unit"), [
    pytest.param(a_kubelet_config_that_does_not_start, "kubelet", marks=pytest.mark.full),
    (a_flag_that_makes_the_api_server_exit, "kube-apiserver"),
    pytest.param(an_api_server_of_other_bytes_that_exits, "kube-apiserver", marks=pytest.mark.full),
], ids=lambda value: getattr(value, "__name__", value))
def test_a_change_that_does_not_start_is_put_back_on_the_first_host_and_nobody_notices(
        mended: Lab, break_it: Any, unit: str) -> None:
    controllers_have_their_leases(mended)
    before, inventory = unit_ids(mended), {p: p.read_bytes() for p in _files(mended)}
    break_it(mended)
    said, events = failing_up(mended)
    seconds = green_after(events, "cp1")
    seen = next(e["data"] for e in events if e["type"] == "availability")
    figures.record(f"{unit} that does not start, put back: from the failed gate to the green one", [seconds],
                   unit="s", limit=GREEN_WITHIN, attempts=seen["attempts"], failures=seen["failures"])
    assert seconds <= GREEN_WITHIN
    assert (seen["failures"], seen["cuts"], seen["lost"]) == (0, 0, 0), seen
    after = unit_ids(mended)
    assert changed(before, after) == {"cp1": {f"{unit}.service"}}
    assert f"{unit}.service" in said and re.search(r"exited \d+ times, it does not stay up", said)
    assert "cp2, cp3, w1, w2 not touched by this run; API servers ready: cp1, cp2, cp3" in said

    for path, content in inventory.items():
        path.write_bytes(content)
    assert "No changes." in mended.run("up", "--yes").stderr, "it only proves that all is well"
    assert changed(after, unit_ids(mended)) == {}


@pytest.mark.full
def test_by_hand_a_host_goes_back_from_what_the_newest_run_changed_there(mended: Lab) -> None:
    configure(mended, "w1: {address: 10.77.0.21, roles: [worker]}",
              "w1: {address: 10.77.0.21, roles: [worker], config: {kubelet: {maxPods: 77}}}")
    mended.run("up", "--yes")
    before = unit_ids(mended)
    refused = mended.run("rollback", "w1", check=False)
    assert refused.returncode == 15 and "-maxPods: 77" in refused.stderr, refused.stderr
    done = mended.run("rollback", "w1", "--yes")
    assert changed(before, unit_ids(mended)) == {"w1": {"kubelet.service"}}, done.stderr
    assert {c["path"] for c in mended.json("plan")["changes"]} == {"/var/lib/kubelet/config.yaml", "kubelet.service"}
    configure(mended, ", config: {kubelet: {maxPods: 77}}}", "}")
    assert [c["path"] for c in mended.json("plan")["changes"]] == ["/etc/kubewright/cluster.yaml"] * 3
    mended.run("up", "--yes")
    assert mended.json("plan")["changes"] == []


@pytest.mark.full
def test_what_stays_up_and_is_never_ready_is_put_back_at_the_gate_s_deadline(mended: Lab) -> None:
    configure(mended, "kubelet: {", "kubelet: {healthzPort: 10999, ")
    _, events = failing_up(mended)
    failed = next(e for e in events if e["type"] == "gate" and e["status"] == "failed")
    seconds = green_after(events, "cp1")
    figures.record("kubelet that is never ready, put back: from the failed gate to the green one", [seconds], unit="s",
                   limit=GREEN_WITHIN)
    assert 115 <= failed["seconds"] <= 130
    assert seconds <= GREEN_WITHIN


@pytest.mark.full
def test_an_api_server_that_stays_up_and_is_never_ready_is_put_back_a_minute_after_its_start(mended: Lab) -> None:
    pin(mended, "kube-apiserver", NEVER_READY)
    said, events = failing_up(mended)
    failed = next(e for e in events if e["type"] == "gate" and e["status"] == "failed" and e.get("host") == "cp1")
    seen = next(e["data"] for e in events if e["type"] == "availability")
    figures.record("API server that is never ready: until its gate fails, and from there to the green one",
                   [failed["seconds"], green_after(events, "cp1")], unit="s", limit=90, failures=seen["failures"])
    assert "after the start of kube-apiserver.service" in said
    assert failed["seconds"] <= api_servers.START + 30, "not the four minutes that one may take to stop and start"
    assert green_after(events, "cp1") <= GREEN_WITHIN
    assert (seen["failures"], seen["cuts"], seen["lost"]) == (0, 0, 0), seen


@pytest.mark.full
def test_killed_before_the_way_back_the_next_up_stops_at_that_host_and_rollback_puts_it_back(mended: Lab) -> None:
    before, inventory = unit_ids(mended), mended.file.read_bytes()
    a_flag_that_makes_the_api_server_exit(mended)
    since = time.time()
    up = mended.start("up", "--yes")
    try:
        until(lambda: up.poll() is not None or any(_is_failed_gate(e) for e in mended.events(since)), 180,
              "the gate fails", interval=0.01)
    finally:
        os.killpg(up.pid, signal.SIGKILL)
        up.wait(30)
    assert not any(e["type"] == "put-back" for e in mended.events(since))
    assert out_of_service(mended, "w1") == {"cp1"}

    again = mended.run("up", "--yes", check=False)
    assert again.returncode == 13, again.stderr
    assert f"kept there: kubewright -i {mended.directory} rollback cp1" in again.stderr, again.stderr
    print(again.stderr)
    assert changed(before, unit_ids(mended)).keys() == {"cp1"}, "no other host was touched"

    mended.run("rollback", "cp1", "--yes")
    assert out_of_service(mended, "w1") == set()
    mended.file.write_bytes(inventory)
    after = unit_ids(mended)
    mended.run("up", "--yes")
    assert changed(after, unit_ids(mended)) == {}
    assert mended.json("status")["healthy"]


def _is_failed_gate(event: dict[str, Any]) -> bool:
    return bool(event["type"] == "gate" and event["status"] == "failed")


def _files(lab: Lab) -> tuple[Path, Path]:
    return lab.file, lab.directory / "artifacts.lock"
